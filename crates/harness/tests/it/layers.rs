//! How long layers of packages stay.

use harness::BuildProgress;
use harness::Life;
use harness::Surroundings;
use store::NewJob;

use crate::yard::Yard;
use crate::yard::pip;

const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn a_layer_goes_a_month_after_its_last_use_but_never_while_a_session_stands_on_it() {
    let life = Life { keep_ms: 100 * DAY_MS, ..Life::new("one") };
    let yard = Yard::living(Surroundings::default(), life).await;
    let (used, unused) = (pip("a==1"), pip("b==1"));
    let session = yard.session(&used).await;
    yard.events(&session, "session.status_idle", 1).await;
    yard.harness.prepare_environment(unused.clone());
    yard.built(&unused).await;
    let pass = async |days: i64| {
        yard.clock.advance_millis(days * DAY_MS);
        yard.harness.tidy_sandboxes().await;
        yard.works.seen.lock().unwrap().layers.len()
    };
    assert_eq!(pass(29).await, 2);
    assert_eq!(pass(2).await, 1, "nobody wants the other one");
    assert_eq!(pass(39).await, 1, "a session stands on this one");
    assert_eq!(yard.harness.build(&used).await.unwrap().progress, BuildProgress::Ready);
    assert_eq!(pass(31).await, 0, "the session's files are gone, and nobody has wanted it since");
}

#[tokio::test]
async fn a_layer_whose_builder_died_before_it_said_so_is_ready() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    yard.harness.prepare_environment(environment.clone());
    let layer = yard.built(&environment).await.layer.unwrap();
    yard.harness.shutdown().await;
    // As the row is between the layer and the end of its build.
    let job = NewJob {
        kind: "build".to_owned(),
        key: layer,
        workspace: None,
        node: Some("one".to_owned()),
        body: "{}".to_owned(),
        run_at: None,
    };
    assert!(yard.store.begin_build(&job, yard.clock.now()).await.unwrap());
    let Yard { store, works, clock, ids, .. } = yard;
    let next = crate::yard::harness(&store, &works, &clock, &ids, "two", Surroundings::default());
    assert_eq!(next.build(&environment).await.unwrap().progress, BuildProgress::Ready);
}
