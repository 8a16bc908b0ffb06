//! Builds as records: how far, and how it ended; who builds is a matter of their jobs.

use store::BuildEnd;
use store::BuildState;
use store::Job;
use store::JobState;
use store::NewJob;

use crate::fixture::World;
use crate::fixture::brief_claim;
use crate::fixture::claim;

fn end(world: &World, error: Option<&str>) -> BuildEnd {
    BuildEnd {
        error: error.map(str::to_owned),
        step: "pip".to_owned(),
        log: "one\ntwo".to_owned(),
        bytes: Some(5),
        at: world.clock.now(),
    }
}

fn job(home: &str, key: &str) -> NewJob {
    NewJob { kind: "build".to_owned(), node: Some(home.to_owned()), ..crate::jobs::job(key) }
}

async fn begin(world: &World, home: &str, key: &str) -> bool {
    world.store.begin_build(&job(home, key), world.clock.now()).await.unwrap()
}

async fn take(world: &World, claim: &store::Claim) -> Job {
    world.store.claim_jobs(&[("build", 1)], claim, &claim.node).await.unwrap().pop().unwrap()
}

pub(crate) async fn only_one_node_builds_at_a_time(world: World) {
    let (store, now) = (&world.store, world.clock.now());
    assert_eq!(store.build("k").await.unwrap(), None);
    assert!(begin(&world, "a", "k").await);
    let held = take(&world, &claim("a")).await;
    assert!(!begin(&world, "b", "k").await);
    assert!(store.continue_build(&held, 60_000, "pip", "line").await.unwrap());
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!((build.state, build.step.as_str(), build.log.as_str()), (BuildState::Building, "pip", "line"));
    assert!(store.end_build(&held, &end(&world, None)).await.unwrap());
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!((build.state, build.bytes, build.finished_at), (BuildState::Ready, Some(5), Some(now)));
    assert_eq!(store.job("build", "k").await.unwrap(), None, "it ended in the same commit");
    assert!(!store.continue_build(&held, 60_000, "pip", "").await.unwrap());
    assert!(begin(&world, "b", "k").await, "a node without the layer builds its own");
    assert_eq!(store.build("k").await.unwrap().unwrap().node, "b");
}

pub(crate) async fn an_overtaken_builder_changes_nothing(world: World) {
    let store = &world.store;
    assert!(begin(&world, "a", "k").await);
    let late = take(&world, &brief_claim("a")).await;
    assert!(begin(&world, "b", "k").await, "its lease has run out");
    let new = take(&world, &claim("b")).await;
    assert!(!store.continue_build(&late, 60_000, "pip", "line").await.unwrap());
    assert!(!store.end_build(&late, &end(&world, None)).await.unwrap());
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!((build.state, build.node.as_str(), build.step.as_str()), (BuildState::Building, "b", ""));
    store.release_node("b").await.unwrap();
    assert_eq!(store.job("build", "k").await.unwrap().unwrap().state, JobState::Waiting);
    assert!(!store.end_build(&new, &end(&world, None)).await.unwrap());
}

pub(crate) async fn a_failed_build_keeps_its_last_lines_until_it_is_begun_anew(world: World) {
    let store = &world.store;
    begin(&world, "a", "k").await;
    let held = take(&world, &claim("a")).await;
    store.end_build(&held, &end(&world, Some("no such package"))).await.unwrap();
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!(build.state, BuildState::Failed);
    assert_eq!((build.error.as_deref(), build.log.as_str()), (Some("no such package"), "one\ntwo"));
    assert!(begin(&world, "a", "k").await);
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!((build.error, build.log.as_str(), build.finished_at), (None, "", None));
}

pub(crate) async fn builds_that_nobody_wants_are_found_and_forgotten(world: World) {
    let (store, now) = (&world.store, world.clock.now());
    for key in ["old", "used"] {
        begin(&world, "a", key).await;
        let held = take(&world, &claim("a")).await;
        store.end_build(&held, &end(&world, None)).await.unwrap();
    }
    store.use_build("used", now.plus_millis(10)).await.unwrap();
    let unused = store.unused_builds(now.plus_millis(5), 10).await.unwrap();
    assert_eq!(unused.iter().map(|build| build.key.as_str()).collect::<Vec<_>>(), ["old"]);
    store.forget_builds(now.plus_millis(5)).await.unwrap();
    assert_eq!(store.build("old").await.unwrap(), None);
    assert!(store.build("used").await.unwrap().is_some());
}
