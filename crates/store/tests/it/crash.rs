//! A server that is killed in the middle of its appends: everything that was acknowledged is there.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use store::Store;
use store::Target;

use crate::fixture::Engine;
use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::read_log;

/// Tells the test binary to be the server that is killed; the value is the database file.
const VICTIM: &str = "JOURNEYMAN_TEST_CRASH_FILE";
const ACKNOWLEDGED_MIN: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_killed_server_acknowledged_is_there() {
    if let Some(path) = std::env::var_os(VICTIM) {
        write_until_killed(Target::Sqlite(path.into())).await;
    }
    let mut world = World::new(Engine::SqliteFile).await.unwrap();
    let session = world.session().await;
    let Target::Sqlite(path) = world.target.clone() else { panic!() };
    // Makes room for the victim.
    let other = Store::open(&Target::SqliteMemory, world.clock.clone()).await.unwrap();
    drop(std::mem::replace(&mut world.store, other));

    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "crash::what_a_killed_server_acknowledged_is_there"])
        .env(VICTIM, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
        if let Some(seq) = line.unwrap().strip_prefix("acknowledged ") {
            acknowledged.push(seq.parse::<i64>().unwrap());
        }
        if acknowledged.len() == ACKNOWLEDGED_MIN {
            victim.kill().unwrap();
        }
    }
    victim.wait().unwrap();
    assert!(acknowledged.len() >= ACKNOWLEDGED_MIN, "the victim ended by itself: {}", acknowledged.len());

    let store = Store::open(&world.target, world.clock.clone()).await.unwrap();
    let numbers: Vec<i64> = read_log(&store, &session).await.iter().map(|entry| entry.seq).collect();
    let head = store.session_by_key(session.key).await.unwrap().unwrap().head;
    assert_eq!(numbers, (1..=head).collect::<Vec<_>>());
    let newest = acknowledged.iter().max().unwrap();
    assert!(head >= *newest, "{newest} was acknowledged, the log ends at {head}");
    store.append(by_client(&session, vec![world.message(&session.thread)])).await.unwrap();
}

#[expect(clippy::print_stdout, reason = "the parent counts what was acknowledged")]
async fn write_until_killed(target: Target) -> ! {
    let store = Store::open(&target, api::time::Clock::system()).await.unwrap();
    let session = store.session_by_key(1).await.unwrap().unwrap();
    let world = Arc::new(World::new(Engine::SqliteMemory).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, session, world) = (store.clone(), session.clone(), Arc::clone(&world));
        tasks.spawn(async move {
            // The parent stops reading soon after it has seen enough; a victim that is not killed ends here.
            for _ in 0..100_000 {
                let append = by_client(&session, vec![world.message(&session.thread)]);
                println!("acknowledged {}", store.append(append).await.unwrap().last);
            }
        });
    }
    tasks.join_all().await;
    panic!("nobody killed this process");
}
