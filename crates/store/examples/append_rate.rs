//! How many durable appends a second, and how long one takes: `append_rate [writers] [seconds] [address]`.
//!
//! Every writer has a session of its own, appends one entry of 600 bytes, and waits for the answer. Without an address
//! (a PostgreSQL one, or `test` for a cluster of its own) the database is a new SQLite file in the current folder.

use std::time::Duration;
use std::time::Instant;

use api::entry::NewEntry;
use api::entry::raw;
use api::event_kinds::EventKind;
use api::ids::Ids;
use api::sessions::SessionStatus;
use api::time::Clock;
use store::Append;
use store::EnvironmentColumns;
use store::EnvironmentRecord;
use store::Fence;
use store::NewSession;
use store::Patch;
use store::SessionRecord;
use store::Store;
use store::Target;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "prints what it measured")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let writers: usize = args.next().map_or(Ok(32), |text| text.parse())?;
    let seconds: u64 = args.next().map_or(Ok(3), |text| text.parse())?;
    let folder = tempfile::tempdir_in(".")?;
    let mut cluster = None;
    let target = match args.next() {
        None => Target::Sqlite(folder.path().join("rate.db")),
        Some(address) if address == "test" => {
            let cluster = cluster.insert(testkit::postgres::Cluster::start(true)?);
            Target::Postgres(cluster.create_database()?)
        }
        Some(address) => Target::Postgres(address),
    };
    let clock = Clock::system();
    let ids = Ids::new(clock.clone());
    let store = Store::open(&target, clock.clone()).await?;
    let environment = environment(&ids, &clock);
    store.insert(&environment).await?;

    let mut tasks = tokio::task::JoinSet::new();
    let deadline = Duration::from_secs(seconds);
    for _ in 0..writers {
        let new =
            NewSession { record: session(&ids, &clock, &environment), entries: Vec::new(), claim: None };
        let session = store.create_session(new).await?;
        tasks.spawn(write(store.clone(), ids.clone(), clock.clone(), session, deadline));
    }
    let mut times = Vec::new();
    while let Some(result) = tasks.join_next().await {
        times.extend(result??);
    }
    times.sort_unstable();
    let rate = u64::try_from(times.len())? / seconds.max(1);
    let at = |share: usize| times.get(times.len() * share / 1000).copied().unwrap_or_default();
    println!("{writers} writers: {rate}/s, p50 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999));
    let started = Instant::now();
    drop(store);
    let closed = started.elapsed();
    let started = Instant::now();
    let store = Store::open(&target, clock).await?;
    println!("closed in {closed:?}, opened again in {:?}", started.elapsed());
    drop(store);
    Ok(())
}

async fn write(
    store: Store,
    ids: Ids,
    clock: Clock,
    session: SessionRecord,
    deadline: Duration,
) -> Result<Vec<Duration>, store::Error> {
    let started = Instant::now();
    let mut times = Vec::new();
    let text = "x".repeat(600);
    while started.elapsed() < deadline {
        let entry = NewEntry {
            thread: session.thread.clone(),
            id: ids.make(),
            kind: EventKind::UserMessage,
            public: Some(raw(&text)),
            private: None,
            created_at: clock.now(),
            processed_at: Some(clock.now()),
            processes: None,
        };
        let append = Append {
            session: session.key,
            fence: Fence::Client { claim: None, answers: Vec::new() },
            entries: vec![entry],
            patch: Patch::default(),
            jobs: Vec::new(),
            expected_head: None,
        };
        let began = Instant::now();
        store.append(append).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn environment(ids: &Ids, clock: &Clock) -> EnvironmentRecord {
    let columns = EnvironmentColumns { name: "bench".to_owned(), body: "{}".to_owned(), sandbox: None };
    EnvironmentRecord::new(ids.make(), ids.make(), clock.now(), columns)
}

fn session(ids: &Ids, clock: &Clock, environment: &EnvironmentRecord) -> SessionRecord {
    SessionRecord {
        key: 0,
        id: ids.make(),
        workspace: environment.workspace.clone(),
        agent_id: ids.make(),
        agent_version: 1,
        environment_id: environment.id.clone(),
        thread: ids.make(),
        status: SessionStatus::Idle,
        title: None,
        metadata: "{}".to_owned(),
        agent: "{}".to_owned(),
        extra: "{}".to_owned(),
        progress: "{}".to_owned(),
        created_at: clock.now(),
        updated_at: clock.now(),
        archived_at: None,
        head: 0,
        epoch: 0,
        holder: None,
        runnable: false,
        waiting: Vec::new(),
    }
}
