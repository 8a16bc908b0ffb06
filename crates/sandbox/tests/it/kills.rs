//! Every process killed in the middle of every operation: what is there afterwards is whole, work goes on, and nothing is
//! left behind.
//!
//! Most of what a spawner does takes less time than it takes to send a signal. It is killed by a tracer, on its way into one
//! of the system calls that the operation makes, which are spread over all of them. The others are killed at random moments:
//! the seed of a run is printed; `JOURNEYMAN_TEST_SEED` repeats one, `JOURNEYMAN_TEST_KILLS` makes a longer one.

mod audit;
mod tracer;

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;
use sandbox::Backend;
use sandbox::Call;
use sandbox::Chunk;
use sandbox::Embedded;
use sandbox::Folder;
use sandbox::LayerName;
use sandbox::Mount;
use sandbox::Place;
use sandbox::Sandbox;
use sandbox::Spec;
use tokio::task::JoinHandle;

use crate::ground::Ground;
use crate::ground::Hands;
use crate::ground::chain;
use crate::ground::children;
use crate::ground::exists;
use crate::ground::is_egress;
use crate::ground::until;
use crate::mounts::in_mount;
use crate::mounts::put;
use crate::mounts::read_only;
use crate::traces::remains;
use tracer::Moment;
use tracer::Tracer;

/// Kills of each victim in the middle of each operation.
const KILLS: u64 = 2;
/// So many times more is a spawner killed: everything depends on it.
const SPAWNER_KILLS_MORE: u64 = 1;
/// No operation may hang, whoever dies.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a signal takes to be sent: an operation begins so much later, for it to be met early too.
const LEAD_MICROS: u64 = 400;
/// Files of the tree that is packed, unpacked and made a layer.
const FILES: usize = 120;
/// Writes the tree, and tells whether one is whole: every file with its content, and nothing else.
const WRITE: &str =
    "mkdir -p /tree && cd /tree && for i in $(seq 120); do printf '%05000d' $i > $i; done && echo ok";
const LOOK: &str = "if [ ! -e /tree ]; then echo absent; elif [ $(cat /tree/* | wc -c) = 600000 ] && [ $(ls /tree | wc -l) = 120 ]; then echo whole; else echo torn $(ls /tree | wc -l); fi";
/// The file that is put, in the place of one of the same length.
const FILE_BYTES: usize = 10_000;
const LOOK_AT_FILE: &str = "cd /mnt/session/uploads; echo $(wc -c < file) $(fold -w 1 file | sort -u)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Spawner,
    Egress,
    Hand,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Provision,
    Execute,
    Freeze,
    Thaw,
    Mount,
    Unmount,
    PutFile,
    Pack,
    UnpackFiles,
    UnpackLayer,
    Commit,
    Destroy,
    RemoveLayer,
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("JOURNEYMAN_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            // The seed of a hasher is as random as anything here.
            RandomState::new().build_hasher().finish()
        });
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// What an operation is done to.
struct Scene {
    backend: Arc<Embedded>,
    spec: Spec,
    layer: LayerName,
    packed: Arc<[u8]>,
    sandbox: Option<Arc<dyn Sandbox>>,
    call: Call,
}

/// A killer that waits for its orders.
struct Aim {
    killer: Child,
    orders: ChildStdin,
    spawner: i32,
}

/// The stage of all rounds of one operation.
struct Stage {
    ground: Ground,
    backend: Arc<Embedded>,
    random: Random,
    /// A session that has a tree and is never touched by the operation.
    bystander: Spec,
    packed: Arc<[u8]>,
    layers_made: u64,
    /// Every process that was seen below a spawner.
    seen: BTreeSet<i32>,
}

impl Stage {
    async fn new() -> Self {
        let ground = Ground::new();
        let backend = Arc::new(Embedded::new(ground.config.clone()));
        let bystander = ground.spec();
        let mut stage = Self {
            ground,
            backend,
            random: Random::new(),
            bystander,
            packed: Arc::from([]),
            layers_made: 0,
            seen: BTreeSet::new(),
        };
        let spec = stage.bystander.clone();
        assert_eq!(stage.hands(&spec).await.bash(WRITE).await, "ok");
        stage.backend.destroy(&spec.session, true).await.unwrap();
        stage.packed = pack(&stage.backend, &spec.session).await.unwrap().expect("it was packed").into();
        stage
    }

    /// The sandbox of a session; patient with what was begun and has not yet noticed that nobody wants it any more.
    async fn hands(&self, spec: &Spec) -> Hands {
        let begin = Instant::now();
        loop {
            match self.backend.provision(spec).await {
                Ok(sandbox) => return self.ground.hands(sandbox),
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{}", chain(&error)),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn layer(&mut self) -> LayerName {
        self.layers_made += 1;
        format!("{:064x}", self.layers_made).parse().unwrap()
    }

    /// Makes ready what the operation needs.
    async fn set(&mut self, operation: Operation) -> Scene {
        let mut spec = self.ground.spec();
        spec.makes_layer = operation == Operation::Commit;
        let layer = self.layer();
        let hands = self.hands(&spec).await;
        let call = hands.call("echo line >> /workspace/log; sleep 0.01; echo done");
        assert_eq!(hands.bash(WRITE).await, "ok");
        let mut sandbox = Some(Arc::clone(&hands.sandbox));
        match operation {
            Operation::Execute | Operation::Freeze | Operation::Mount | Operation::Destroy => {}
            Operation::Thaw => assert!(self.backend.freeze(&spec.session).await.unwrap()),
            Operation::Unmount => {
                self.backend.mount(&spec.session, &shown()).await.unwrap();
                put(&*self.backend, &spec, &in_mount(&shown()), "file", b"file").await.unwrap();
            }
            Operation::PutFile => {
                put(&*self.backend, &spec, &Folder::Uploads, "file", &[b'a'; FILE_BYTES]).await.unwrap();
            }
            Operation::Provision | Operation::Pack | Operation::Commit => {
                self.backend.destroy(&spec.session, true).await.unwrap();
                sandbox = None;
            }
            Operation::UnpackFiles | Operation::UnpackLayer => {
                self.backend.destroy(&spec.session, false).await.unwrap();
                sandbox = None;
            }
            Operation::RemoveLayer => {
                self.backend.destroy(&spec.session, false).await.unwrap();
                sandbox = None;
                let place = Place::Layer(layer.clone());
                unpack(&self.backend, &place, &self.packed).await.unwrap();
            }
        }
        let (backend, packed) = (Arc::clone(&self.backend), Arc::clone(&self.packed));
        Scene { backend, spec, layer, packed, sandbox, call }
    }

    /// Makes ready to kill.
    async fn aim(&mut self, victim: Victim) -> Option<Aim> {
        let spawner = self.backend.spawner().await.unwrap().pid;
        self.seen.extend(children(spawner));
        // The shell's own, and running before its moment comes.
        let mut killer = std::process::Command::new("bash")
            .args(["-c", "read pids && kill -KILL $pids"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = killer.stdin.take().unwrap();
        Some(Aim { killer, orders, spawner }).filter(|_| victim != Victim::Server)
    }

    fn kill(&mut self, victim: Victim, aim: Option<Aim>, running: &JoinHandle<Result<(), String>>) {
        let Some(Aim { mut killer, mut orders, spawner }) = aim else { return running.abort() };
        let below = brood(spawner);
        let (egress, hands): (Vec<i32>, Vec<i32>) = below.iter().partition(|pid| is_egress(**pid));
        let pids = match victim {
            Victim::Spawner => vec![spawner],
            Victim::Egress => egress,
            Victim::Hand | Victim::Server => hands,
        };
        let words: Vec<String> = pids.iter().map(ToString::to_string).collect();
        writeln!(orders, "{}", words.join(" ")).unwrap();
        drop(orders);
        // Those may have gone by themselves.
        killer.wait().unwrap();
        self.seen.extend(below);
    }
}

/// How an operation ended that somebody died in.
#[derive(Debug)]
enum Outcome {
    Done,
    Failed(#[expect(dead_code, reason = "shown when a check fails")] String),
    /// Its server was gone.
    Unknown,
}

impl Outcome {
    fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Child processes of a process, quickly where the kernel lists them.
fn brood(parent: i32) -> Vec<i32> {
    match std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        Ok(list) => list.split_whitespace().map(|pid| pid.parse().unwrap()).collect(),
        Err(_) => children(parent),
    }
}

/// Whether a process is a later one that was given a number that was free again.
fn is_of_late(pid: i32, spawner: i32) -> bool {
    let begun = |pid: i32| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()
    };
    begun(pid) > begun(spawner)
}

/// What is mounted and taken away.
fn shown() -> Mount {
    read_only("/mnt/shown")
}

/// What a session wrote; `None` when the end never came.
async fn pack(backend: &Embedded, session: &SessionId) -> Result<Option<Vec<u8>>, sandbox::Error> {
    let mut reader = backend.pack(session).await?;
    let mut all = Vec::new();
    loop {
        match reader.next().await? {
            Chunk::Bytes(bytes) => all.extend(bytes),
            Chunk::End(_) => return Ok(Some(all)),
        }
    }
}

async fn unpack(backend: &Embedded, place: &Place, packed: &[u8]) -> Result<(), sandbox::Error> {
    let mut writer = backend.unpack(place).await?;
    for chunk in packed.chunks(4096) {
        writer.write(chunk).await?;
    }
    writer.finish().await.map(drop)
}

async fn perform(operation: Operation, scene: Arc<Scene>) -> Result<(), String> {
    let Scene { backend, spec, layer, packed, sandbox, call } = &*scene;
    let session = &spec.session;
    let done = match operation {
        Operation::Provision => backend.provision(spec).await.map(drop),
        Operation::Execute => sandbox.as_ref().unwrap().execute(call).await.map(drop),
        Operation::Freeze => backend.freeze(session).await.map(drop),
        Operation::Thaw => backend.adopt(session).await.map(drop),
        Operation::Mount => backend.mount(session, &shown()).await,
        Operation::Unmount => backend.unmount(session, &shown().target).await,
        Operation::PutFile => put(&**backend, spec, &Folder::Uploads, "file", &[b'b'; FILE_BYTES]).await,
        Operation::Pack => pack(backend, session).await.map(drop),
        Operation::UnpackFiles => {
            let place = Place::Files { session: session.clone(), limits: spec.limits };
            unpack(backend, &place, packed).await
        }
        Operation::UnpackLayer => unpack(backend, &Place::Layer(layer.clone()), packed).await,
        Operation::Commit => backend.commit(session, layer).await,
        Operation::Destroy => backend.destroy(session, false).await,
        Operation::RemoveLayer => backend.remove_layer(layer).await,
    };
    done.map_err(|error| chain(&error))
}

async fn begin_soon(operation: Operation, scene: Arc<Scene>) -> Result<(), String> {
    std::thread::sleep(Duration::from_micros(LEAD_MICROS));
    perform(operation, scene).await
}

async fn torment(operation: Operation) {
    assert!(WRITE.contains(&FILES.to_string()));
    let kills = std::env::var("JOURNEYMAN_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut stage = Stage::new().await;
    let usual = stage.measure(operation).await;
    for victim in [Victim::Egress, Victim::Hand, Victim::Server] {
        for round in 0..kills {
            stage.kill_at_random(operation, victim, round, usual).await;
        }
    }
    let kills = kills + SPAWNER_KILLS_MORE;
    if !Tracer::can_be_had() {
        println!("SKIPPED: spawners die at random moments only, for there is no `strace`");
    }
    let moments = if Tracer::can_be_had() { stage.moments(operation).await } else { Vec::new() };
    if moments.len() > 1 {
        for round in 0..kills {
            // Spread over all but the first, which is the waiting for a request.
            let (round, kills) = (usize::try_from(round).unwrap(), usize::try_from(kills).unwrap());
            let index = 1 + (moments.len() - 1) * (2 * round + 1) / (2 * kills);
            stage.kill_at_call(operation, &moments[index], (index, moments.len())).await;
        }
    } else {
        // It has no part in it, or cannot be traced.
        for round in 0..kills {
            stage.kill_at_random(operation, Victim::Spawner, round, usual).await;
        }
    }
    let data_dir = stage.ground.data_dir().to_owned();
    stage.backend.shut_down().await.unwrap();
    until("nothing remains", || remains(&data_dir).is_empty()).await;
}

/// How an operation ended.
async fn ended(operation: Operation, running: JoinHandle<Result<(), String>>) -> Outcome {
    let ended = tokio::time::timeout(PATIENCE, running).await;
    match ended.unwrap_or_else(|_| panic!("{operation:?} hangs")) {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(reason)) => Outcome::Failed(reason),
        Err(_) => Outcome::Unknown,
    }
}

impl Stage {
    /// How long an operation takes when nobody dies, in microseconds.
    async fn measure(&mut self, operation: Operation) -> u64 {
        let scene = Arc::new(self.set(operation).await);
        let begin = Instant::now();
        perform(operation, Arc::clone(&scene)).await.unwrap();
        let usual = u64::try_from(begin.elapsed().as_micros()).unwrap();
        self.audit(operation, Arc::into_inner(scene).unwrap(), &Outcome::Done).await;
        usual
    }

    #[expect(clippy::disallowed_methods, reason = "what is aborted is the server")]
    async fn kill_at_random(&mut self, operation: Operation, victim: Victim, round: u64, usual: u64) {
        let scene = Arc::new(self.set(operation).await);
        let moment = Duration::from_micros(self.random.below(LEAD_MICROS + usual * 5 / 4));
        let aim = self.aim(victim).await;
        let running = tokio::spawn(begin_soon(operation, Arc::clone(&scene)));
        // The runtime's own clock is too coarse for what takes less than a millisecond.
        std::thread::sleep(moment);
        self.kill(victim, aim, &running);
        let outcome = ended(operation, running).await;
        println!("{operation:?} without {victim:?}, {round}, after {moment:?} of {usual} us: {outcome:?}");
        self.audit(operation, Arc::into_inner(scene).expect("the operation is over"), &outcome).await;
    }

    /// The system calls that a spawner makes for an operation.
    async fn moments(&mut self, operation: Operation) -> Vec<Moment> {
        let scene = Arc::new(self.set(operation).await);
        let spawner = self.backend.spawner().await.unwrap().pid;
        let tracer = Tracer::watching(spawner, &self.ground.data_dir().join("trace"));
        perform(operation, Arc::clone(&scene)).await.unwrap();
        let moments = tracer.end();
        self.audit(operation, Arc::into_inner(scene).unwrap(), &Outcome::Done).await;
        moments
    }

    #[expect(clippy::disallowed_methods, reason = "as a server that goes on by itself")]
    async fn kill_at_call(&mut self, operation: Operation, moment: &Moment, place: (usize, usize)) {
        let scene = Arc::new(self.set(operation).await);
        let spawner = self.backend.spawner().await.unwrap().pid;
        self.seen.extend(children(spawner));
        let tracer = Tracer::killing(spawner, &self.ground.data_dir().join("trace"), moment);
        let outcome = ended(operation, tokio::spawn(perform(operation, Arc::clone(&scene)))).await;
        tracer.end();
        let is_dead = !exists(spawner);
        println!("{operation:?} without Spawner, at {place:?}, {moment:?}, dead: {is_dead}: {outcome:?}");
        self.audit(operation, Arc::into_inner(scene).expect("the operation is over"), &outcome).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_sandbox_is_made() {
    torment(Operation::Provision).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_call_runs() {
    torment(Operation::Execute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_sandbox_is_frozen() {
    torment(Operation::Freeze).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_sandbox_thaws() {
    torment(Operation::Thaw).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_folder_is_mounted() {
    torment(Operation::Mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_folder_is_unmounted() {
    torment(Operation::Unmount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_file_is_put() {
    torment(Operation::PutFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_files_are_packed() {
    torment(Operation::Pack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_files_are_unpacked() {
    torment(Operation::UnpackFiles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_layer_is_unpacked() {
    torment(Operation::UnpackLayer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_files_become_a_layer() {
    torment(Operation::Commit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_sandbox_is_ended() {
    torment(Operation::Destroy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_a_layer_is_removed() {
    torment(Operation::RemoveLayer).await;
}
