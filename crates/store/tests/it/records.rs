//! Keys, agents, environments and sessions as records.

use api::ids::Ids;
use api::query::Range;
use api::sessions::SessionStatus;
use api::time::Clock;
use api::time::Timestamp;
use store::AgentColumns;
use store::AgentRecord;
use store::EnvironmentColumns;
use store::Error;
use store::KeyColumns;
use store::KeyRecord;
use store::ListQuery;
use store::NewSession;
use store::Noun;
use store::Order;
use store::Patch;
use store::Record;
use store::SessionQuery;
use store::SessionRecord;

use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::claim;
use crate::fixture::read_log;

fn agent(world: &World) -> AgentRecord {
    let columns = AgentColumns { version: 1, body: r#"{"name":"one"}"#.to_owned() };
    AgentRecord::new(world.ids.make(), world.workspace.clone(), world.clock.now(), columns)
}

fn key(world: &World) -> KeyRecord {
    let columns = KeyColumns { name: "first".to_owned(), hash: [7; 32] };
    KeyRecord::new(world.ids.make(), world.workspace.clone(), world.clock.now(), columns)
}

/// The record as it is after a change.
fn changed<N: Noun + Clone>(record: &Record<N>) -> Record<N> {
    Record { updated_at: record.next_change(record.created_at), ..record.clone() }
}

/// The duties of the mechanism, for any noun. `other` has the id of another record.
async fn keeps_records<N>(world: &World, first: Record<N>, other: Record<N>)
where
    N: Noun + Clone + PartialEq + std::fmt::Debug,
{
    let (store, workspace) = (&world.store, &world.workspace);
    store.insert(&first).await.unwrap();
    let again = store.insert(&first).await;
    assert!(matches!(&again, Err(Error::Exists { what, .. }) if *what == N::NAME), "{again:?}");
    assert_eq!(store.get(workspace, &first.id).await.unwrap().as_ref(), Some(&first));

    let second = changed(&first);
    store.replace(&second, first.updated_at).await.unwrap();
    let stale = store.replace(&changed(&second), first.updated_at).await.unwrap_err();
    assert!(matches!(stale, Error::Conflict { current, .. } if current == second.updated_at.0), "{stale}");
    let unknown = store.replace(&other, other.updated_at).await;
    assert!(matches!(unknown, Err(Error::NotFound { what, .. }) if what == N::NAME));
    assert_eq!(store.get(workspace, &first.id).await.unwrap().as_ref(), Some(&second));

    let archived = Record { archived_at: Some(Timestamp(9)), ..changed(&second) };
    store.replace(&archived, second.updated_at).await.unwrap();
    let list = async |include_archived| {
        let query = ListQuery { include_archived, ..ListQuery::default() };
        let listed: Vec<Record<N>> = store.list(workspace, &query).await.unwrap();
        listed.into_iter().filter(|record| record.id == first.id).collect::<Vec<_>>()
    };
    assert_eq!(list(false).await, []);
    assert_eq!(list(true).await, std::slice::from_ref(&archived));

    let elsewhere = world.ids.make();
    assert_eq!(store.get::<N>(&elsewhere, &first.id).await.unwrap(), None);
    assert_eq!(store.list::<N>(&elsewhere, &ListQuery::default()).await.unwrap(), []);
    let stolen = Record { workspace: elsewhere.clone(), ..changed(&archived) };
    assert!(matches!(store.replace(&stolen, archived.updated_at).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.delete::<N>(&elsewhere, &first.id).await, Err(Error::NotFound { .. })));

    assert_eq!(store.get(workspace, &first.id).await.unwrap().as_ref(), Some(&archived));
    store.delete::<N>(workspace, &first.id).await.unwrap();
    assert_eq!(store.get::<N>(workspace, &first.id).await.unwrap(), None);
    let gone = store.delete::<N>(workspace, &first.id).await;
    assert!(matches!(gone, Err(Error::NotFound { what, .. }) if what == N::NAME));
}

pub(crate) async fn records_of_every_noun_are_kept_alike(world: World) {
    keeps_records(&world, agent(&world), agent(&world)).await;
    let environment = || world.environment_record(&world.ids.make());
    keeps_records(&world, environment(), environment()).await;
    keeps_records(&world, key(&world), key(&world)).await;
}

pub(crate) async fn an_agent_keeps_all_its_versions(world: World) {
    let (store, workspace) = (&world.store, &world.workspace);
    let first = agent(&world);
    store.insert(&first).await.unwrap();
    let columns = AgentColumns { version: 2, body: r#"{"name":"two \u0000 ü"}"#.to_owned() };
    let second = AgentRecord { columns, ..changed(&first) };
    store.replace(&second, first.updated_at).await.unwrap();
    let archived = AgentRecord { archived_at: Some(Timestamp(7)), ..changed(&second) };
    store.replace(&archived, second.updated_at).await.unwrap();

    let version = async |number| store.get_version(workspace, &first.id, number).await.unwrap();
    assert_eq!(version(1).await.as_ref(), Some(&first));
    assert_eq!(version(2).await.as_ref(), Some(&archived));
    assert_eq!(version(3).await, None);
    let versions = |before, limit| store.list_versions(workspace, &first.id, before, limit);
    assert_eq!(versions(None, 10).await.unwrap(), [archived.clone(), first.clone()]);
    assert_eq!(versions(None, 1).await.unwrap(), [archived]);
    assert_eq!(versions(Some(2), 10).await.unwrap(), std::slice::from_ref(&first));
    let elsewhere = world.ids.make();
    assert_eq!(store.get_version::<AgentColumns>(&elsewhere, &first.id, 1).await.unwrap(), None);
    assert_eq!(store.list_versions::<AgentColumns>(&elsewhere, &first.id, None, 9).await.unwrap(), []);
}

pub(crate) async fn agents_are_paged_in_both_directions(world: World) {
    let mut agents = Vec::new();
    for number in 0..7 {
        // Pairs of the same time, so that the id decides too.
        let created_at = Timestamp(1000 + number / 2);
        let agent = AgentRecord { created_at, ..agent(&world) };
        world.store.insert(&agent).await.unwrap();
        agents.push(agent);
    }
    let page = async |order, after: Option<&AgentRecord>, limit| {
        let after = after.map(|agent| (agent.created_at.0, agent.id.to_string()));
        let query = ListQuery { order, after, limit, ..ListQuery::default() };
        world.store.list::<AgentColumns>(&world.workspace, &query).await.unwrap()
    };
    assert_eq!(page(Order::Asc, None, 3).await, agents[..3]);
    assert_eq!(page(Order::Asc, Some(&agents[2]), 3).await, agents[3..6]);
    assert_eq!(page(Order::Asc, Some(&agents[5]), 3).await, agents[6..]);
    let down: Vec<_> = agents[1..4].iter().rev().cloned().collect();
    assert_eq!(page(Order::Desc, Some(&agents[4]), 3).await, down);

    let query = ListQuery {
        created_at: Range { gt: Some(Timestamp(1000)), lte: Some(Timestamp(1002)), ..Range::default() },
        order: Order::Asc,
        ..ListQuery::default()
    };
    assert_eq!(world.store.list::<AgentColumns>(&world.workspace, &query).await.unwrap(), agents[2..6]);
    let query = ListQuery {
        created_at: Range { gte: Some(Timestamp(1002)), lt: Some(Timestamp(1003)), ..Range::default() },
        order: Order::Asc,
        ..ListQuery::default()
    };
    assert_eq!(world.store.list::<AgentColumns>(&world.workspace, &query).await.unwrap(), agents[4..6]);
}

pub(crate) async fn sessions_of_another_workspace_are_not_found(world: World) {
    let store = &world.store;
    let other = Ids::new(Clock::system()).make();
    let session = world.session().await;
    assert_eq!(store.session(&other, &session.id).await.unwrap(), None);
    assert_eq!(store.list_sessions(&other, &SessionQuery::default()).await.unwrap(), []);
    assert!(matches!(store.delete_session(&other, &session.id).await, Err(Error::NotFound { .. })));
    assert_eq!(world.reload(&session).await, session);
}

pub(crate) async fn an_environment_in_use_is_not_deleted(world: World) {
    let session = world.session().await;
    let delete = || world.store.delete::<EnvironmentColumns>(&world.workspace, &world.environment);
    let error = delete().await.unwrap_err();
    assert!(matches!(error, Error::InUse { what: "environment", sessions: 1, .. }), "{error}");
    world.store.delete_session(&world.workspace, &session.id).await.unwrap();
    delete().await.unwrap();
    assert!(matches!(delete().await, Err(Error::NotFound { what: "environment", .. })));
}

pub(crate) async fn a_key_is_found_by_its_hash_until_and_after_it_is_revoked(world: World) {
    let key = key(&world);
    world.store.insert(&key).await.unwrap();
    let same = KeyRecord { id: world.ids.make(), ..key.clone() };
    assert!(matches!(world.store.insert(&same).await, Err(Error::Exists { what: "key", .. })));
    assert_eq!(world.store.find_key(&[7; 32]).await.unwrap().as_ref(), Some(&key));
    assert_eq!(world.store.find_key(&[8; 32]).await.unwrap(), None);

    world.store.revoke_key(&key.id, Timestamp(5)).await.unwrap();
    world.store.revoke_key(&key.id, Timestamp(6)).await.unwrap();
    let revoked = KeyRecord { archived_at: Some(Timestamp(5)), updated_at: Timestamp(5), ..key };
    assert_eq!(world.store.find_key(&[7; 32]).await.unwrap().as_ref(), Some(&revoked));
    assert_eq!(world.store.list_keys().await.unwrap(), [revoked]);
    let unknown = world.store.revoke_key(&world.ids.make(), Timestamp(5)).await;
    assert!(matches!(unknown, Err(Error::NotFound { what: "key", .. })));
}

pub(crate) async fn a_session_is_read_as_it_was_made(world: World) {
    let record = world.session_record();
    let first = world.message(&record.thread);
    let entries = vec![first.clone(), world.processing(&record.thread, &first.id)];
    let new = NewSession { record: record.clone(), entries, claim: Some(claim("node")) };
    let made = world.store.create_session(new.clone()).await.unwrap();
    let holder = Some("node".to_owned());
    assert_eq!(made, SessionRecord { key: made.key, head: 2, epoch: 1, holder, ..record });
    assert_eq!(world.reload(&made).await, made);
    assert_eq!(world.store.session_by_key(made.key).await.unwrap().as_ref(), Some(&made));
    assert_eq!(world.store.session_by_key(made.key + 1).await.unwrap(), None);

    let log = read_log(&world.store, &made).await;
    assert_eq!(log.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log[0].processed_at, Some(log[1].created_at));
    assert!(matches!(world.store.create_session(new).await, Err(Error::Exists { what: "session", .. })));
}

pub(crate) async fn a_session_needs_its_environment(world: World) {
    let record = SessionRecord { environment_id: world.ids.make(), ..world.session_record() };
    let made = world.store.create_session(NewSession { record, entries: Vec::new(), claim: None }).await;
    assert!(matches!(made, Err(Error::NotFound { what: "environment", .. })));
}

pub(crate) async fn sessions_are_filtered_and_paged_back(world: World) {
    let agent_id: api::ids::AgentId = world.ids.make();
    let mut sessions = Vec::new();
    for number in 0..6_i64 {
        world.clock.advance_millis(1);
        let status = if number % 3 == 0 { SessionStatus::Running } else { SessionStatus::Idle };
        let record = SessionRecord {
            agent_id: agent_id.clone(),
            agent_version: number % 2,
            status,
            ..world.session_record()
        };
        let new = NewSession { record, entries: Vec::new(), claim: None };
        sessions.push(world.store.create_session(new).await.unwrap());
    }
    world.session().await;
    let list = async |query: SessionQuery| world.store.list_sessions(&world.workspace, &query).await.unwrap();
    let base = |order, after: &SessionRecord| ListQuery {
        order,
        after: Some((after.created_at.0, after.id.to_string())),
        limit: 2,
        ..ListQuery::default()
    };
    let of_agent = SessionQuery { agent_id: Some(agent_id.clone()), ..SessionQuery::default() };

    let mut down = sessions.clone();
    down.reverse();
    assert_eq!(list(of_agent.clone()).await, down);
    let next = list(SessionQuery { base: base(Order::Desc, &down[1]), ..of_agent.clone() }).await;
    assert_eq!(next, down[2..4]);
    let mut back = list(SessionQuery { base: base(Order::Asc, &next[0]), ..of_agent.clone() }).await;
    back.reverse();
    assert_eq!(back, down[..2]);

    let odd = list(SessionQuery { agent_version: Some(1), ..of_agent.clone() }).await;
    assert_eq!(odd, [down[0].clone(), down[2].clone(), down[4].clone()]);
    let statuses = vec![SessionStatus::Running, SessionStatus::Terminated];
    assert_eq!(list(SessionQuery { statuses, ..of_agent.clone() }).await, [down[2].clone(), down[5].clone()]);
    let environment_id = Some(world.ids.make());
    assert_eq!(list(SessionQuery { environment_id, ..of_agent.clone() }).await, []);
    assert_eq!(list(SessionQuery { deployment_id: Some("d".to_owned()), ..of_agent }).await, []);
}

pub(crate) async fn a_running_or_held_session_is_not_deleted(world: World) {
    let (held, _) = world.held_session("node").await;
    let delete = |session: &SessionRecord| {
        let id = session.id.clone();
        let (store, workspace) = (world.store.clone(), world.workspace.clone());
        async move { store.delete_session(&workspace, &id).await }
    };
    assert!(matches!(delete(&held).await, Err(Error::Running { .. })));
    world.store.release_node("node").await.unwrap();
    delete(&held).await.unwrap();

    for status in [SessionStatus::Running, SessionStatus::Rescheduling] {
        let session = world.session().await;
        let status = Some(status);
        let mut append = by_client(&session, Vec::new());
        append.patch = Patch { status, ..Patch::default() };
        world.store.append(append).await.unwrap();
        assert!(matches!(delete(&session).await, Err(Error::Running { .. })));
    }
}

pub(crate) async fn a_deleted_session_is_gone_with_its_log(world: World) {
    let session = world.session().await;
    let message = world.message(&session.thread);
    world.store.append(by_client(&session, vec![message.clone()])).await.unwrap();
    world.store.delete_session(&world.workspace, &session.id).await.unwrap();
    assert_eq!(world.store.session(&world.workspace, &session.id).await.unwrap(), None);
    assert_eq!(read_log(&world.store, &session).await.len(), 0);
    let again = world.store.delete_session(&world.workspace, &session.id).await;
    assert!(matches!(again, Err(Error::NotFound { what: "session", .. })));

    // Neither the key nor anything of the log comes back in another session.
    let other = world.session().await;
    assert!(other.key > session.key);
    world.store.append(by_client(&other, vec![message])).await.unwrap();
}
