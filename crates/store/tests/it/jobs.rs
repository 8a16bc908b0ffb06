//! Jobs: written with their cause, run by one holder at a time, repeated, parked.

use std::sync::Arc;

use store::Append;
use store::Error;
use store::Fence;
use store::Job;
use store::JobState;
use store::NewJob;
use store::Store;

use crate::fixture::World;
use crate::fixture::brief_claim;
use crate::fixture::by_client;
use crate::fixture::by_holder;
use crate::fixture::claim;
use crate::fixture::read_log;

pub(crate) fn job(key: &str) -> NewJob {
    NewJob {
        kind: "test".to_owned(),
        key: key.to_owned(),
        workspace: None,
        node: None,
        body: format!(r#"{{"about":"{key}"}}"#),
        run_at: None,
    }
}

async fn take(store: &Store, node: &str) -> Vec<Job> {
    store.claim_jobs(&[("test", 10)], &claim(node), "home").await.unwrap()
}

/// Takes the job with a lease that has run out as soon as it is held.
async fn take_briefly(store: &Store, node: &str) -> Job {
    store.claim_jobs(&[("test", 10)], &brief_claim(node), "home").await.unwrap().pop().unwrap()
}

fn keys(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.key.as_str()).collect()
}

pub(crate) async fn a_job_is_written_in_the_commit_of_its_cause_or_not_at_all(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let news = world.store.job_news();
    let with_jobs = |append: Append| Append { jobs: vec![job("a"), job("b"), job("a")], ..append };
    let refused = with_jobs(by_holder(&session, epoch + 1, vec![world.answer(&session.thread)]));
    assert!(matches!(world.store.append(refused).await, Err(Error::Fenced { .. })));
    let known = world.answer(&session.thread);
    world.store.append(by_holder(&session, epoch, vec![known.clone()])).await.unwrap();
    let doubled = with_jobs(by_holder(&session, epoch, vec![known]));
    assert!(matches!(world.store.append(doubled).await, Err(Error::Exists { .. })));
    assert_eq!(world.store.jobs(None, 0, 10).await.unwrap(), []);
    assert!(!news.has_changed().unwrap());

    let workspace = Some(world.workspace.clone());
    let owned = NewJob { workspace: workspace.clone(), ..job("c") };
    let append = with_jobs(by_holder(&session, epoch, vec![world.answer(&session.thread)]));
    world.store.append(append).await.unwrap();
    world
        .store
        .append(Append { jobs: vec![owned.clone()], ..by_client(&session, Vec::new()) })
        .await
        .unwrap();
    assert!(news.has_changed().unwrap());
    assert_eq!(read_log(&world.store, &session).await.len(), 2);
    let taken = take(&world.store, "node").await;
    assert_eq!(keys(&taken), ["a", "b", "c"]);
    let Job { id: _, epoch, kind, key: _, workspace: of, body, run_at: _, attempts, late_by_us } = &taken[2];
    assert!((0..60_000_000).contains(late_by_us), "{late_by_us}");
    assert_eq!((*epoch, kind.as_str(), of, body, *attempts), (1, "test", &workspace, &owned.body, 1));
}

pub(crate) async fn too_many_or_too_large_jobs_are_refused(world: World) {
    let session = world.session().await;
    let append = |jobs| Append { jobs, ..by_client(&session, vec![world.message(&session.thread)]) };
    let many = (0..101).map(|number| job(&number.to_string())).collect();
    let large = NewJob { body: "x".repeat((1 << 20) + 1), ..job("large") };
    for refused in [many, vec![large]] {
        assert!(matches!(world.store.append(append(refused)).await, Err(Error::TooLarge { .. })));
    }
    assert_eq!(read_log(&world.store, &session).await.len(), 0);
}

pub(crate) async fn one_job_of_a_name_is_open_at_a_time(world: World) {
    let store = &world.store;
    assert!(store.ensure_job(&job("a")).await.unwrap());
    assert!(!store.ensure_job(&job("a")).await.unwrap());
    let held = take(store, "one").await.pop().unwrap();
    assert!(!store.ensure_job(&NewJob { body: "other".to_owned(), ..job("a") }).await.unwrap());
    assert!(store.finish_job(&held).await.unwrap());
    assert!(store.ensure_job(&job("a")).await.unwrap());
    let next = take(store, "one").await.pop().unwrap();
    assert_ne!(next.id, held.id);
    assert!(!store.finish_job(&held).await.unwrap(), "a late holder ends nothing but its own job");
    assert!(store.finish_job(&next).await.unwrap());
}

pub(crate) async fn every_job_goes_to_one_of_two_nodes(world: World) {
    let other_node = world.another_node().await;
    for number in 0..40 {
        assert!(world.store.ensure_job(&job(&format!("{number:02}"))).await.unwrap());
    }
    let world = Arc::new(world);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = if number % 2 == 0 { world.store.clone() } else { other_node.clone() };
        tasks.spawn(async move {
            store.claim_jobs(&[("test", 3)], &claim(&number.to_string()), "home").await.unwrap()
        });
    }
    let mut taken: Vec<Job> = tasks.join_all().await.into_iter().flatten().collect();
    taken.extend(world.store.claim_jobs(&[("test", 40)], &claim("rest"), "home").await.unwrap());
    taken.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let expected: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
    assert_eq!(keys(&taken), expected);
}

pub(crate) async fn an_overtaken_holder_of_a_job_changes_nothing(world: World) {
    let other_node = world.another_node().await;
    world.store.ensure_job(&job("a")).await.unwrap();
    let late = take_briefly(&world.store, "late").await;
    let new = take(&other_node, "new").await.pop().unwrap();
    assert_eq!((new.id, new.epoch, new.attempts), (late.id, late.epoch + 1, 2));
    assert_eq!(world.store.renew_jobs(&[(late.id, late.epoch)], 60_000).await.unwrap(), [late.id]);
    assert!(!world.store.fail_job(&late, "too late", 0).await.unwrap());
    assert!(!world.store.park_job(&late, "too late").await.unwrap());
    assert!(!world.store.finish_job(&late).await.unwrap());
    let record = world.store.job("test", "a").await.unwrap().unwrap();
    assert_eq!((record.state, record.error), (JobState::Running, None));
    assert_eq!(other_node.renew_jobs(&[(new.id, new.epoch)], 60_000).await.unwrap(), [0_i64; 0]);
    assert!(other_node.finish_job(&new).await.unwrap());
}

pub(crate) async fn a_lease_of_a_job_that_ran_out_but_was_not_taken_still_holds(world: World) {
    world.store.ensure_job(&job("a")).await.unwrap();
    let held = take_briefly(&world.store, "one").await;
    assert_eq!(world.store.renew_jobs(&[(held.id, held.epoch)], 60_000).await.unwrap(), [0_i64; 0]);
    assert_eq!(take(&world.store, "two").await, []);
    assert!(world.store.finish_job(&held).await.unwrap());
}

pub(crate) async fn a_failed_attempt_is_repeated_after_its_pause(world: World) {
    let store = &world.store;
    store.ensure_job(&job("a")).await.unwrap();
    let kinds = ["test"];
    assert!(store.next_job_in(&kinds, "home").await.unwrap().unwrap() <= 0);
    let first = take(store, "node").await.pop().unwrap();
    assert_eq!(store.next_job_in(&kinds, "home").await.unwrap(), None, "somebody runs it");
    assert!(store.fail_job(&first, &"ä".repeat(4000), 3_600_000).await.unwrap());
    assert_eq!(take(store, "node").await, []);
    let wait = store.next_job_in(&kinds, "home").await.unwrap().unwrap();
    assert!((3_500_000_000..=3_600_000_000).contains(&wait), "{wait}");
    let record = store.job("test", "a").await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (JobState::Waiting, 1));
    assert_eq!(record.error, Some("ä".repeat(2048)), "no longer than it may be");
    assert!(!store.ensure_job(&job("a")).await.unwrap(), "it is open");

    store.ensure_job(&job("b")).await.unwrap();
    let held = take(store, "node").await.pop().unwrap();
    store.fail_job(&held, "no answer", 0).await.unwrap();
    let again = take(store, "node").await.pop().unwrap();
    assert_eq!((again.id, again.attempts, again.epoch), (held.id, 2, 2));
}

pub(crate) async fn a_parked_job_is_shown_and_begins_anew_when_it_is_written_again(world: World) {
    let store = &world.store;
    for key in ["a", "b"] {
        store.ensure_job(&job(key)).await.unwrap();
    }
    let poison = take(store, "node").await.swap_remove(0);
    assert!(store.park_job(&poison, "cannot be done").await.unwrap());
    let shown = store.jobs(Some("test"), 0, 10).await.unwrap();
    assert!(matches!(shown[0].state, JobState::Parked(_)), "{:?}", shown[0]);
    assert_eq!((shown[0].error.as_deref(), shown[1].state), (Some("cannot be done"), JobState::Running));
    assert_eq!(store.jobs(Some("test"), shown[0].id, 10).await.unwrap(), shown[1..]);
    assert_eq!(store.jobs(Some("other"), 0, 10).await.unwrap(), []);
    let counts = store.job_counts().await.unwrap();
    let counts: Vec<_> =
        counts.iter().map(|((kind, state), count)| (kind.as_str(), *state, *count)).collect();
    assert_eq!(counts, [("test", "parked", 1), ("test", "running", 1), ("test", "waiting", 0)]);
    assert!(!store.finish_job(&poison).await.unwrap());
    assert_eq!(take(store, "node").await, []);

    assert!(store.ensure_job(&job("a")).await.unwrap());
    let anew = take(store, "node").await.pop().unwrap();
    assert_eq!((anew.id, anew.attempts, anew.epoch), (poison.id, 1, 2));
}

pub(crate) async fn a_job_of_a_node_is_left_to_it_until_another_one_wants_it(world: World) {
    let store = &world.store;
    let of = |home: &str| NewJob { node: Some(home.to_owned()), ..job("a") };
    store.ensure_job(&of("elsewhere")).await.unwrap();
    assert_eq!(take(store, "node").await, []);
    assert_eq!(store.next_job_in(&["test"], "home").await.unwrap(), None);
    assert!(store.ensure_job(&of("home")).await.unwrap());
    let held = take(store, "node").await.pop().unwrap();
    assert!(!store.ensure_job(&of("elsewhere")).await.unwrap(), "it is being run");
    assert!(store.finish_job(&held).await.unwrap());

    store.ensure_job(&of("home")).await.unwrap();
    let late = take_briefly(store, "node").await;
    assert!(store.ensure_job(&of("elsewhere")).await.unwrap(), "its lease has run out");
    assert!(!store.finish_job(&late).await.unwrap());
}

pub(crate) async fn a_job_waits_for_its_time(world: World) {
    let at = world.clock.now().plus_millis(10 * 365 * 86_400_000);
    world.store.ensure_job(&NewJob { run_at: Some(at), ..job("a") }).await.unwrap();
    assert_eq!(take(&world.store, "node").await, []);
    assert_eq!(world.store.job("test", "a").await.unwrap().unwrap().run_at, at);
    let past = world.clock.now().plus_millis(-10 * 365 * 86_400_000);
    world.store.ensure_job(&NewJob { run_at: Some(past), ..job("b") }).await.unwrap();
    world.store.ensure_job(&job("c")).await.unwrap();
    assert_eq!(keys(&take(&world.store, "node").await), ["b", "c"], "the longest due first");
}

pub(crate) async fn a_node_that_stops_gives_its_jobs_back_and_one_that_died_has_used_its_attempts(
    world: World,
) {
    let store = &world.store;
    store.ensure_job(&job("a")).await.unwrap();
    let held = take(store, "node-1/1").await.pop().unwrap();
    store.release_jobs("node-1/1").await.unwrap();
    assert!(!store.finish_job(&held).await.unwrap());
    let held = take(store, "node-1/2").await.pop().unwrap();
    assert_eq!((held.attempts, held.epoch), (1, 2));
    store.release_node("node-1/").await.unwrap();
    assert!(!store.finish_job(&held).await.unwrap());
    assert_eq!(take(store, "node-1/3").await.pop().unwrap().attempts, 2);
}

pub(crate) async fn old_parked_jobs_are_forgotten_and_held_ones_never(world: World) {
    let store = &world.store;
    for key in ["a", "b", "c"] {
        store.ensure_job(&job(key)).await.unwrap();
    }
    let held = take(store, "node").await;
    store.park_job(&held[0], "cannot be done").await.unwrap();
    store.fail_job(&held[1], "not yet", 3_600_000).await.unwrap();
    store.forget_jobs(60_000).await.unwrap();
    assert_eq!(store.jobs(None, 0, 10).await.unwrap().len(), 3);
    store.forget_jobs(0).await.unwrap();
    let left = store.jobs(None, 0, 10).await.unwrap();
    assert_eq!(left.iter().map(|job| job.key.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

/// Many appends with the same jobs in different orders, from two nodes at once: each name is written once.
pub(crate) async fn appends_that_want_the_same_jobs_at_once_do_not_harm_each_other(world: World) {
    let other_node = world.another_node().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let session = world.session().await;
        let store = if number % 2 == 0 { world.store.clone() } else { other_node.clone() };
        let mut jobs: Vec<NewJob> = ["a", "b", "c", "d"].map(job).into();
        jobs.rotate_left(number % 4);
        let entries = vec![world.message(&session.thread)];
        let append = Append {
            jobs,
            fence: Fence::Client { claim: None, answers: Vec::new() },
            ..by_client(&session, entries)
        };
        tasks.spawn(async move { store.append(append).await.unwrap().last });
    }
    assert_eq!(tasks.join_all().await, [1; 16]);
    let mut written: Vec<String> =
        world.store.jobs(None, 0, 100).await.unwrap().into_iter().map(|job| job.key).collect();
    written.sort_unstable();
    assert_eq!(written, ["a", "b", "c", "d"]);
}

/// A worker of one node hears of a job that another node writes, by an append or by itself.
pub(crate) async fn other_nodes_hear_of_a_job(world: World) {
    let other_node = world.another_node().await;
    let mut news = other_node.job_news();
    let session = world.session().await;
    let heard = async {
        world.store.append(Append { jobs: vec![job("a")], ..by_client(&session, Vec::new()) }).await.unwrap();
        news.changed().await.unwrap();
        while !take(&other_node, "other").await.is_empty() {}
        world.store.ensure_job(&job("b")).await.unwrap();
        news.changed().await.unwrap();
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), heard).await.unwrap();
}
