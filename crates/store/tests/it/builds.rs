//! Builds as records: who builds, how far, and how it ended.

use store::BuildEnd;
use store::BuildState;

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

pub(crate) async fn only_one_node_builds_at_a_time(world: World) {
    let (store, now) = (&world.store, world.clock.now());
    assert_eq!(store.build("k").await.unwrap(), None);
    assert!(!store.is_building("k").await.unwrap());
    assert!(store.begin_build("k", &claim("a"), now).await.unwrap());
    assert!(store.is_building("k").await.unwrap());
    assert!(!store.begin_build("k", &claim("b"), now).await.unwrap());
    assert!(store.continue_build("k", &claim("a"), "pip", "line").await.unwrap());
    assert!(!store.continue_build("k", &claim("b"), "pip", "line").await.unwrap());
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!((build.state, build.step.as_str(), build.log.as_str()), (BuildState::Building, "pip", "line"));
    assert!(!store.end_build("k", "b", &end(&world, None)).await.unwrap());
    assert!(store.end_build("k", "a", &end(&world, None)).await.unwrap());
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!((build.state, build.bytes, build.finished_at), (BuildState::Ready, Some(5), Some(now)));
    assert!(!store.continue_build("k", &claim("a"), "pip", "").await.unwrap());
    assert!(
        store.begin_build("k", &claim("b"), now).await.unwrap(),
        "a node without the layer builds its own"
    );
}

pub(crate) async fn a_build_whose_lease_ran_out_is_begun_anew(world: World) {
    let (store, now) = (&world.store, world.clock.now());
    assert!(store.begin_build("k", &brief_claim("a"), now).await.unwrap());
    assert!(!store.is_building("k").await.unwrap());
    assert!(store.begin_build("k", &claim("b"), now).await.unwrap());
    assert!(!store.end_build("k", "a", &end(&world, None)).await.unwrap());
    store.release_node("b").await.unwrap();
    assert!(store.begin_build("k", &claim("c"), now).await.unwrap());
    assert_eq!(store.build("k").await.unwrap().unwrap().node, "c");
}

pub(crate) async fn a_failed_build_keeps_its_last_lines_until_it_is_begun_anew(world: World) {
    let (store, now) = (&world.store, world.clock.now());
    store.begin_build("k", &claim("a"), now).await.unwrap();
    store.end_build("k", "a", &end(&world, Some("no such package"))).await.unwrap();
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!(build.state, BuildState::Failed);
    assert_eq!((build.error.as_deref(), build.log.as_str()), (Some("no such package"), "one\ntwo"));
    assert!(store.begin_build("k", &claim("a"), now).await.unwrap());
    let build = store.build("k").await.unwrap().unwrap();
    assert_eq!((build.error, build.log.as_str(), build.finished_at), (None, "", None));
}

pub(crate) async fn builds_that_nobody_wants_are_found_and_forgotten(world: World) {
    let (store, now) = (&world.store, world.clock.now());
    for key in ["old", "used"] {
        store.begin_build(key, &claim("a"), now).await.unwrap();
        store.end_build(key, "a", &end(&world, None)).await.unwrap();
    }
    store.use_build("used", now.plus_millis(10)).await.unwrap();
    let unused = store.unused_builds(now.plus_millis(5), 10).await.unwrap();
    assert_eq!(unused.iter().map(|build| build.key.as_str()).collect::<Vec<_>>(), ["old"]);
    store.forget_builds(now.plus_millis(5)).await.unwrap();
    assert_eq!(store.build("old").await.unwrap(), None);
    assert!(store.build("used").await.unwrap().is_some());
}
