//! The life of sandboxes: frozen, ended, checkpointed, restored, expired, and no orphan.

use api::ids::SessionId;
use api::time::Clock;
use futures_util::StreamExt;
use harness::Life;
use harness::SandboxState;
use serde_json::Value;
use serde_json::json;
use store::BlobTarget;
use store::Blobs;
use store::SessionRecord;
use tempfile::TempDir;
use testkit::model_server_reply::Reply;

use crate::stage::Setting;
use crate::stage::Stage;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// A stage with a clock that is set by hand, and a blob store.
struct World {
    stage: Stage,
    clock: Clock,
    blobs: Blobs,
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Clock::system().now());
        let blobs = Blobs::open(&BlobTarget::Folder(folder.path().join("blobs"))).await.unwrap();
        let life = Life { blobs: Some(blobs.clone()), ..Life::new("one") };
        let stage = Stage::with(Setting { clock: clock.clone(), life }).await;
        Self { stage, clock, blobs, folder }
    }

    async fn pass(&self, millis: i64) {
        self.clock.advance_millis(millis);
        self.stage.harness.tidy_sandboxes().await;
    }

    async fn blobs(&self) -> Vec<String> {
        self.blobs.list("checkpoints").map(|blob| blob.unwrap().key).collect().await
    }

    async fn state(&self, session: &SessionRecord) -> SandboxState {
        self.stage.harness.sandbox_of(session).await.unwrap().state
    }

    fn done(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.stage.hands.done.lock().unwrap())
    }
}

fn files(stage: &Stage, id: &SessionId) -> Option<Vec<u8>> {
    stage.hands.files.lock().unwrap().get(id).cloned()
}

/// A turn with calls of these names that run at once, and what the model was told of each.
async fn turn(stage: &Stage, session: &SessionRecord, commands: &[&str]) -> Vec<Value> {
    let ends = stage.events(session, "session.status_idle").await.len();
    let before = stage.hands.started().len();
    let reply = commands.iter().fold(Reply::message(), |reply, command| {
        reply.tool_use(&format!("toolu_{command}"), "read", &json!({"command": command}))
    });
    stage.model.push(reply.stop("tool_use"));
    stage.model.push(Reply::saying("done"));
    stage.say(session, "go").await;
    stage.hands.until_started(before + commands.len()).await;
    for command in commands {
        stage.hands.finish(command, command);
    }
    stage.until(session, "session.status_idle", ends + 1).await;
    at_rest(stage).await;
    let mut results = stage.events(session, "agent.tool_result").await;
    results.split_off(results.len() - commands.len())
}

/// Waits until no driver is left: the last entry of a turn is seen a moment before.
async fn at_rest(stage: &Stage) {
    while stage.harness.running() > 0 {
        tokio::task::yield_now().await;
    }
}

fn write(stage: &Stage, session: &SessionRecord, bytes: &[u8]) {
    stage.hands.files.lock().unwrap().insert(session.id.clone(), bytes.to_vec());
}

fn texts(result: &Value) -> Vec<&str> {
    result["content"].as_array().unwrap().iter().map(|block| block["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_idle_sandbox_is_frozen_then_ended_then_only_in_the_blob_store_and_then_back() {
    let world = World::new().await;
    let stage = &world.stage;
    let session = stage.session().await;
    assert_eq!(world.state(&session).await, SandboxState::None);
    turn(stage, &session, &["a"]).await;
    write(stage, &session, b"what was written");
    world.pass(0).await;
    assert_eq!(world.state(&session).await, SandboxState::Running);
    world.pass(MINUTE_MS).await;
    world.pass(MINUTE_MS).await;
    assert_eq!((world.state(&session).await, world.done()), (SandboxState::Frozen, vec!["freeze"]));
    world.pass(30 * MINUTE_MS).await;
    assert_eq!(
        (world.state(&session).await, world.done()),
        (SandboxState::Checkpointed, vec!["rest", "pack"])
    );
    assert_eq!(*stage.hands.alive.lock().unwrap(), []);
    let status = stage.harness.sandbox_of(&session).await.unwrap();
    assert_eq!(status.checkpoint_bytes, Some(16));
    let first = world.blobs().await;
    assert_eq!(first.len(), 1);
    world.pass(DAY_MS - 1000).await;
    assert!(files(stage, &session.id).is_some(), "the files stay for a day");
    world.pass(1000).await;
    assert_eq!(files(stage, &session.id), None);

    let results = turn(stage, &session, &["b", "c"]).await;
    assert_eq!(files(stage, &session.id).unwrap(), b"what was written");
    assert_eq!(world.done(), ["unpack"], "two calls at once make one restore");
    assert_eq!([texts(&results[0]), texts(&results[1])], [["b"], ["c"]]);
    world.pass(31 * MINUTE_MS).await;
    let second = world.blobs().await;
    assert_eq!(second.len(), 1, "the former checkpoint is gone");
    assert_ne!(first, second);
    world.done();
    world.pass(MINUTE_MS).await;
    assert_eq!(world.done(), Vec::<&str>::new(), "nothing changed since");
}

#[tokio::test]
async fn another_node_restores_the_checkpoint_and_the_first_one_lets_its_files_go() {
    let world = World::new().await;
    let one = &world.stage;
    let two = one.another("two").await;
    let session = one.session().await;
    turn(one, &session, &["a"]).await;
    write(one, &session, b"of one");
    world.pass(31 * MINUTE_MS).await;
    turn(&two, &session, &["b"]).await;
    assert_eq!(files(&two, &session.id).unwrap(), b"of one");
    world.pass(0).await;
    assert_eq!(files(one, &session.id), None, "they are the older ones now");
    write(&two, &session, b"of two");
    world.clock.advance_millis(31 * MINUTE_MS);
    two.harness.tidy_sandboxes().await;
    assert_eq!(world.blobs().await.len(), 1);
    turn(one, &session, &["c"]).await;
    assert_eq!(files(one, &session.id).unwrap(), b"of two");
}

#[tokio::test]
async fn a_node_hands_over_files_that_have_no_checkpoint_yet() {
    let world = World::new().await;
    let one = &world.stage;
    one.harness.start();
    let two = one.another("two").await;
    let session = one.session().await;
    turn(one, &session, &["a"]).await;
    write(one, &session, b"just written");
    let results = turn(&two, &session, &["b"]).await;
    assert_eq!(files(&two, &session.id).unwrap(), b"just written");
    assert_eq!(texts(&results[0]), ["b"]);
    assert_eq!(*one.hands.alive.lock().unwrap(), [], "one has none any more");
    // What one knew of the session does not lead it to its old files.
    write(&two, &session, b"written by two");
    two.harness.start();
    turn(one, &session, &["c"]).await;
    assert_eq!(files(one, &session.id).unwrap(), b"written by two");
}

#[tokio::test]
async fn a_call_does_not_wait_for_a_checkpoint_and_the_next_one_is_whole() {
    let world = World::new().await;
    let stage = &world.stage;
    let session = stage.session().await;
    turn(stage, &session, &["a"]).await;
    write(stage, &session, b"a long file");
    stage.hands.is_packing_slow.send_replace(true);
    tokio::join!(world.pass(31 * MINUTE_MS), async {
        while !stage.hands.done.lock().unwrap().contains(&"pack") {
            tokio::task::yield_now().await;
        }
        turn(stage, &session, &["b"]).await;
    });
    assert_eq!(world.blobs().await, Vec::<String>::new());
    assert_eq!(files(stage, &session.id).unwrap(), b"a long file");
    stage.hands.is_packing_slow.send_replace(false);
    world.pass(31 * MINUTE_MS).await;
    assert_eq!(stage.harness.sandbox_of(&session).await.unwrap().checkpoint_bytes, Some(11));
}

#[tokio::test]
async fn a_checkpoint_that_fails_is_tried_again_and_loses_nothing() {
    let world = World::new().await;
    let stage = &world.stage;
    let session = stage.session().await;
    turn(stage, &session, &["a"]).await;
    write(stage, &session, b"kept");
    let (blobs, aside) = (world.folder.path().join("blobs"), world.folder.path().join("aside"));
    std::fs::rename(&blobs, &aside).unwrap();
    std::fs::write(&blobs, "in the way").unwrap();
    world.pass(31 * MINUTE_MS).await;
    assert_eq!(world.state(&session).await, SandboxState::Kept);
    world.pass(DAY_MS * 2).await;
    assert_eq!(files(stage, &session.id).unwrap(), b"kept");
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&aside, &blobs).unwrap();
    world.pass(31 * MINUTE_MS).await;
    assert_eq!(world.state(&session).await, SandboxState::Checkpointed);
}

#[tokio::test]
async fn a_lost_checkpoint_is_told_to_the_model_and_a_damaged_one_is_not_thrown_away() {
    let world = World::new().await;
    let (one, two) = (&world.stage, world.stage.another("two").await);
    let (lost, damaged) = (one.session().await, one.session().await);
    for session in [&lost, &damaged] {
        turn(one, session, &[session.id.as_str()]).await;
        write(one, session, b"files");
    }
    world.pass(31 * MINUTE_MS).await;
    for key in world.blobs().await {
        let path = world.folder.path().join("blobs").join(&key);
        if key.contains(lost.id.as_str()) {
            std::fs::remove_file(path).unwrap();
        } else {
            std::fs::write(path, "fires").unwrap();
        }
    }
    let results = turn(&two, &lost, &["a", "b"]).await;
    let notice = "The sandbox of earlier calls was lost with its files; this is a new one.";
    let mut told: Vec<Vec<&str>> = results.iter().map(texts).collect();
    told.sort_by_key(|texts| std::cmp::Reverse(texts.len()));
    assert_eq!(told[0][0], notice);
    assert_eq!((told[0].len(), told[1].len()), (2, 1), "it is said once");

    two.model.push(Reply::message().tool_use("toolu", "bash", &json!({"command": "c"})).stop("tool_use"));
    two.model.push(Reply::saying("I see"));
    two.say(&damaged, "go").await;
    two.until(&damaged, "session.status_idle", 2).await;
    let results = two.events(&damaged, "agent.tool_result").await;
    assert!(texts(&results[1])[0].contains("is damaged"), "{results:?}");
    assert_eq!((files(&two, &damaged.id), world.blobs().await.len()), (None, 1));
}

#[tokio::test]
async fn files_and_checkpoint_go_after_thirty_days_whether_they_are_used_or_not() {
    let world = World::new().await;
    let stage = &world.stage;
    let (used, unused) = (stage.session().await, stage.session().await);
    for session in [&used, &unused] {
        turn(stage, session, &[session.id.as_str()]).await;
        write(stage, session, b"files");
    }
    world.pass(29 * DAY_MS).await;
    turn(stage, &used, &["a"]).await;
    world.pass(DAY_MS - 1).await;
    assert_eq!(world.blobs().await.len(), 2);
    world.clock.advance_millis(1);
    let results = turn(stage, &used, &["b"]).await;
    assert!(texts(&results[0])[0].contains("is gone with its files"), "{results:?}");
    assert_eq!(files(stage, &used.id).unwrap(), b"");
    world.pass(0).await;
    assert_eq!(files(stage, &unused.id), None);
    assert_eq!(world.blobs().await, Vec::<String>::new());
    assert_eq!(world.state(&unused).await, SandboxState::None);
    assert_eq!(world.state(&used).await, SandboxState::Running);
}

#[tokio::test]
async fn nothing_is_left_of_sessions_that_ended_even_if_their_server_died_meanwhile() {
    let world = World::new().await;
    let stage = &world.stage;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let session = stage.session().await;
        turn(stage, &session, &[session.id.as_str()]).await;
        sessions.push(session);
    }
    world.pass(31 * MINUTE_MS).await;
    turn(stage, &sessions[0], &["again"]).await;
    let [archived, deleted, orphaned, kept] = &sessions[..] else { unreachable!() };
    stage.harness.archive_session(&stage.row(archived).await).await.unwrap();
    stage.harness.delete_session(&stage.row(deleted).await).await.unwrap();
    // As if the server had died right after the row was gone.
    stage.store.delete_session(&stage.workspace, &orphaned.id).await.unwrap();
    stage.hands.alive.lock().unwrap().push(orphaned.id.clone());
    world.pass(61 * MINUTE_MS).await;
    assert_eq!(stage.hands.files.lock().unwrap().keys().collect::<Vec<_>>(), [&kept.id]);
    assert_eq!(*stage.hands.alive.lock().unwrap(), []);
    let blobs = world.blobs().await;
    assert!(blobs.len() == 1 && blobs[0].contains(kept.id.as_str()), "{blobs:?}");
    assert_eq!(stage.store.sandbox(archived.key).await.unwrap(), None);
}

#[tokio::test]
async fn what_a_crash_leaves_between_two_steps_is_found() {
    let world = World::new().await;
    // A server that died before it had noted its first sandbox.
    let unnoted = world.stage.session().await;
    write(&world.stage, &unnoted, b"unnoted");
    // One that died between a blob and its row.
    put(&world, "checkpoints/sesn_nobody/1-0").await;
    world.pass(0).await;
    world.pass(0).await;
    assert_eq!(world.blobs().await.len(), 2, "it may still be noted");
    assert_eq!(world.state(&unnoted).await, SandboxState::Checkpointed);
    world.pass(61 * MINUTE_MS).await;
    let blobs = world.blobs().await;
    assert!(blobs.len() == 1 && blobs[0].contains(unnoted.id.as_str()), "{blobs:?}");
    turn(&world.stage, &unnoted, &["a"]).await;
    assert_eq!(files(&world.stage, &unnoted.id).unwrap(), b"unnoted");
}

async fn put(world: &World, key: &str) {
    world.blobs.put(key).await.unwrap().finish().await.unwrap();
}
