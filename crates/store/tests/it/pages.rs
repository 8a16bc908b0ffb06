//! Listing events in the order in which they were processed.

use std::sync::Arc;

use api::entry::Entry;
use api::event_kinds::EventKind;
use api::ids::EventId;
use store::EventQuery;
use store::Order;
use store::SessionRecord;

use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::by_holder;

async fn list(world: &World, session: &SessionRecord, query: EventQuery) -> Vec<i64> {
    let events = world.store.events(session.key, &query).await.unwrap();
    events.iter().map(|(_, entry)| entry.seq).collect()
}

pub(crate) async fn events_are_listed_in_the_order_of_processing(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let thread = &session.thread;
    let messages = [world.message(thread), world.message(thread), world.message(thread)];
    world.store.append(by_client(&session, messages.to_vec())).await.unwrap();
    let entries = vec![
        world.answer(thread),                      // 4
        world.processing(thread, &messages[1].id), // 5
        world.answer(thread),                      // 6
        world.processing(thread, &messages[0].id), // 7
        world.answer(thread),                      // 8
    ];
    world.store.append(by_holder(&session, epoch, entries)).await.unwrap();
    let up = EventQuery { order: Order::Asc, ..EventQuery::default() };
    assert_eq!(list(&world, &session, up.clone()).await, [4, 2, 6, 1, 8, 3]);
    assert_eq!(
        list(&world, &session, EventQuery { order: Order::Desc, ..up.clone() }).await,
        [3, 8, 1, 6, 2, 4]
    );
    // A position is the entry's own number, or the number of the entry that processed it.
    let events = world.store.events(session.key, &up).await.unwrap();
    assert_eq!(events[..5].iter().map(|(position, _)| *position).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
}

pub(crate) async fn events_are_filtered(world: World) {
    let (session, epoch) = world.held_session("node").await;
    let thread = &session.thread;
    let other_thread = world.ids.make();
    let message = world.message(thread);
    world
        .store
        .append(by_client(&session, vec![message.clone(), world.message(&other_thread)]))
        .await
        .unwrap();
    let mut times = Vec::new();
    for entry in [world.answer(thread), world.processing(thread, &message.id), world.answer(&other_thread)] {
        times.push(world.clock.now());
        let entry = api::entry::NewEntry {
            created_at: world.clock.now(),
            processed_at: Some(world.clock.now()),
            ..entry
        };
        world.store.append(by_holder(&session, epoch, vec![entry])).await.unwrap();
        world.clock.advance_millis(1);
    }
    let all = EventQuery::default();
    assert_eq!(list(&world, &session, all.clone()).await, [3, 1, 5, 2]);
    let thread = Some(thread.clone());
    assert_eq!(list(&world, &session, EventQuery { thread, ..all.clone() }).await, [3, 1]);
    let types = vec![EventKind::UserMessage, EventKind::UserInterrupt];
    assert_eq!(list(&world, &session, EventQuery { types, ..all.clone() }).await, [1, 2]);
    let processed_gt = Some(times[0]);
    assert_eq!(list(&world, &session, EventQuery { processed_gt, ..all.clone() }).await, [1, 5]);
    let (processed_gte, processed_lt) = (Some(times[0]), Some(times[1]));
    assert_eq!(list(&world, &session, EventQuery { processed_gte, processed_lt, ..all.clone() }).await, [3]);
    let processed_lte = Some(times[1]);
    assert_eq!(list(&world, &session, EventQuery { processed_lte, ..all.clone() }).await, [3, 1]);
    assert_eq!(list(&world, &session, EventQuery { limit: 2, ..all }).await, [3, 1]);
}

/// Between any two pages, of any size, an event comes, and one that waited is processed.
pub(crate) async fn no_event_is_missed_or_repeated_while_events_move(world: World) {
    for (order, limit) in
        [(Order::Asc, 1), (Order::Asc, 2), (Order::Asc, 4), (Order::Desc, 1), (Order::Desc, 3)]
    {
        let (session, epoch) = world.held_session("node").await;
        let thread = &session.thread;
        let mut start: Vec<EventId> = Vec::new();
        let mut waiting: Vec<EventId> = Vec::new();
        for _ in 0..3 {
            let (message, answer) = (world.message(thread), world.answer(thread));
            start.extend([message.id.clone(), answer.id.clone()]);
            waiting.push(message.id.clone());
            world.store.append(by_client(&session, vec![message, answer])).await.unwrap();
        }
        let mut listed: Vec<Arc<Entry>> = Vec::new();
        let mut query = EventQuery { order, limit, ..EventQuery::default() };
        for page in 0..40 {
            let events = world.store.events(session.key, &query).await.unwrap();
            let Some((position, _)) = events.last() else { break };
            query.after = Some(*position);
            listed.extend(events.into_iter().map(|(_, entry)| entry));
            let processed = if page % 2 == 0 { waiting.pop() } else { waiting.first().cloned() };
            if let Some(event) = processed {
                waiting.retain(|other| other != &event);
                let processing = world.processing(thread, &event);
                world.store.append(by_holder(&session, epoch, vec![processing])).await.unwrap();
            }
            if page < 8 {
                let (message, answer) = (world.message(thread), world.answer(thread));
                waiting.push(message.id.clone());
                if order == Order::Asc {
                    start.extend([message.id.clone(), answer.id.clone()]);
                }
                world.store.append(by_client(&session, vec![answer, message])).await.unwrap();
            }
        }
        let mut ids: Vec<EventId> = listed.iter().map(|entry| entry.id.clone()).collect();
        ids.sort();
        start.sort();
        assert_eq!(ids, start, "{order:?} by {limit}");
    }
}
