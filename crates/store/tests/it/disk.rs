//! A disk that takes no more: the caller hears of it, and nothing is acknowledged that is not there.

use std::process::Command;

use api::entry::NewEntry;
use api::entry::raw;
use store::Error;
use store::Store;
use store::Target;

use crate::fixture::Engine;
use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::read_log;

/// Tells the test binary to be the server whose files may not grow; the value is the database file.
const VICTIM: &str = "JOURNEYMAN_TEST_DISK_FILE";
/// In blocks of 512 or 1024 bytes, as the shell counts: a few megabytes.
const LIMITED: &str = r#"trap "" XFSZ; ulimit -f 4000; exec "$0" "$@""#;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_that_the_disk_refuses_is_an_error_and_everything_acknowledged_is_there() {
    if let Some(path) = std::env::var_os(VICTIM) {
        return write_until_refused(Target::Sqlite(path.into())).await;
    }
    let mut world = World::new(Engine::SqliteFile).await.unwrap();
    let session = world.session().await;
    let Target::Sqlite(path) = world.target.clone() else { panic!() };
    let other = Store::open(&Target::SqliteMemory, world.clock.clone()).await.unwrap();
    drop(std::mem::replace(&mut world.store, other));

    let victim = Command::new("/bin/sh")
        .args(["-c", LIMITED])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("disk::a_write_that_the_disk_refuses_is_an_error_and_everything_acknowledged_is_there")
        .env(VICTIM, &path)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&victim.stdout);
    assert!(victim.status.success(), "{printed}{}", String::from_utf8_lossy(&victim.stderr));
    let acknowledged =
        printed.lines().filter_map(|line| line.strip_prefix("acknowledged ")).next_back().unwrap();

    let store = Store::open(&world.target, world.clock.clone()).await.unwrap();
    let log = read_log(&store, &session).await;
    assert_eq!(log.len().to_string(), acknowledged);
    store.append(by_client(&session, vec![world.message(&session.thread)])).await.unwrap();
}

#[expect(clippy::print_stdout, reason = "the parent compares what was acknowledged")]
async fn write_until_refused(target: Target) {
    let store = Store::open(&target, api::time::Clock::system()).await.unwrap();
    let session = store.session_by_key(1).await.unwrap().unwrap();
    let world = World::new(Engine::SqliteMemory).await.unwrap();
    let text = "x".repeat(50_000);
    for _ in 0..1000 {
        let large = NewEntry { public: Some(raw(&text)), ..world.message(&session.thread) };
        match store.append(by_client(&session, vec![large])).await {
            Ok(appended) => println!("acknowledged {}", appended.last),
            Err(error) => {
                assert!(matches!(error, Error::Database { .. }), "{error}");
                // What a failed write left behind is unknown: nothing is written until the next start.
                let next = store.append(by_client(&session, vec![world.message(&session.thread)])).await;
                assert!(matches!(next, Err(Error::Stopped { .. })), "{next:?}");
                let read = read_log(&store, &session).await.len();
                println!("\nacknowledged {read}");
                return;
            }
        }
    }
    panic!("the disk took everything");
}
