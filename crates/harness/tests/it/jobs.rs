//! The worker of jobs: every job once while all goes well, again when it does not, and never over a new holder.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use api::time::Clock;
use api::time::Timestamp;
use async_trait::async_trait;
use harness::Tasks;
use harness::jobs::Done;
use harness::jobs::Failure;
use harness::jobs::Handler;
use harness::jobs::Rules;
use harness::jobs::Worker;
use store::Claim;
use store::Job;
use store::JobRecord;
use store::JobState;
use store::NewJob;
use store::Store;
use store::Target;
use tokio::sync::watch;

/// A database of its own; `None` when the tests are to do without PostgreSQL.
pub(crate) fn postgres() -> Option<Target> {
    if std::env::var_os("JOURNEYMAN_TEST_NO_POSTGRES").is_some_and(|value| value == "1") {
        return None;
    }
    let url =
        testkit::postgres::database().expect("a PostgreSQL; JOURNEYMAN_TEST_NO_POSTGRES=1 does without");
    Some(Target::Postgres(url))
}

/// Key of a job, node, number of the attempt.
type Seen = (String, &'static str, i64);

/// Does as the key of the job says, and keeps count.
#[derive(Clone)]
struct Obedient {
    node: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    attempt_max: Duration,
    /// Jobs called `wait` and something end once it is open.
    gate: watch::Sender<bool>,
    started: watch::Sender<usize>,
}

impl Obedient {
    fn new(node: &'static str) -> Self {
        let (gate, started) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { node, seen: Arc::default(), attempt_max: Duration::from_hours(1), gate, started }
    }

    async fn until_started(&self, count: usize) {
        let mut started = self.started.subscribe();
        let reached = started.wait_for(|started| *started >= count);
        tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
    }
}

#[async_trait]
impl Handler for Obedient {
    fn rules(&self) -> Rules {
        Rules {
            kind: "test",
            at_once_max: 4,
            attempts_max: 3,
            attempt_max: self.attempt_max,
            pause_ms: 0,
            pause_ms_max: 0,
        }
    }

    async fn run(&self, job: &Job) -> Result<Done, Failure> {
        self.seen.lock().unwrap().push((job.key.clone(), self.node, job.attempts));
        self.started.send_modify(|started| *started += 1);
        match job.key.as_str() {
            "fail" => Err(Failure::Transient { reason: "no answer".to_owned() }),
            "once" if job.attempts == 1 => Err(Failure::Transient { reason: "not yet".to_owned() }),
            "poison" => Err(Failure::Permanent { reason: "nonsense".to_owned() }),
            "panic" => panic!("the handler was told to"),
            "hang" => std::future::pending().await,
            key if key.starts_with("wait") => {
                self.gate.subscribe().wait_for(|is_open| *is_open).await.unwrap();
                Ok(Done::Effect)
            }
            _ => Ok(Done::Effect),
        }
    }
}

fn work(store: &Store, handler: impl Handler + 'static, node: &str, lease_ms: i64) -> Tasks {
    let tasks = Tasks::new();
    let worker = Worker {
        store: store.clone(),
        tasks: tasks.clone(),
        claim: Claim { node: node.to_owned(), ttl_ms: lease_ms },
        home: node.to_owned(),
        handlers: vec![Arc::new(handler)],
        crash: None,
    };
    drop(tasks.spawn("run jobs", worker.run()));
    tasks
}

fn job(key: &str) -> NewJob {
    NewJob {
        kind: "test".to_owned(),
        key: key.to_owned(),
        workspace: None,
        node: None,
        body: "{}".to_owned(),
        run_at: None,
    }
}

/// The job once it is as it should be.
async fn until(store: &Store, key: &str, is_so: impl Fn(Option<&JobRecord>) -> bool) -> Option<JobRecord> {
    let reached = async {
        loop {
            let job = store.job("test", key).await.unwrap();
            if is_so(job.as_ref()) {
                return job;
            }
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), reached).await;
    in_time.unwrap_or_else(|_| panic!("job {key} did not come so far"))
}

fn is_parked(job: Option<&JobRecord>) -> bool {
    job.is_some_and(|job| matches!(job.state, JobState::Parked(_)))
}

async fn memory() -> Store {
    Store::open(&Target::SqliteMemory, Clock::system()).await.unwrap()
}

#[tokio::test]
async fn a_job_runs_when_it_is_written_and_is_gone_when_it_is_done() {
    let store = memory().await;
    let handler = Obedient::new("one");
    work(&store, handler.clone(), "one", 10_000);
    for key in ["a", "once"] {
        store.ensure_job(&job(key)).await.unwrap();
        until(&store, key, |job| job.is_none()).await;
    }
    let seen = handler.seen.lock().unwrap().clone();
    assert_eq!(seen, [("a", 1), ("once", 1), ("once", 2)].map(|(key, n)| (key.to_owned(), "one", n)));
}

#[tokio::test]
async fn a_handler_that_fails_panics_or_hangs_uses_up_its_attempts_and_the_job_is_parked() {
    let store = memory().await;
    let handler = Obedient { attempt_max: Duration::from_millis(50), ..Obedient::new("one") };
    work(&store, handler.clone(), "one", 10_000);
    for (key, error, attempts) in [
        ("fail", "no answer", 3),
        ("panic", "its handler panicked", 3),
        ("hang", "it took longer than 50ms", 3),
        ("poison", "nonsense", 1),
    ] {
        store.ensure_job(&job(key)).await.unwrap();
        let parked = until(&store, key, is_parked).await.unwrap();
        assert_eq!((parked.error.as_deref(), parked.attempts), (Some(error), attempts), "{key}");
    }
    store.ensure_job(&job("a")).await.unwrap();
    until(&store, "a", |job| job.is_none()).await;
}

#[tokio::test]
async fn a_job_whose_servers_died_too_often_is_parked_without_another_attempt() {
    let store = memory().await;
    store.ensure_job(&job("a")).await.unwrap();
    for _ in 0..3 {
        let died = Claim { node: "dead".to_owned(), ttl_ms: 0 };
        assert_eq!(store.claim_jobs(&[("test", 1)], &died, "dead").await.unwrap().len(), 1);
    }
    let handler = Obedient::new("one");
    work(&store, handler.clone(), "one", 10_000);
    let parked = until(&store, "a", is_parked).await.unwrap();
    assert_eq!(parked.error.as_deref(), Some("the servers that ran it ended during its 3 attempts"));
    assert!(handler.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_job_that_runs_keeps_its_lease_and_no_more_run_than_may() {
    let clock = Clock::manual(Timestamp(1_790_000_000_000_000));
    let store = Store::open(&Target::SqliteMemory, clock.clone()).await.unwrap();
    for number in 1..=5 {
        store.ensure_job(&job(&format!("wait {number}"))).await.unwrap();
    }
    let handler = Obedient::new("one");
    work(&store, handler.clone(), "one", 60);
    handler.until_started(4).await;
    for _ in 0..3 {
        clock.advance_millis(61);
        until(&store, "wait 1", |job| job.is_some_and(|job| job.state == JobState::Running)).await;
    }
    assert_eq!(store.job("test", "wait 5").await.unwrap().unwrap().attempts, 0);
    handler.gate.send_replace(true);
    for number in 1..=5 {
        until(&store, &format!("wait {number}"), |job| job.is_none()).await;
    }
    assert_eq!(handler.seen.lock().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_jobs_and_run_each_once() {
    let Some(target) = postgres() else { return };
    let handlers = ["one", "two"].map(Obedient::new);
    let mut stores = Vec::new();
    for handler in &handlers {
        let store = Store::open(&target, Clock::system()).await.unwrap();
        work(&store, handler.clone(), handler.node, 10_000);
        stores.push(store);
    }
    let keys: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
    for key in &keys {
        stores[0].ensure_job(&job(key)).await.unwrap();
    }
    for key in &keys {
        until(&stores[1], key, |job| job.is_none()).await;
    }
    let mut seen: Vec<_> = handlers.iter().flat_map(|handler| handler.seen.lock().unwrap().clone()).collect();
    seen.sort_unstable();
    assert_eq!(seen.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>(), keys);
}

/// Stops its whole node, its connections and renewals too, until it may go on.
struct Paused {
    store: Store,
    started: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
    ended: mpsc::Sender<bool>,
}

#[async_trait]
impl Handler for Paused {
    fn rules(&self) -> Rules {
        Obedient::new("").rules()
    }

    async fn run(&self, job: &Job) -> Result<Done, Failure> {
        self.started.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        // In a task of its own: the worker may hear of the lost lease first and abort this one.
        let (store, ended, job) = (self.store.clone(), self.ended.clone(), job.clone());
        let finish = async move { ended.send(store.finish_job(&job).await.unwrap()).unwrap() };
        drop(Tasks::new().spawn("finish", finish));
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_slept_past_its_lease_does_not_finish_over_the_new_holder() {
    let Some(target) = postgres() else { return };
    let store = Store::open(&target, Clock::system()).await.unwrap();
    store.ensure_job(&job("wait")).await.unwrap();
    let (started, has_started) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(&target, Clock::system()).await.unwrap();
            let handler = Paused { store: store.clone(), started, go_on: Mutex::new(go_on), ended };
            let tasks = work(&store, handler, "sleeper", 1_000);
            until(&store, "wait", |job| job.is_none()).await;
            tasks.shutdown().await;
        });
    });
    has_started.recv().unwrap();
    let handler = Obedient::new("new");
    work(&store, handler.clone(), "new", 60_000);
    handler.until_started(1).await;
    let_go.send(()).unwrap();
    assert!(!has_ended.recv().unwrap(), "the sleeper has lost its lease");
    let held = store.job("test", "wait").await.unwrap().unwrap();
    assert_eq!((held.state, held.attempts), (JobState::Running, 2));
    handler.gate.send_replace(true);
    until(&store, "wait", |job| job.is_none()).await;
    assert_eq!(*handler.seen.lock().unwrap(), [("wait".to_owned(), "new", 2)]);
    sleeper.join().unwrap();
}
