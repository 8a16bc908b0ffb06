//! A server goes, another comes, and the work goes on.

use api::time::Clock;
use sandbox::Backend;
use sandbox::Embedded;
use sandbox::Recall;

use crate::ground::Ground;
use crate::ground::text;

#[tokio::test]
async fn another_server_adopts_what_runs() {
    let mut ground = Ground::new();
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    hands.bash("(while :; do echo tick >> /workspace/ticks; sleep 0.01; done) > /dev/null 2>&1 &").await;
    let slow = hands.call("for i in 1 2 3 4 5; do sleep 0.1; done; echo slow result");
    let quick = hands.tool("write", &serde_json::json!({ "file_path": "/workspace/q", "content": "q" }));
    let first = std::sync::Arc::clone(&hands.sandbox);
    assert!(!first.execute(&quick).await.unwrap().is_error);
    // The server dies while a call runs.
    let start = first.execute(&slow);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), start).await.is_err());
    drop((hands, first));
    ground.restarted(|_| {});

    let adopted = ground.backend.adopt(&spec.session).await.unwrap().sandbox.expect("the sandbox still runs");
    let hands = ground.hands(adopted);
    let Recall::Finished(outcome) = hands.sandbox.recall(&slow.id).await.unwrap() else {
        panic!("it is known")
    };
    assert_eq!(text(&outcome), "slow result");
    let Recall::Finished(outcome) = hands.sandbox.recall(&quick.id).await.unwrap() else {
        panic!("it is known")
    };
    assert!(!outcome.is_error);
    // Running it again gives the first result again.
    hands.bash("rm /workspace/q").await;
    assert!(!hands.sandbox.execute(&quick).await.unwrap().is_error);
    assert_eq!(hands.bash("test -e /workspace/q || echo gone").await, "gone");
    hands.sandbox.acknowledge(&[slow.id.clone(), quick.id.clone()]).await.unwrap();
    assert!(matches!(hands.sandbox.recall(&slow.id).await.unwrap(), Recall::Unknown));
    let ticks = "wc -l < /workspace/ticks";
    let before: u64 = hands.bash(ticks).await.trim().parse().unwrap();
    hands.bash("sleep 0.1").await;
    let after: u64 = hands.bash(ticks).await.trim().parse().unwrap();
    assert!(after > before, "{before} then {after}");
}

#[tokio::test]
async fn a_session_without_a_sandbox_is_not_adopted() {
    let ground = Ground::new();
    let spec = ground.spec();
    assert!(ground.backend.adopt(&spec.session).await.unwrap().sandbox.is_none());
    ground.provision(&spec).await;
    let adopted = ground.backend.adopt(&spec.session).await.unwrap().sandbox;
    assert!(adopted.is_some());
    ground.backend.destroy(&spec.session, true).await.unwrap();
    assert!(ground.backend.adopt(&spec.session).await.unwrap().sandbox.is_none());
}

#[tokio::test]
async fn asking_twice_at_once_makes_one_sandbox() {
    let ground = Ground::new();
    let spec = ground.spec();
    let other = Embedded::new(ground.config.clone());
    let (one, two, three) = tokio::join!(
        ground.backend.provision(&spec),
        ground.backend.provision(&spec),
        other.provision(&spec)
    );
    for sandbox in [one.unwrap(), two.unwrap(), three.unwrap()] {
        ground.hands(sandbox).bash("echo line >> /tmp/lines").await;
    }
    assert_eq!(ground.provision(&spec).await.bash("wc -l < /tmp/lines").await, "3");
    assert_eq!(ground.backend.list().await.unwrap(), vec![spec.session]);
}

#[tokio::test]
async fn a_call_that_is_cancelled_ends_with_a_result() {
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    hands.bash("true").await;
    let call = hands.call("sleep 1000");
    let (outcome, cancelled) = tokio::join!(hands.sandbox.execute(&call), hands.sandbox.cancel(&call.id));
    cancelled.unwrap();
    assert!(outcome.unwrap().is_error);
    let unknown = hands.event();
    assert!(matches!(hands.sandbox.recall(&unknown).await.unwrap(), Recall::Unknown));
}

#[tokio::test]
async fn what_is_wanted_once_the_back_end_stands_by_is_proven_to_be_unbegun() {
    let ground = Ground::new();
    let spec = ground.spec();
    ground.backend.stand_by().await.unwrap();
    let wanted_at = Clock::system().now();
    let since = ground.backend.adopt(&spec.session).await.unwrap().sole_since;
    assert!(since.is_some_and(|since| since < wanted_at), "{since:?} is not before {wanted_at:?}");
}
