//! Calls that wait for the client.

use api::entry::NewEntry;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::sessions::SessionStatus;
use store::Answer;
use store::Append;
use store::Error;
use store::Fence;
use store::Patch;
use store::SessionRecord;
use store::Waiting;
use store::Wants;

use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::by_holder;

fn call(world: &World, session: &SessionRecord, wants: Wants) -> Waiting {
    Waiting { call: world.ids.make(), thread: session.thread.clone(), wants, is_answered: false }
}

/// A session that is idle and waits for these.
async fn idle(world: &World, wants: &[Wants]) -> (SessionRecord, i64, Vec<Waiting>) {
    let (session, epoch) = world.held_session("node").await;
    let waiting: Vec<Waiting> = wants.iter().map(|wants| call(world, &session, *wants)).collect();
    let mut append = by_holder(&session, epoch, Vec::new());
    append.patch =
        Patch { status: Some(SessionStatus::Idle), waiting: Some(waiting.clone()), ..Patch::default() };
    world.store.append(append).await.unwrap();
    assert_eq!(world.reload(&session).await.waiting, waiting);
    (session, epoch, waiting)
}

fn answering(world: &World, session: &SessionRecord, answers: &[(&EventId, Wants, bool)]) -> Append {
    let entry = |(_, gives, _): &(&EventId, Wants, bool)| NewEntry {
        kind: match gives {
            Wants::Confirmation => EventKind::UserToolConfirmation,
            Wants::Result => EventKind::UserCustomToolResult,
        },
        ..world.message(&session.thread)
    };
    let answer = |(call, gives, is_known): &(&EventId, Wants, bool)| Answer {
        call: (*call).clone(),
        gives: *gives,
        is_known: *is_known,
    };
    let fence = Fence::Client { claim: None, answers: answers.iter().map(answer).collect() };
    Append { fence, ..by_client(session, answers.iter().map(entry).collect()) }
}

pub(crate) async fn answers_of_clients_are_checked_in_the_append(world: World) {
    let (session, _, calls) = idle(&world, &[Wants::Result, Wants::Confirmation]).await;
    let (custom, asking) = (&calls[0].call, &calls[1].call);
    let wrong = answering(&world, &session, &[(custom, Wants::Confirmation, false)]);
    assert!(matches!(world.store.append(wrong).await, Err(Error::NotWaiting { call }) if call == *custom));
    let unknown: EventId = world.ids.make();
    let one_bad = [(asking, Wants::Confirmation, false), (&unknown, Wants::Result, false)];
    let one_bad = answering(&world, &session, &one_bad);
    assert!(matches!(world.store.append(one_bad).await, Err(Error::NotWaiting { call }) if call == unknown));
    assert_eq!(world.reload(&session).await.waiting, calls, "a refused append changes nothing");

    let good = answering(&world, &session, &[(custom, Wants::Result, false)]);
    world.store.append(good.clone()).await.unwrap();
    let again = answering(&world, &session, &[(custom, Wants::Result, false)]);
    world.store.append(again).await.unwrap();
    let gone = answering(&world, &session, &[(&unknown, Wants::Result, true)]);
    world.store.append(gone).await.unwrap();
    let answered: Vec<bool> =
        world.reload(&session).await.waiting.iter().map(|waiting| waiting.is_answered).collect();
    assert_eq!(answered, [true, false]);
}

pub(crate) async fn a_message_is_refused_while_an_idle_session_waits_for_answers(world: World) {
    let (session, _, calls) = idle(&world, &[Wants::Result, Wants::Confirmation]).await;
    let message = || by_client(&session, vec![world.message(&session.thread)]);
    let all: Vec<EventId> = calls.iter().map(|waiting| waiting.call.clone()).collect();
    assert!(matches!(world.store.append(message()).await, Err(Error::Waiting { calls }) if calls == all));
    let answer = answering(&world, &session, &[(&all[0], Wants::Result, false)]);
    world.store.append(answer).await.unwrap();
    assert!(
        matches!(world.store.append(message()).await, Err(Error::Waiting { calls }) if calls == all[1..])
    );
    let interrupt = NewEntry { kind: EventKind::UserInterrupt, ..world.message(&session.thread) };
    let stopped = by_client(&session, vec![interrupt, world.message(&session.thread)]);
    world.store.append(stopped).await.unwrap();
}

pub(crate) async fn an_answer_that_the_holder_has_not_seen_still_counts(world: World) {
    let (session, epoch, calls) = idle(&world, &[Wants::Result]).await;
    let answer = answering(&world, &session, &[(&calls[0].call, Wants::Result, false)]);
    world.store.append(answer).await.unwrap();
    let mut append = by_holder(&session, epoch, Vec::new());
    append.patch.waiting = Some(calls.clone());
    world.store.append(append).await.unwrap();
    assert!(world.reload(&session).await.waiting[0].is_answered);
    world.store.append(by_client(&session, vec![world.message(&session.thread)])).await.unwrap();
}
