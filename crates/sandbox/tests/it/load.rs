//! Many sandboxes: one after the other, at once, and idle; and nothing that is left of them.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;
use egress::Policy;
use egress::Reports;
use sandbox::Backend;
use sandbox::Chunk;
use sandbox::Spec;
use tokio::task::JoinSet;

use crate::ground::Ground;
use crate::ground::Hands;
use crate::ground::chain;
use crate::ground::children;
use crate::ground::is_egress;
use crate::ground::until;
use crate::traces::Traces;
use crate::traces::ranges;
use crate::traces::remains;
use crate::traces::resident_kib;

/// Lives of the long test, unless the variable says another number.
const LIVES: usize = 300;
const LIVES_VARIABLE: &str = "JOURNEYMAN_TEST_LIVES";
/// Sandboxes alive at once in the long test.
const CROWD: usize = 8;
/// Children of a spawner without sandboxes: the door to the network, the spare sandbox, and the hand that waits.
const PREPARED: usize = 3;
/// By how much the spawner may grow between the first lives and the last ones.
const GROWTH_KIB_MAX: u64 = 2048;

fn with_network(ground: &Ground) -> Spec {
    Spec { network: Some(Arc::new(Policy::unrestricted())), ..ground.spec() }
}

/// One session's life, which ends in one of several ways.
async fn live(ground: Arc<Ground>, way: usize) -> SessionId {
    let spec = with_network(&ground);
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("mkdir -p /workspace/a && echo $$ > /workspace/a/b && echo up").await, "up");
    match way % 6 {
        0 => drop(hands.bash("(sleep 1000 &) > /dev/null 2>&1; chmod 0 /workspace").await),
        1 => assert!(ground.backend.freeze(&spec.session).await.unwrap()),
        2 => {
            ground.backend.destroy(&spec.session, true).await.unwrap();
            let mut reader = ground.backend.pack(&spec.session).await.unwrap();
            while let Chunk::Bytes(_) = reader.next().await.unwrap() {}
        }
        3 => drop(hands.try_bash("kill -9 $$ & exec >/dev/null; wait").await),
        4 => {
            ground.backend.destroy(&spec.session, true).await.unwrap();
            assert_eq!(
                ground.provision(&spec).await.bash("test -e /workspace/a/b && echo kept").await,
                "kept"
            );
        }
        _ => {}
    }
    ground.backend.destroy(&spec.session, false).await.unwrap();
    spec.session
}

/// So many lives, a few at a time.
async fn lives(ground: &Arc<Ground>, count: usize) -> Vec<SessionId> {
    let (mut running, mut ended) = (JoinSet::new(), Vec::new());
    for number in 0..count {
        if running.len() == CROWD {
            ended.push(running.join_next().await.unwrap().unwrap());
        }
        running.spawn(live(Arc::clone(ground), number));
    }
    while let Some(one) = running.join_next().await {
        ended.push(one.unwrap());
    }
    ended
}

/// One plain life, after which the spare sandbox is one that nobody has tried yet: one that did not fit has handed its
/// sockets over already.
async fn refresh(ground: &Ground) {
    let spec = with_network(ground);
    ground.provision(&spec).await.bash("true").await;
    ground.backend.destroy(&spec.session, false).await.unwrap();
}

/// Waits until the spawner stands as it did, with a spare sandbox and nothing else.
async fn settled(ground: &Ground, spawner: i32, before: &Traces) {
    refresh(ground).await;
    let deadline = Instant::now() + Duration::from_secs(45);
    let mut now = Traces::of(spawner, ground.data_dir());
    while now != *before {
        assert!(Instant::now() < deadline, "left: {now:?}\nbefore: {before:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        now = Traces::of(spawner, ground.data_dir());
    }
}

/// A spawner that has made sandboxes before and holds what it will hold when all is over.
async fn warm(ground: &Arc<Ground>) -> (i32, Traces) {
    let spawner = ground.backend.spawner().await.unwrap().pid;
    lives(ground, 2 * CROWD).await;
    refresh(ground).await;
    until("the trash is empty", || {
        let is_kept = |name: &std::ffi::OsStr| name != egress::wire::SOCKET;
        let is_empty = |folder| {
            let mut names = std::fs::read_dir(ground.data_dir().join(folder)).unwrap().flatten();
            !names.any(|entry| is_kept(&entry.file_name()))
        };
        is_empty("trash") && is_empty("egress") && children(spawner).len() == PREPARED
    })
    .await;
    (spawner, Traces::of(spawner, ground.data_dir()))
}

#[tokio::test]
async fn hundreds_of_lives_leave_nothing_behind() {
    let count = std::env::var(LIVES_VARIABLE).map_or(LIVES, |text| text.parse().unwrap());
    let ground = Arc::new(Ground::new());
    let (spawner, before) = warm(&ground).await;
    let door = children(spawner).into_iter().find(|pid| is_egress(*pid)).unwrap();
    lives(&ground, count / 10).await;
    let resident = [spawner, door].map(resident_kib);
    let begin = Instant::now();
    let sessions = lives(&ground, count).await;
    println!("{count} lives in {:?}", begin.elapsed());
    let grown = [spawner, door].map(resident_kib);
    println!("memory of spawner and door: {resident:?} KiB, then {grown:?} KiB");
    for (before, after) in resident.into_iter().zip(grown) {
        assert!(after < before + GROWTH_KIB_MAX, "{before} KiB grew to {after} KiB");
    }
    assert_eq!(ground.backend.list().await.unwrap(), Vec::new());
    settled(&ground, spawner, &before).await;
    // Each of the crowd may have met one that was on its way out, those that are prepared, and a worker on its files.
    assert!(ranges(spawner) <= 2 * CROWD + PREPARED, "{} ranges of ids", ranges(spawner));
    let client = Reports::open(ground.data_dir());
    for session in sessions {
        assert!(client.report(&session).await.unwrap().is_none(), "{session} is known to the door");
    }
    let data_dir = ground.data_dir().to_owned();
    ground.backend.shut_down().await.unwrap();
    until("nothing remains", || remains(&data_dir).is_empty()).await;
}

/// New sandboxes asked for in the same moment; each has answered a command.
async fn crowd(ground: &Arc<Ground>, count: usize) -> Vec<(SessionId, Hands)> {
    let mut starting = JoinSet::new();
    for number in 0..count {
        let ground = Arc::clone(ground);
        starting.spawn(async move {
            let spec = with_network(&ground);
            let hands = ground.provision(&spec).await;
            let said = hands.bash(&format!("echo {number} > /workspace/n; cat /workspace/n")).await;
            assert_eq!(said, number.to_string());
            (spec.session, hands)
        });
    }
    starting.join_all().await
}

async fn crowd_comes_and_goes(count: usize) {
    let ground = Arc::new(Ground::new());
    let (spawner, before) = warm(&ground).await;
    let begin = Instant::now();
    let all = crowd(&ground, count).await;
    println!("{count} at once: {:?}", begin.elapsed());
    assert_eq!(ground.backend.list().await.unwrap().len(), count);
    let during = Traces::of(spawner, ground.data_dir());
    assert_ne!(during, before);
    for (session, _) in &all {
        assert!(ground.backend.freeze(session).await.unwrap());
    }
    for (session, hands) in &all {
        let adopted = ground.backend.adopt(session).await.unwrap().sandbox.expect("it runs");
        let mut again = ground.hands(adopted);
        again.thread = hands.thread.clone();
        again.bash("cat /workspace/n").await.parse::<usize>().unwrap();
    }
    let mut ending = JoinSet::new();
    for (session, _) in all {
        let ground = Arc::clone(&ground);
        ending.spawn(async move {
            ground.backend.destroy(&session, false).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        });
    }
    ending.join_all().await;
    settled(&ground, spawner, &before).await;
    let data_dir = ground.data_dir().to_owned();
    ground.backend.shut_down().await.unwrap();
    until("nothing remains", || remains(&data_dir).is_empty()).await;
}

#[tokio::test]
async fn a_hundred_at_once_answer_and_leave_nothing_behind() {
    crowd_comes_and_goes(100).await;
}

#[tokio::test]
async fn two_hundred_idle_at_once_and_all_are_thawed_for_their_next_call() {
    crowd_comes_and_goes(200).await;
}
