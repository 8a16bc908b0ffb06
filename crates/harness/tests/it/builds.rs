//! Packages of environments: built once, waited for, retried, collected; and what sandboxes may reach.

use std::collections::BTreeMap;

use api::environments::Config;
use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use api::ids::Ids;
use api::time::Clock;
use egress::Policy;
use egress::policy::Access;
use harness::BuildProgress;
use harness::Error;
use harness::Operator;
use harness::Surroundings;
use sandbox::Limits;
use store::JobState;
use store::Store;

use crate::works::Works;
use crate::yard::Yard;
use crate::yard::harness;
use crate::yard::limited;
use crate::yard::pip;

fn hosts(policy: &Policy) -> Vec<String> {
    match &policy.access {
        Access::Limited { hosts } => hosts.iter().map(|rule| rule.pattern.to_string()).collect(),
        Access::Unrestricted => vec!["everything".to_owned()],
    }
}

#[tokio::test]
async fn two_sessions_wait_for_one_build_and_stand_on_its_layer() {
    let yard = Yard::plain().await;
    yard.works.gate.send_replace(false);
    let environment = pip("a==1");
    let first = yard.session(&environment).await;
    let second = yard.session(&environment).await;
    yard.works.until_started(1).await;
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!((build.progress, build.step.as_deref()), (BuildProgress::Building, Some("pip")));
    assert!(yard.works.seen.lock().unwrap().layers.is_empty());
    yard.works.gate.send_replace(true);
    assert_eq!(yard.result(&first).await, ("done".to_owned(), false));
    assert_eq!(yard.result(&second).await, ("done".to_owned(), false));
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!((build.progress, build.error), (BuildProgress::Ready, None));
    let layers = yard.works.seen.lock().unwrap().layers.clone();
    assert_eq!(
        layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        build.layer.into_iter().collect::<Vec<_>>()
    );
    assert_eq!(yard.works.seen.lock().unwrap().steps.len(), 1);
    for session in [&first, &second] {
        assert_eq!(yard.works.root_of(&session.id).layers, layers);
    }
    let third = yard.session(&environment).await;
    yard.result(&third).await;
    assert_eq!(yard.works.seen.lock().unwrap().steps.len(), 1, "it is there already");
}

#[tokio::test]
async fn a_failure_is_shown_to_the_model_and_tried_again_after_a_minute() {
    let yard = Yard::plain().await;
    {
        let mut seen = yard.works.seen.lock().unwrap();
        seen.status = 1;
        seen.log = "looking for a\nno such package: a".to_owned();
    }
    let environment = pip("a==1");
    let (text, is_error) = yard.result(&yard.session(&environment).await).await;
    assert!(is_error);
    for part in
        ["install the packages of this environment", "pip failed with exit status 1", "no such package: a"]
    {
        assert!(text.contains(part), "{text}");
    }
    let build = yard.built(&environment).await;
    assert_eq!(build.progress, BuildProgress::Failed);
    assert_eq!(build.error.as_deref(), Some("pip failed with exit status 1"));
    assert_eq!(build.log, ["looking for a", "no such package: a"]);
    {
        let mut seen = yard.works.seen.lock().unwrap();
        assert_eq!(
            seen.removed.first(),
            seen.made.first().map(|spec| &spec.session),
            "nothing is left of it"
        );
        assert!(seen.layers.is_empty());
        seen.status = 0;
    }
    let (_, is_error) = yard.result(&yard.session(&environment).await).await;
    assert!(is_error, "too soon for another try");
    yard.clock.advance_millis(61_000);
    let (text, is_error) = yard.result(&yard.session(&environment).await).await;
    assert_eq!((text.as_str(), is_error), ("done", false));
}

#[tokio::test]
async fn a_build_begins_with_its_environment_and_again_when_asked_for() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    assert_eq!(yard.harness.build(&environment).await.unwrap().progress, BuildProgress::None);
    yard.works.seen.lock().unwrap().status = 7;
    yard.harness.prepare_environment(environment.clone());
    let progress = yard.harness.build(&environment).await.unwrap().progress;
    assert_eq!(progress, BuildProgress::Building, "from the moment that it is asked for");
    assert_eq!(yard.built(&environment).await.error.as_deref(), Some("pip failed with exit status 7"));
    yard.harness.prepare_environment(environment.clone());
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!(
        (build.progress, build.error),
        (BuildProgress::Building, None),
        "the earlier try is forgotten"
    );
    yard.built(&environment).await;
    yard.works.seen.lock().unwrap().status = 0;
    yard.harness.rebuild(&environment).await.unwrap();
    yard.works.until_started(3).await;
    assert_eq!(yard.built(&environment).await.progress, BuildProgress::Ready);
    let plain = SessionEnvironment::default();
    assert_eq!(yard.harness.rebuild(&plain).await.unwrap().layer, None);
}

#[tokio::test]
async fn another_server_on_the_same_files_finds_the_layer() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    yard.harness.prepare_environment(environment.clone());
    assert_eq!(yard.built(&environment).await.progress, BuildProgress::Ready);
    yard.harness.shutdown().await;
    let Yard { store, works, clock, ids, workspace, .. } = yard;
    let harness = harness(&store, &works, &clock, &ids, "two", Surroundings::default());
    let yard = Yard { harness, store, works, clock, ids, workspace };
    let session = yard.session(&environment).await;
    assert_eq!(yard.result(&session).await, ("done".to_owned(), false));
    assert_eq!(yard.works.seen.lock().unwrap().steps.len(), 1);
}

#[tokio::test]
async fn the_layer_of_a_session_is_built_where_it_is_missing() {
    let yard = Yard::plain().await;
    let environment = pip("a");
    let session = yard.session(&environment).await;
    yard.result(&session).await;
    let layers = yard.works.root_of(&session.id).layers;
    yard.harness.shutdown().await;
    let Yard { store, clock, ids, workspace, .. } = yard;
    // New sessions would stand on another layer by now.
    clock.advance_millis(8 * 86_400_000);
    let works = Works::default();
    let harness = harness(&store, &works, &clock, &ids, "one", Surroundings::default());
    let yard = Yard { harness, store, works, clock, ids, workspace };
    assert_ne!(yard.harness.build(&environment).await.unwrap().layer, Some(layers[0].to_string()));
    yard.say(&session, "go").await;
    let (text, is_error) = yard.result_of(&session, 1).await;
    assert!(!is_error, "{text}");
    assert_eq!(yard.works.root_of(&session.id).layers, layers);
    assert_eq!(yard.works.seen.lock().unwrap().layers, layers);
}

#[tokio::test]
async fn a_build_that_cannot_reach_anything_says_so() {
    let yard = Yard::plain().await;
    yard.works.seen.lock().unwrap().status = 1;
    let mut environment = limited(false, &["a.example"]);
    let Config::Cloud { packages, .. } = &mut environment.config else { panic!("it is another kind") };
    packages.pip = vec!["a==1".to_owned()];
    yard.harness.prepare_environment(environment.clone());
    let error = yard.built(&environment).await.error.unwrap();
    assert!(error.contains("networking does not allow package managers"), "{error}");
}

#[tokio::test]
async fn a_build_that_a_dead_server_left_is_begun_anew() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    let layer = {
        yard.works.gate.send_replace(false);
        yard.harness.prepare_environment(environment.clone());
        yard.works.until_started(1).await;
        yard.harness.build(&environment).await.unwrap().layer
    };
    yard.harness.shutdown().await;
    let Yard { store, works, clock, ids, workspace, .. } = yard;
    store.release_node("one").await.unwrap();
    works.gate.send_replace(true);
    let harness = harness(&store, &works, &clock, &ids, "two", Surroundings::default());
    let yard = Yard { harness, store, works, clock, ids, workspace };
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!((build.progress, &build.layer), (BuildProgress::Failed, &layer), "{:?}", build.error);
    let session = yard.session(&environment).await;
    assert_eq!(yard.result(&session).await, ("done".to_owned(), false));
    assert_eq!(yard.built(&environment).await.layer, layer);
}

#[tokio::test]
async fn a_build_that_a_server_left_is_begun_again_by_the_next_one_on_the_same_data() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    yard.works.gate.send_replace(false);
    yard.harness.prepare_environment(environment.clone());
    yard.works.until_started(1).await;
    let layer = yard.harness.build(&environment).await.unwrap().layer.unwrap();
    yard.harness.shutdown().await;
    let job = yard.store.job("build", &layer).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (JobState::Waiting, 0), "it was given back");
    let Yard { store, works, clock, ids, workspace, .. } = yard;
    works.gate.send_replace(true);
    let harness = harness(&store, &works, &clock, &ids, "one", Surroundings::default());
    let yard = Yard { harness, store, works, clock, ids, workspace };
    assert_eq!(yard.built(&environment).await.progress, BuildProgress::Ready);
    assert_eq!(yard.works.seen.lock().unwrap().layers.len(), 1);
    assert_eq!(yard.store.job("build", &layer).await.unwrap(), None);
}

#[tokio::test]
async fn nodes_that_share_a_database_build_a_layer_one_after_the_other_each_for_itself() {
    let Some(target) = crate::jobs::postgres() else { return };
    let environment = pip("a==1");
    let (clock, ids) = (Clock::system(), Ids::new(Clock::system()));
    let mut nodes = Vec::new();
    for node in ["one", "two"] {
        let store = Store::open(&target, clock.clone()).await.unwrap();
        let works = Works::default();
        works.gate.send_replace(false);
        let harness = harness(&store, &works, &clock, &ids, node, Surroundings::default());
        nodes.push(Yard {
            harness,
            store,
            works,
            clock: clock.clone(),
            ids: ids.clone(),
            workspace: ids.make(),
        });
    }
    let [one, two] = &nodes[..] else { panic!("there are two") };
    one.harness.prepare_environment(environment.clone());
    one.works.until_started(1).await;
    two.harness.prepare_environment(environment.clone());
    assert_eq!(two.harness.build(&environment).await.unwrap().progress, BuildProgress::Building);
    two.works.gate.send_replace(true);
    let job = one.store.jobs(Some("build"), 0, 10).await.unwrap();
    assert_eq!((job.len(), job[0].node.as_deref(), job[0].state), (1, Some("one"), JobState::Running));
    one.works.gate.send_replace(true);
    for yard in [one, two] {
        assert_eq!(yard.built(&environment).await.progress, BuildProgress::Ready);
        let seen = yard.works.seen.lock().unwrap();
        assert_eq!((seen.steps.len(), seen.layers.len()), (1, 1));
    }
    assert_eq!(one.store.jobs(None, 0, 10).await.unwrap(), []);
}

#[tokio::test]
async fn managers_say_where_packages_come_from_and_are_asked_once() {
    let operator = Operator {
        package_hosts: vec!["mirror.example".to_owned().try_into().unwrap()],
        ..Operator::default()
    };
    let yard = Yard::new(Surroundings { operator, ..Surroundings::default() }).await;
    yard.works.seen.lock().unwrap().managers = "https://index.example/simple\nhost files.example".to_owned();
    let environment = limited(true, &["a.example"]);
    let policy = yard.harness.egress(&environment).await.unwrap();
    assert_eq!(hosts(&policy), ["a.example", "index.example", "files.example", "mirror.example"]);
    let session = yard.session(&environment).await;
    yard.result(&session).await;
    let seen = yard.works.seen.lock().unwrap();
    let given = seen.alive[&session.id].network.clone();
    assert_eq!(given.as_deref(), Some(&policy), "what is shown is what is enforced");
    assert_eq!(seen.made.len(), 2, "one sandbox to ask in, one for the session");
    assert_eq!(seen.made[0].network, None);
    assert!(seen.removed.contains(&seen.made[0].session));
}

#[tokio::test]
async fn nobody_is_asked_where_packages_come_from_when_it_does_not_matter() {
    let yard = Yard::plain().await;
    assert_eq!(hosts(&yard.harness.egress(&limited(false, &["a.example"])).await.unwrap()), ["a.example"]);
    assert_eq!(hosts(&yard.harness.egress(&SessionEnvironment::default()).await.unwrap()), ["everything"]);
    assert!(yard.works.seen.lock().unwrap().made.is_empty());
}

#[tokio::test]
async fn a_build_reaches_only_where_packages_come_from() {
    let yard = Yard::plain().await;
    yard.works.seen.lock().unwrap().managers = "https://index.example/simple".to_owned();
    let mut environment = limited(true, &["a.example"]);
    environment.sandbox.setup = Some("true".to_owned());
    environment.sandbox.variables.insert("MODE".to_owned(), "test".to_owned());
    yard.harness.prepare_environment(environment.clone());
    yard.built(&environment).await;
    let seen = yard.works.seen.lock().unwrap();
    let build = &seen.made[1];
    assert_eq!(hosts(build.network.as_ref().unwrap()), ["index.example"]);
    assert_eq!(build.variables, environment.sandbox.variables);
}

#[tokio::test]
async fn a_resource_class_bounds_the_sandbox_and_an_unknown_one_is_refused() {
    let large = Limits { memory_bytes_max: 1 << 40, ..Limits::default() };
    let classes = BTreeMap::from([("large".to_owned(), large)]);
    let yard = Yard::new(Surroundings { classes, ..Surroundings::default() }).await;
    let with = |resources: &str| SandboxSettings {
        resources: Some(resources.to_owned()),
        ..SandboxSettings::default()
    };
    yard.harness.check_settings(&with("large")).unwrap();
    let refused = yard.harness.check_settings(&with("huge")).unwrap_err();
    assert!(
        matches!(&refused, Error::Invalid(error) if error.message.starts_with("resources: ")),
        "{refused}"
    );
    let environment = SessionEnvironment { sandbox: with("large"), ..SessionEnvironment::default() };
    let session = yard.session(&environment).await;
    yard.result(&session).await;
    assert_eq!(yard.works.seen.lock().unwrap().alive[&session.id].limits, large);
}
