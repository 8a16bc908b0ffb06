//! Threads of sessions.

use api::ids::ThreadId;
use api::sessions::SessionStatus;
use store::Patch;
use store::ThreadChange;
use store::ThreadRecord;

use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::by_holder;

fn change(id: &ThreadId, status: SessionStatus, progress: &str) -> ThreadChange {
    ThreadChange { id: id.clone(), agent: None, status, progress: progress.to_owned(), archived_at: None }
}

pub(crate) async fn the_threads_of_a_session_change_in_the_commit_of_the_append(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let primary = ThreadRecord {
        id: session.thread.clone(),
        agent: None,
        status: SessionStatus::Idle,
        progress: "{}".to_owned(),
        created_at: session.created_at,
        updated_at: session.created_at,
        archived_at: None,
    };
    assert_eq!(world.store.threads(session.key).await.unwrap(), std::slice::from_ref(&primary));

    world.clock.advance_millis(1);
    let made_at = world.clock.now();
    let child: ThreadId = world.ids.make();
    let agent = Some(r#"{"name":"helper"}"#.to_owned());
    let threads = vec![
        change(&session.thread, SessionStatus::Running, r#"{"active_ms":1}"#),
        ThreadChange { agent: agent.clone(), ..change(&child, SessionStatus::Running, "{}") },
    ];
    let mut append = by_holder(&session, epoch, Vec::new());
    append.patch = Patch { threads, ..Patch::default() };
    world.store.append(append.clone()).await.unwrap();

    world.clock.advance_millis(1);
    let changed_at = world.clock.now();
    let archived_at = Some(changed_at);
    append.patch.threads =
        vec![ThreadChange { archived_at, ..change(&child, SessionStatus::Terminated, r#"{"active_ms":2}"#) }];
    world.store.append(append.clone()).await.unwrap();
    append.fence = by_holder(&session, epoch + 1, Vec::new()).fence;
    append.patch.threads = vec![change(&session.thread, SessionStatus::Terminated, "{}")];
    world.store.append(append).await.unwrap_err();

    let expected = [
        ThreadRecord {
            status: SessionStatus::Running,
            progress: r#"{"active_ms":1}"#.to_owned(),
            updated_at: made_at,
            ..primary
        },
        ThreadRecord {
            id: child,
            agent,
            status: SessionStatus::Terminated,
            progress: r#"{"active_ms":2}"#.to_owned(),
            created_at: made_at,
            updated_at: changed_at,
            archived_at,
        },
    ];
    assert_eq!(world.store.threads(session.key).await.unwrap(), expected);
}

pub(crate) async fn threads_go_with_their_session(world: World) {
    let session = world.session().await;
    world.store.append(by_client(&session, Vec::new())).await.unwrap();
    world.store.delete_session(&world.workspace, &session.id).await.unwrap();
    assert_eq!(world.store.threads(session.key).await.unwrap(), []);
}
