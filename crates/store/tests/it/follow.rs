//! Followers.

use std::sync::Arc;

use api::event_kinds::EventKind;
use store::Follower;
use store::Preview;
use store::SessionRecord;
use store::Signal;
use store::Store;

use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::by_holder;
use crate::fixture::read_log;

/// Reads as a stream does: the log first, then what the follower says, until `last`.
async fn read_until(store: Store, mut follower: Follower, session: SessionRecord, last: i64) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    let mut read = true;
    while seen.last().copied().unwrap_or(0) < last {
        let after = seen.last().copied().unwrap_or(0);
        if std::mem::take(&mut read) {
            seen.extend(
                store.entries(session.key, after, 10_000).await.unwrap().iter().map(|entry| entry.seq),
            );
            continue;
        }
        match follower.next().await {
            Signal::Entries(entries) => {
                seen.extend(entries.iter().map(|entry| entry.seq).filter(|seq| *seq > after));
            }
            Signal::Lagged => read = true,
            Signal::Preview(_) => {}
            Signal::Deleted | Signal::Closed => break,
        }
    }
    seen
}

pub(crate) async fn a_follower_that_subscribes_then_reads_has_no_gap_and_no_duplicate(world: World) {
    const APPENDS: i64 = 200;
    let world = Arc::new(world);
    let session = world.session().await;
    let other_node = world.another_node().await;
    let mut writers = tokio::task::JoinSet::new();
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (world, session) = (Arc::clone(&world), session.clone());
        let store = if number == 3 { other_node.clone() } else { world.store.clone() };
        writers.spawn(async move {
            for _ in 0..APPENDS / 4 {
                let entries = vec![world.message(&session.thread), world.answer(&session.thread)];
                store.append(by_client(&session, entries)).await.unwrap();
            }
        });
    }
    for number in 0..12 {
        let (store, session) =
            (if number % 3 == 0 { &other_node } else { &world.store }.clone(), session.clone());
        readers.spawn(async move {
            // Readers come one after the other, in the middle of it all.
            while store.session_by_key(session.key).await.unwrap().unwrap().head < 20 * number {
                tokio::task::yield_now().await;
            }
            let follower = store.follow(session.key);
            read_until(store, follower, session, 2 * APPENDS).await
        });
    }
    writers.join_all().await;
    let expected: Vec<i64> = (1..=2 * APPENDS).collect();
    for seen in readers.join_all().await {
        assert_eq!(seen, expected);
    }
}

fn preview(world: &World, session: &SessionRecord, number: usize) -> Preview {
    Preview {
        thread: session.thread.clone(),
        span: world.ids.make(),
        json: format!("{{\"number\":{number}}}"),
        kind: EventKind::AgentMessage,
        starts: number == 0,
    }
}

pub(crate) async fn previews_come_in_order_with_entries_and_are_not_stored(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let store = &world.store;
    store.preview(session.key, preview(&world, &session, 0));
    let mut follower = store.follow(session.key);
    let mut other = store.follow(session.key);
    let (first, second) = (preview(&world, &session, 1), preview(&world, &session, 2));
    store.append(by_holder(&session, epoch, vec![world.answer(&session.thread)])).await.unwrap();
    store.preview(session.key, first.clone());
    store.append(by_holder(&session, epoch, vec![world.answer(&session.thread)])).await.unwrap();
    store.preview(session.key, second.clone());

    // On a shared database the first news is to read again; it may come before or instead of the first entry.
    loop {
        match follower.next().await {
            Signal::Lagged => {}
            Signal::Entries(entries) => assert_eq!(entries[0].seq, 1),
            Signal::Preview(seen) => {
                assert_eq!(*seen, first);
                break;
            }
            signal @ (Signal::Deleted | Signal::Closed) => panic!("{signal:?}"),
        }
    }
    let Signal::Entries(mine) = follower.next().await else { panic!("an entry comes between the previews") };
    assert_eq!(mine.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2]);
    assert!(matches!(follower.next().await, Signal::Preview(seen) if *seen == second));
    assert_eq!(read_log(store, &session).await.len(), 2);
    loop {
        if let Signal::Entries(theirs) = other.next().await
            && theirs[0].seq == 2
        {
            assert!(Arc::ptr_eq(&mine[0], &theirs[0]), "entries are shared, not copied");
            break;
        }
    }
}

pub(crate) async fn a_slow_follower_is_told_to_read_again(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let mut follower = world.store.follow(session.key);
    world.store.append(by_holder(&session, epoch, vec![world.answer(&session.thread)])).await.unwrap();
    for number in 0..2000 {
        world.store.preview(session.key, preview(&world, &session, number));
    }
    let mut signals = 0;
    let mut lagged = 0;
    loop {
        signals += 1;
        match follower.next().await {
            Signal::Lagged => lagged += 1,
            Signal::Preview(preview) if preview.json.contains("1999") => break,
            Signal::Preview(_) | Signal::Entries(_) => {}
            Signal::Deleted | Signal::Closed => panic!("the session is still there"),
        }
    }
    assert!(lagged >= 1 && signals < 1000, "{lagged} of {signals}");
    let last = world
        .store
        .append(by_holder(&session, epoch, vec![world.answer(&session.thread)]))
        .await
        .unwrap()
        .last;
    assert_eq!(read_until(world.store.clone(), follower, session, last).await, [1, 2]);
}

pub(crate) async fn followers_learn_of_deletion_and_closing(world: World) {
    let (deleted, kept) = (world.session().await, world.session().await);
    let mut of_deleted = world.store.follow(deleted.key);
    let other_node = world.another_node().await;
    let mut elsewhere = other_node.follow(deleted.key);
    let mut of_kept = world.store.follow(kept.key);
    world.store.delete_session(&world.workspace, &deleted.id).await.unwrap();
    for follower in [&mut of_deleted, &mut elsewhere] {
        loop {
            match follower.next().await {
                Signal::Deleted => break,
                Signal::Lagged => {}
                signal @ (Signal::Entries(_) | Signal::Preview(_) | Signal::Closed) => panic!("{signal:?}"),
            }
        }
        assert!(matches!(follower.next().await, Signal::Closed));
    }
    drop((other_node, world.store));
    while !matches!(of_kept.next().await, Signal::Closed) {}
}
