//! Appending to the log and reading it back.

use std::collections::HashSet;
use std::sync::Arc;

use api::entry::Entry;
use api::entry::NewEntry;
use api::sessions::SessionStatus;
use api::time::Timestamp;
use serde_json::value::RawValue;
use store::Append;
use store::Error;
use store::Fence;
use store::Patch;
use store::SessionRecord;

use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::by_holder;
use crate::fixture::read_log;

/// Everything of an entry, so that whole values can be compared.
fn parts(entry: &Entry) -> String {
    format!("{entry:?}")
}

pub(crate) async fn appended_entries_are_read_byte_for_byte(world: World) {
    let session = world.session().await;
    let public = r#"{"type":"user.message",  "x": 1.0e2, "s":"\u0000\ud83d\ude00 ü","big":123456789012345678901234567890}"#;
    let odd = NewEntry {
        public: Some(RawValue::from_string(public.to_owned()).unwrap().into()),
        ..world.message(&session.thread)
    };
    let entries =
        vec![odd, world.answer(&session.thread), world.processing(&session.thread, &world.ids.make())];
    let appended = world.store.append(by_client(&session, entries.clone())).await.unwrap();
    assert_eq!((appended.first, appended.last), (1, 3));
    let expected: Vec<String> = (1..).zip(entries).map(|(seq, entry)| parts(&entry.at(seq))).collect();
    let read: Vec<String> = read_log(&world.store, &session).await.iter().map(|entry| parts(entry)).collect();
    assert_eq!(read, expected);
    let middle = world.store.entries(session.key, 1, 1).await.unwrap();
    assert_eq!(middle.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2]);
}

pub(crate) async fn an_append_changes_the_row_in_the_same_commit(world: World) {
    let (session, epoch) = world.held_session("node").await;
    world.clock.advance_millis(3);
    let patch = Patch {
        status: Some(SessionStatus::Running),
        progress: Some(r#"{"p":1}"#.to_owned()),
        threads: Vec::new(),
        waiting: None,
        title: Some(None),
        metadata: Some("{}".to_owned()),
        agent: Some(r#"{"new":true}"#.to_owned()),
        archived_at: Some(Timestamp(11)),
        runnable: Some(true),
        release: false,
    };
    let append = Append { patch, ..by_holder(&session, epoch, vec![world.answer(&session.thread)]) };
    world.store.append(append).await.unwrap();
    let expected = SessionRecord {
        status: SessionStatus::Running,
        progress: r#"{"p":1}"#.to_owned(),
        title: None,
        metadata: "{}".to_owned(),
        agent: r#"{"new":true}"#.to_owned(),
        archived_at: Some(Timestamp(11)),
        runnable: true,
        head: 1,
        updated_at: world.clock.now(),
        ..session.clone()
    };
    assert_eq!(world.reload(&session).await, expected);

    let patch = Patch { title: Some(Some("named".to_owned())), ..Patch::default() };
    let appended =
        world.store.append(Append { patch, ..by_holder(&session, epoch, Vec::new()) }).await.unwrap();
    assert_eq!((appended.first, appended.last), (2, 1));
    assert_eq!(world.reload(&session).await, SessionRecord { title: Some("named".to_owned()), ..expected });
}

pub(crate) async fn numbers_have_no_gap_under_32_writers(world: World) {
    const WRITERS: usize = 32;
    const APPENDS: usize = 20;
    let world = Arc::new(world);
    let (session, epoch) = world.held_session("node").await;
    let other_node = world.another_node().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (world, session) = (Arc::clone(&world), session.clone());
        let store = if writer % 2 == 0 { world.store.clone() } else { other_node.clone() };
        tasks.spawn(async move {
            let mut places = Vec::new();
            for _ in 0..APPENDS {
                let entries = vec![world.message(&session.thread), world.answer(&session.thread)];
                let ids: Vec<_> = entries.iter().map(|entry| entry.id.clone()).collect();
                let append = if writer == 0 {
                    by_holder(&session, epoch, entries)
                } else {
                    by_client(&session, entries)
                };
                let appended = store.append(append).await.unwrap();
                assert_eq!(appended.last, appended.first + 1);
                places.extend(ids.into_iter().zip(appended.first..));
            }
            places
        });
    }
    let places = tasks.join_all().await.concat();
    let log = read_log(&world.store, &session).await;
    let numbers: Vec<i64> = log.iter().map(|entry| entry.seq).collect();
    let total = i64::try_from(WRITERS * APPENDS * 2).unwrap();
    assert_eq!(numbers, (1..=total).collect::<Vec<_>>());
    let stored: HashSet<_> = log.iter().map(|entry| (entry.id.clone(), entry.seq)).collect();
    assert_eq!(stored, places.into_iter().collect());
    assert_eq!(world.reload(&session).await.head, total);
}

pub(crate) async fn an_entry_of_a_known_id_is_refused_and_others_are_not_harmed(world: World) {
    let world = Arc::new(world);
    let session = world.session().await;
    let known = world.message(&session.thread);
    world.store.append(by_client(&session, vec![known.clone()])).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (world, session, known) = (Arc::clone(&world), session.clone(), known.clone());
        tasks.spawn(async move {
            let fresh = world.message(&session.thread);
            let is_bad = number % 4 == 0;
            let entries = if is_bad { vec![fresh, known] } else { vec![fresh] };
            match world.store.append(by_client(&session, entries)).await {
                Ok(_) => assert!(!is_bad),
                Err(error) => {
                    assert!(is_bad && matches!(error, Error::Exists { what: "entry", .. }), "{error}");
                }
            }
        });
    }
    tasks.join_all().await;
    let numbers: Vec<i64> = read_log(&world.store, &session).await.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, (1..=16).collect::<Vec<_>>());
}

pub(crate) async fn a_client_cannot_append_to_an_ended_session(world: World) {
    let ends = [
        Patch { status: Some(SessionStatus::Terminated), ..Patch::default() },
        Patch { archived_at: Some(Timestamp(1)), ..Patch::default() },
    ];
    for patch in ends {
        let (session, epoch) = world.held_session("node").await;
        world.store.append(Append { patch, ..by_client(&session, Vec::new()) }).await.unwrap();
        let refused = world.store.append(by_client(&session, vec![world.message(&session.thread)])).await;
        assert!(matches!(refused, Err(Error::SessionEnded { id }) if id == session.id));
        // Whoever holds it may still write down how it ended.
        world.store.append(by_holder(&session, epoch, vec![world.answer(&session.thread)])).await.unwrap();
    }
}

pub(crate) async fn an_append_to_an_unknown_session_is_not_found(world: World) {
    let session = SessionRecord { key: 4711, ..world.session_record() };
    for fence in [Fence::Client { claim: None, answers: Vec::new() }, Fence::Lease { epoch: 1 }] {
        let append = Append { fence, ..by_client(&session, vec![world.message(&session.thread)]) };
        let error = world.store.append(append).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { what: "session", .. }), "{error}");
    }
}

pub(crate) async fn processing_an_event_sets_its_time_once(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let message = world.message(&session.thread);
    world.store.append(by_client(&session, vec![message.clone()])).await.unwrap();
    let first = world.processing(&session.thread, &message.id);
    world.clock.advance_millis(10);
    let second = world.processing(&session.thread, &message.id);
    world.store.append(by_holder(&session, epoch, vec![first.clone()])).await.unwrap();
    world.store.append(by_holder(&session, epoch, vec![second])).await.unwrap();

    // An event that comes with the entry that processes it, and one of another session, which stays as it is.
    let at_once = world.message(&session.thread);
    let processing = world.processing(&session.thread, &at_once.id);
    world.store.append(by_holder(&session, epoch, vec![at_once, processing.clone()])).await.unwrap();
    let other = world.session().await;
    let foreign = world.message(&other.thread);
    world.store.append(by_client(&other, vec![foreign.clone()])).await.unwrap();
    let stray = world.processing(&session.thread, &foreign.id);
    world.store.append(by_holder(&session, epoch, vec![stray])).await.unwrap();

    let log = read_log(&world.store, &session).await;
    assert_eq!(log[0].processed_at, Some(first.created_at));
    assert_eq!(log[3].processed_at, Some(processing.created_at));
    assert_eq!(read_log(&world.store, &other).await[0].processed_at, None);
}

pub(crate) async fn an_append_of_too_many_entries_is_refused(world: World) {
    let session = world.session().await;
    let entries = (0..1001).map(|_| world.message(&session.thread)).collect();
    let refused = world.store.append(by_client(&session, entries)).await;
    assert!(matches!(refused, Err(Error::TooLarge { size: 1001, max: 1000, .. })));
    let entries = (0..1000).map(|_| world.message(&session.thread)).collect();
    assert_eq!(world.store.append(by_client(&session, entries)).await.unwrap().last, 1000);
}
