//! What only the file of a SQLite store has: its lock, its leases at a new start, its mode.

use std::os::unix::fs::PermissionsExt as _;

use store::Error;
use store::Store;
use store::Target;

use crate::fixture::Engine;
use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::by_holder;
use crate::fixture::read_log;

#[tokio::test]
async fn a_second_server_on_the_same_file_is_refused_until_the_first_has_closed() {
    let world = World::new(Engine::SqliteFile).await.unwrap();
    let World { store, target, clock, .. } = world;
    let error = Store::open(&target, clock.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains("another server is using this data"), "{error}");
    drop(store);
    Store::open(&target, clock).await.unwrap();
}

#[tokio::test]
async fn a_new_start_frees_the_leases_of_the_dead_server_and_finds_its_work() {
    let world = World::new(Engine::SqliteFile).await.unwrap();
    let (session, epoch) = world.held_session("dead").await;
    world.store.append(by_client(&session, vec![world.message(&session.thread)])).await.unwrap();
    let store = {
        let World { store, target, clock, .. } = &world;
        let (target, clock) = (target.clone(), clock.clone());
        let copy = tempfile::tempdir().unwrap();
        copy_database(&target, copy.path());
        assert_eq!(read_log(store, &session).await.len(), 1);
        let target = Target::Sqlite(copy.path().join("journeyman.db"));
        Store::open(&target, clock).await.unwrap()
    };
    assert_eq!(store.claimable(10).await.unwrap(), [session.key]);
    let late = by_holder(&session, epoch, vec![world.answer(&session.thread)]);
    assert!(matches!(store.append(late).await, Err(Error::Fenced { .. })));
    assert_eq!(read_log(&store, &session).await.len(), 1);
}

/// The files as a crash at this moment would leave them.
fn copy_database(target: &Target, to: &std::path::Path) {
    let Target::Sqlite(path) = target else { panic!("{target:?}") };
    for suffix in ["", "-wal"] {
        let mut from = path.clone().into_os_string();
        from.push(suffix);
        std::fs::copy(from, to.join(format!("journeyman.db{suffix}"))).unwrap();
    }
}

#[tokio::test]
async fn only_the_owner_can_read_the_file() {
    let world = World::new(Engine::SqliteFile).await.unwrap();
    let Target::Sqlite(path) = &world.target else { panic!() };
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        assert_eq!(
            std::fs::metadata(&name).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            name.display()
        );
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let target = Target::Sqlite("/nowhere/at/all/journeyman.db".into());
    let error = Store::open(&target, api::time::Clock::system()).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}
