//! Sandboxes as records.

use api::ids::SessionId;
use api::sessions::SessionStatus;
use store::Append;
use store::Checkpoint;
use store::KnownSession;
use store::Patch;
use store::SandboxRecord;
use store::SessionRecord;

use crate::fixture::START;
use crate::fixture::World;
use crate::fixture::by_client;

const DAY_MS: i64 = 86_400_000;

fn sandbox(session: &SessionRecord, node: &str) -> SandboxRecord {
    SandboxRecord {
        session: session.key,
        node: node.to_owned(),
        root: r#"{"base":"host"}"#.to_owned(),
        created_at: START,
        expires_at: START.plus_millis(30 * DAY_MS),
        is_changed: true,
        wanted_by: None,
        number: 0,
        checkpoint: None,
    }
}

fn checkpoint(key: &str) -> Checkpoint {
    Checkpoint {
        key: key.to_owned(),
        sha256: "ab".repeat(32),
        bytes: 300 << 20,
        made_at: START.plus_millis(7),
    }
}

fn known(session: &SessionRecord, sandbox: Option<SandboxRecord>) -> KnownSession {
    KnownSession { id: session.id.clone(), key: session.key, sandbox }
}

async fn archive(world: &World, session: &SessionRecord) {
    let patch = Patch {
        status: Some(SessionStatus::Terminated),
        archived_at: Some(START.plus_millis(1)),
        ..Patch::default()
    };
    let append = Append { patch, ..by_client(session, Vec::new()) };
    world.store.append(append).await.unwrap();
}

pub(crate) async fn a_sandbox_is_noted_once_and_read_as_it_was_made(world: World) {
    let session = world.session().await;
    let first = sandbox(&session, "one");
    assert_eq!(world.store.sandbox(session.key).await.unwrap(), None);
    assert!(world.store.note_sandbox(&first).await.unwrap());
    assert!(!world.store.note_sandbox(&sandbox(&session, "two")).await.unwrap(), "it is there already");
    assert_eq!(world.store.sandbox(session.key).await.unwrap(), Some(first.clone()));
    let nowhere = SandboxRecord { session: session.key + 1000, ..first };
    assert!(!world.store.note_sandbox(&nowhere).await.unwrap(), "there is no such session");
}

pub(crate) async fn of_two_nodes_only_one_takes_a_sandbox_over(world: World) {
    let session = world.session().await;
    world.store.note_sandbox(&sandbox(&session, "one")).await.unwrap();
    let seen = world.store.sandbox(session.key).await.unwrap().unwrap();
    assert!(world.store.note_checkpoint(&seen, &checkpoint("checkpoints/s/1")).await.unwrap());
    let seen = world.store.sandbox(session.key).await.unwrap().unwrap();
    assert_eq!(
        seen,
        SandboxRecord {
            is_changed: false,
            number: 1,
            checkpoint: Some(checkpoint("checkpoints/s/1")),
            ..sandbox(&session, "one")
        }
    );
    assert!(world.store.take_sandbox(&seen, "two").await.unwrap());
    assert!(!world.store.take_sandbox(&seen, "three").await.unwrap(), "two was faster");
    assert!(!world.store.note_checkpoint(&seen, &checkpoint("checkpoints/s/2")).await.unwrap());
    assert!(!world.store.forget_sandbox(&seen).await.unwrap());
    let taken = world.store.sandbox(session.key).await.unwrap().unwrap();
    assert_eq!(taken, SandboxRecord { node: "two".to_owned(), is_changed: true, ..seen });
    assert!(world.store.forget_sandbox(&taken).await.unwrap());
    assert_eq!(world.store.sandbox(session.key).await.unwrap(), None);
}

pub(crate) async fn a_node_learns_what_others_wait_for_until_it_has_made_a_checkpoint(world: World) {
    let session = world.session().await;
    world.store.note_sandbox(&sandbox(&session, "one")).await.unwrap();
    let seen = world.store.sandbox(session.key).await.unwrap().unwrap();
    assert_eq!(world.store.wanted_sandboxes("one", 10).await.unwrap(), []);
    assert!(world.store.want_sandbox(&seen, "two").await.unwrap());
    let wanted = SandboxRecord { wanted_by: Some("two".to_owned()), ..seen.clone() };
    assert_eq!(world.store.wanted_sandboxes("one", 10).await.unwrap(), [known(&session, Some(wanted))]);
    assert_eq!(world.store.wanted_sandboxes("two", 10).await.unwrap(), []);
    assert!(world.store.note_checkpoint(&seen, &checkpoint("checkpoints/s/1")).await.unwrap());
    assert_eq!(world.store.wanted_sandboxes("one", 10).await.unwrap(), []);
    let seen = world.store.sandbox(session.key).await.unwrap().unwrap();
    assert!(!world.store.want_sandbox(&seen, "two").await.unwrap(), "the checkpoint is the newest there is");
}

pub(crate) async fn changed_sandboxes_are_listed_by_node_and_page(world: World) {
    let mut sessions = Vec::new();
    for node in ["one", "two", "one", "one"] {
        let session = world.session().await;
        world.store.note_sandbox(&sandbox(&session, node)).await.unwrap();
        sessions.push(session);
    }
    let seen = world.store.sandbox(sessions[2].key).await.unwrap().unwrap();
    world.store.note_checkpoint(&seen, &checkpoint("checkpoints/s/1")).await.unwrap();
    let (first, last) = (&sessions[0], &sessions[3]);
    let expected = [known(first, Some(sandbox(first, "one"))), known(last, Some(sandbox(last, "one")))];
    assert_eq!(world.store.changed_sandboxes("one", 0, 10).await.unwrap(), expected);
    assert_eq!(world.store.changed_sandboxes("one", 0, 1).await.unwrap(), expected[..1]);
    assert_eq!(world.store.changed_sandboxes("one", first.key, 10).await.unwrap(), expected[1..]);
}

pub(crate) async fn a_sandbox_expires_on_its_node_first_and_everywhere_later_and_with_its_session(
    world: World,
) {
    let (here, there, archived) = (world.session().await, world.session().await, world.session().await);
    for (session, node) in [(&here, "one"), (&there, "two"), (&archived, "two")] {
        world.store.note_sandbox(&sandbox(session, node)).await.unwrap();
    }
    archive(&world, &archived).await;
    let expired = async |days, days_of_others| {
        let (now, long_ago) = (START.plus_millis(days * DAY_MS), START.plus_millis(days_of_others * DAY_MS));
        let expired = world.store.expired_sandboxes("one", now, long_ago, 10).await.unwrap();
        let mut keys: Vec<i64> = expired.iter().map(|known| known.key).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(expired(29, 28).await, [archived.key]);
    assert_eq!(expired(30, 29).await, [here.key, archived.key]);
    assert_eq!(expired(31, 30).await, [here.key, there.key, archived.key]);
}

pub(crate) async fn sessions_that_are_gone_or_archived_are_not_known(world: World) {
    let mut sessions = Vec::new();
    for _ in 0..300 {
        sessions.push(world.session().await);
    }
    let (archived, deleted) = (sessions.swap_remove(7), sessions.swap_remove(9));
    archive(&world, &archived).await;
    world.store.note_sandbox(&sandbox(&deleted, "one")).await.unwrap();
    world.store.note_sandbox(&sandbox(&sessions[0], "one")).await.unwrap();
    world.store.delete_session(&world.workspace, &deleted.id).await.unwrap();
    assert_eq!(world.store.sandbox(deleted.key).await.unwrap(), None, "it goes with its session");
    let mut ids: Vec<SessionId> = sessions.iter().map(|session| session.id.clone()).collect();
    ids.extend([archived.id, deleted.id, world.ids.make()]);
    let mut found = world.store.sandbox_sessions_known(&ids).await.unwrap();
    found.sort_by_key(|known| known.key);
    sessions.sort_by_key(|session| session.key);
    let expected: Vec<KnownSession> = sessions
        .iter()
        .map(|session| {
            let has_one = session.id == ids[0];
            known(session, has_one.then(|| sandbox(session, "one")))
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(world.store.sandbox_sessions_known(&[]).await.unwrap(), []);
}

pub(crate) async fn blobs_and_layers_that_no_sandbox_names_are_told_apart(world: World) {
    let session = world.session().await;
    world.store.note_sandbox(&sandbox(&session, "one")).await.unwrap();
    let seen = world.store.sandbox(session.key).await.unwrap().unwrap();
    world.store.note_checkpoint(&seen, &checkpoint("checkpoints/s/1")).await.unwrap();
    let keys = ["checkpoints/s/1", "checkpoints/s/2"].map(str::to_owned);
    assert_eq!(world.store.checkpoints_known(&keys).await.unwrap(), keys[..1]);
    assert_eq!(world.store.checkpoints_known(&[]).await.unwrap(), Vec::<String>::new());
    world.store.note_sandbox(&sandbox(&world.session().await, "two")).await.unwrap();
    assert_eq!(world.store.sandbox_roots().await.unwrap(), [r#"{"base":"host"}"#]);
}
