//! From the files of a sandbox to a packed layer, and back into another sandbox.

use std::time::Instant;

use sandbox::Backend;
use sandbox::Chunk;
use sandbox::Place;
use sandbox::Spec;

use crate::ground::Ground;
use crate::ground::chain;
use crate::ground::until;

const WRITE: &str = r#"
mkdir -p /workspace/deep/er && cd /workspace
echo one > file && chmod 640 file && ln file hard && ln -s deep/er link
printf '\0\1\2' > 'name with spaces and ü'
mkdir closed && echo in > closed/inner && chmod 700 closed
truncate -s 10M sparse
mkfifo pipe
echo mine > owned && (chown 1234:4321 owned 2>/dev/null || true)
rm -f /etc/hostname; rm -rf /etc/skel; mkdir -p /etc/skel; echo new > /etc/skel/only
touch -d 2001-02-03T04:05:06Z file
cd deep/er && export COLOUR=blue && say() { echo "said $1"; }
"#;

const LOOK: &str = r"
cd /workspace
stat -c '%n %a %h %s %Y' file && stat -c '%n %a %u:%g' closed owned && readlink link && cat closed/inner
od -An -tx1 'name with spaces and ü'; stat -c '%s' sparse; [ -p pipe ] && echo is a pipe
[ -e /etc/hostname ] || echo no hostname; ls -A /etc/skel
cd - >/dev/null
";

const SHELL: &str = r#"pwd; echo "$COLOUR"; say hello"#;

async fn pack(ground: &Ground, spec: &Spec) -> Vec<u8> {
    let mut reader = ground.backend.pack(&spec.session).await.unwrap();
    let mut all = Vec::new();
    loop {
        match reader.next().await.unwrap() {
            Chunk::Bytes(bytes) => all.extend(bytes),
            Chunk::End(_) => return all,
        }
    }
}

async fn unpack(ground: &Ground, spec: &Spec, packed: &[u8]) {
    try_unpack(ground, spec, packed).await.unwrap();
}

async fn try_unpack(ground: &Ground, spec: &Spec, packed: &[u8]) -> Result<(), String> {
    // The worker that packed is gone a moment after its last word.
    let begin = Instant::now();
    let place = Place::Files { session: spec.session.clone(), limits: spec.limits };
    let mut writer = loop {
        match ground.backend.unpack(&place).await {
            Ok(writer) => break writer,
            Err(error) => assert!(begin.elapsed().as_secs() < 5, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    for chunk in packed.chunks(1 << 16) {
        writer.write(chunk).await.map_err(|error| chain(&error))?;
    }
    writer.finish().await.map(drop).map_err(|error| chain(&error))
}

async fn goes_and_comes_back(ground: Ground) {
    let spec = ground.spec();
    let mut hands = ground.provision(&spec).await;
    let thread = hands.thread.clone();
    hands.bash(WRITE).await;
    let (files, shell) = (hands.bash(LOOK).await, hands.bash(SHELL).await);
    hands.sandbox.rest().await.unwrap();
    drop(hands);
    ground.backend.destroy(&spec.session, true).await.unwrap();
    let packed = pack(&ground, &spec).await;
    ground.backend.destroy(&spec.session, false).await.unwrap();
    assert_eq!(ground.backend.kept().await.unwrap(), []);
    unpack(&ground, &spec, &packed).await;
    hands = ground.provision(&spec).await;
    hands.thread = thread;
    // A shell that was put away says so behind what it prints first.
    let again = hands.bash(SHELL).await;
    assert!(again.starts_with(shell.trim_end()), "{again}");
    assert_eq!(hands.bash(LOOK).await, files);
    assert!(
        shell.contains("/workspace/deep/er") && shell.contains("blue") && shell.contains("said hello"),
        "{shell}"
    );
    assert!(files.contains("no hostname") && files.contains("file 640 2 4 981173106"), "{files}");
}

#[tokio::test]
async fn files_and_shells_come_back_from_a_checkpoint() {
    goes_and_comes_back(Ground::new()).await;
}

#[tokio::test]
async fn files_and_shells_of_a_spawner_with_a_single_id_come_back_from_a_checkpoint() {
    goes_and_comes_back(Ground::of_nobody()).await;
}

#[tokio::test]
async fn files_and_shells_of_a_spawner_with_subordinate_ids_come_back_from_a_checkpoint() {
    goes_and_comes_back(Ground::of_granted()).await;
}

#[tokio::test]
async fn a_checkpoint_with_far_more_than_its_session_may_have_is_refused_early() {
    for (fill, word) in [
        ("head -c 64M /dev/zero > /workspace/zeros", "bytes"),
        ("mkdir /workspace/many && cd /workspace/many && seq 1000 | xargs touch", "entries"),
    ] {
        let ground = Ground::new();
        let mut spec = ground.spec();
        let hands = ground.provision(&spec).await;
        hands.bash(fill).await;
        drop(hands);
        ground.backend.destroy(&spec.session, true).await.unwrap();
        let packed = pack(&ground, &spec).await;
        ground.backend.destroy(&spec.session, false).await.unwrap();
        spec.limits.disk_bytes_max = 8 << 20;
        spec.limits.disk_files_max = 100;
        let refused = try_unpack(&ground, &spec, &packed).await.unwrap_err();
        assert!(refused.contains("the archive has more than") && refused.contains(word), "{refused}");
        assert_eq!(ground.backend.kept().await.unwrap(), []);
        let incoming = ground.data_dir().join("incoming");
        until("the half is gone", || std::fs::read_dir(&incoming).unwrap().next().is_none()).await;
    }
}

#[tokio::test]
async fn a_call_can_begin_soon_after_packing_was_given_up() {
    let ground = Ground::new();
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    hands
        .bash("head -c 50M /dev/urandom > /workspace/large 2>/dev/null || head -c 50M /dev/urandom > /large")
        .await;
    drop(hands);
    ground.backend.destroy(&spec.session, true).await.unwrap();
    let mut reader = ground.backend.pack(&spec.session).await.unwrap();
    reader.next().await.unwrap();
    drop(reader);
    let begin = Instant::now();
    let hands = loop {
        match ground.backend.provision(&spec).await {
            Ok(sandbox) => break ground.hands(sandbox),
            Err(error) => assert!(begin.elapsed().as_secs() < 5, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert!(hands.bash("echo here").await.contains("here"));
}
