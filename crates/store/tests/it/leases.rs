//! Leases and the fence.

use std::sync::Arc;

use api::sessions::SessionStatus;
use store::Append;
use store::Appended;
use store::Error;
use store::Fence;
use store::Lease;
use store::Patch;

use crate::fixture::World;
use crate::fixture::brief_claim;
use crate::fixture::by_client;
use crate::fixture::by_holder;
use crate::fixture::claim;
use crate::fixture::read_log;

fn release() -> Patch {
    Patch { release: true, status: Some(SessionStatus::Idle), ..Patch::default() }
}

pub(crate) async fn a_second_worker_cannot_append_after_losing_its_lease(world: World) {
    let session = world.session().await;
    let other_node = world.another_node().await;
    let first = world.store.claim(session.key, &brief_claim("first")).await.unwrap().unwrap();
    // Expired, but nobody else took it: nothing can have happened that the holder does not know.
    let answer = || vec![world.answer(&session.thread)];
    world.store.append(by_holder(&session, first.epoch, answer())).await.unwrap();
    let second = other_node.claim(session.key, &claim("second")).await.unwrap().unwrap();
    assert_eq!(second.epoch, first.epoch + 1);

    let error = world.store.append(by_holder(&session, first.epoch, answer())).await.unwrap_err();
    let Error::Fenced { session: key, epoch, current, holder } = error else { panic!("{error}") };
    assert_eq!((key, epoch, current), (session.key, first.epoch, second.epoch));
    assert_eq!(holder.as_deref(), Some("second"));
    other_node.append(by_holder(&session, second.epoch, answer())).await.unwrap();
    assert_eq!(read_log(&world.store, &session).await.len(), 2);

    // A lease that was given back is lost too, although its epoch is still the last one.
    let append = Append { patch: release(), ..by_holder(&session, second.epoch, Vec::new()) };
    assert!(other_node.append(append).await.unwrap().released);
    let error = other_node.append(by_holder(&session, second.epoch, answer())).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { holder: None, .. }), "{error}");
}

pub(crate) async fn only_one_of_many_claims_wins(world: World) {
    let world = Arc::new(world);
    let session = world.session().await;
    let other_node = world.another_node().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = if number % 2 == 0 { world.store.clone() } else { other_node.clone() };
        let key = session.key;
        tasks.spawn(async move { store.claim(key, &claim(&format!("node-{number}"))).await.unwrap() });
    }
    let winners: Vec<Lease> = tasks.join_all().await.into_iter().flatten().collect();
    let stored = world.reload(&session).await;
    assert_eq!(winners, [Lease { node: stored.holder.unwrap(), epoch: 1 }]);
    assert_eq!(world.store.claim(session.key + 1, &claim("node")).await.unwrap(), None);
}

pub(crate) async fn a_client_takes_a_free_lease_with_its_event(world: World) {
    let session = world.session().await;
    let append = |node: &str| Append {
        fence: Fence::Client { claim: Some(claim(node)), answers: Vec::new() },
        ..by_client(&session, vec![world.message(&session.thread)])
    };
    let first = world.store.append(append("first")).await.unwrap();
    let lease = Some(Lease { node: "first".to_owned(), epoch: 1 });
    assert_eq!(first, Appended { first: 1, last: 1, lease: lease.clone(), released: false });
    let second = world.store.append(append("second")).await.unwrap();
    assert_eq!(second, Appended { first: 2, last: 2, lease, released: false });
    assert!(world.reload(&session).await.runnable);
    world.store.append(by_holder(&session, 1, vec![world.answer(&session.thread)])).await.unwrap();
}

pub(crate) async fn a_client_learns_who_holds_the_lease(world: World) {
    let session = world.session().await;
    let append = || by_client(&session, vec![world.message(&session.thread)]);
    assert_eq!(world.store.append(append()).await.unwrap().lease, None);
    world.store.claim(session.key, &brief_claim("expired")).await.unwrap().unwrap();
    assert_eq!(world.store.append(append()).await.unwrap().lease, None);
    let lease = world.store.claim(session.key, &claim("node")).await.unwrap();
    assert_eq!(lease, Some(Lease { node: "node".to_owned(), epoch: 2 }));
    assert_eq!(world.store.append(append()).await.unwrap().lease, lease);
}

pub(crate) async fn a_lease_is_not_released_when_an_event_came_in_between(world: World) {
    let (session, epoch) = world.held_session("node").await;
    world.store.append(by_client(&session, vec![world.message(&session.thread)])).await.unwrap();
    let idle = |expected_head| Append {
        patch: Patch { runnable: Some(false), ..release() },
        expected_head: Some(expected_head),
        ..by_holder(&session, epoch, vec![world.answer(&session.thread)])
    };
    let missed = world.store.append(idle(0)).await.unwrap();
    let lease = Some(Lease { node: "node".to_owned(), epoch });
    assert_eq!(missed, Appended { first: 2, last: 2, lease, released: false });
    let stored = world.reload(&session).await;
    assert_eq!((stored.runnable, stored.holder.as_deref()), (true, Some("node")));

    let released = world.store.append(idle(2)).await.unwrap();
    assert_eq!(released, Appended { first: 3, last: 3, lease: None, released: true });
    let stored = world.reload(&session).await;
    assert_eq!((stored.runnable, stored.holder), (false, None));
}

/// Whatever the order: either the holder sees that an event came, or the session is left to be claimed.
pub(crate) async fn no_wake_up_is_lost_when_release_and_event_race(world: World) {
    let world = Arc::new(world);
    let other_node = world.another_node().await;
    let mut outcomes = [0, 0];
    for round in 0..40 {
        let (session, epoch) = world.held_session("node").await;
        let idle =
            Append { patch: release(), expected_head: Some(0), ..by_holder(&session, epoch, Vec::new()) };
        let event = by_client(&session, vec![world.message(&session.thread)]);
        let (holder, client) = (world.store.clone(), other_node.clone());
        let holding = async move { holder.append(idle).await.unwrap() };
        let sending = async move { client.append(event).await.unwrap() };
        let (released, sent) = if round % 2 == 0 {
            tokio::join!(holding, sending)
        } else {
            let (sent, released) = tokio::join!(sending, holding);
            (released, sent)
        };
        assert_eq!((sent.first, sent.last), (1, 1));
        let stored = world.reload(&session).await;
        assert!(stored.runnable, "a wake-up was lost");
        assert_eq!(released.released, stored.holder.is_none());
        assert_eq!(released.released, world.store.claimable(1000).await.unwrap().contains(&session.key));
        outcomes[usize::from(released.released)] += 1;
    }
    assert_eq!(outcomes.iter().sum::<i32>(), 40);
}

pub(crate) async fn a_client_that_releases_ends_the_lease_of_the_holder(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let end = Append {
        patch: Patch { archived_at: Some(world.clock.now()), ..release() },
        ..by_client(&session, vec![world.answer(&session.thread)])
    };
    assert_eq!(
        world.store.append(end).await.unwrap(),
        Appended { first: 1, last: 1, lease: None, released: true }
    );
    let error = world
        .store
        .append(by_holder(&session, epoch, vec![world.answer(&session.thread)]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Fenced { holder: None, .. }), "{error}");
    assert!(!world.reload(&session).await.runnable);
}

pub(crate) async fn renewing_reports_the_leases_that_are_lost(world: World) {
    let (kept, kept_epoch) = world.held_session("node").await;
    let (expired, taken) = (world.session().await, world.session().await);
    let expired_lease = world.store.claim(expired.key, &brief_claim("node")).await.unwrap().unwrap();
    let taken_lease = world.store.claim(taken.key, &brief_claim("node")).await.unwrap().unwrap();
    world.store.claim(taken.key, &claim("other")).await.unwrap().unwrap();
    let leases = [
        (taken.key, taken_lease.epoch),
        (999_999, 1),
        (kept.key, kept_epoch),
        (expired.key, expired_lease.epoch),
    ];
    assert_eq!(world.store.renew(&leases, 60_000).await.unwrap(), [taken.key, 999_999]);
    // What had expired is held again.
    assert_eq!(world.store.claim(expired.key, &claim("other")).await.unwrap(), None);
    assert!(world.store.renew(&[], 60_000).await.unwrap().is_empty());
}

pub(crate) async fn work_is_claimable_when_nobody_holds_it(world: World) {
    let (free, idle) = (world.session().await, world.session().await);
    let (held, _) = world.held_session("node").await;
    let expired = world.session().await;
    for session in [&free, &held, &expired] {
        world.store.append(by_client(session, vec![world.message(&session.thread)])).await.unwrap();
    }
    world.store.claim(expired.key, &brief_claim("node")).await.unwrap().unwrap();
    world.store.claim(idle.key, &brief_claim("node")).await.unwrap().unwrap();
    assert_eq!(world.store.claimable(10).await.unwrap(), [free.key, expired.key]);
    assert_eq!(world.store.claimable(1).await.unwrap(), [free.key]);
}

pub(crate) async fn a_node_gives_all_its_leases_back(world: World) {
    let (mine, epoch) = world.held_session("node-1/a").await;
    let (other, other_epoch) = world.held_session("node-10/b").await;
    world.store.append(by_client(&mine, vec![world.message(&mine.thread)])).await.unwrap();
    assert_eq!(world.store.release_node("node-1/").await.unwrap(), 1);
    assert_eq!(world.store.claimable(10).await.unwrap(), [mine.key]);
    let fenced = world.store.append(by_holder(&mine, epoch, vec![world.answer(&mine.thread)])).await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })));
    world.store.append(by_holder(&other, other_epoch, vec![world.answer(&other.thread)])).await.unwrap();
    assert_eq!(world.store.release_node("nobody").await.unwrap(), 0);
}
