//! Keys, agents, environments and sessions as records.

use api::ids::Ids;
use api::sessions::SessionStatus;
use api::time::Clock;
use api::time::Timestamp;
use store::AgentRecord;
use store::Error;
use store::KeyRecord;
use store::ListQuery;
use store::NewSession;
use store::Order;
use store::Patch;
use store::SessionQuery;
use store::SessionRecord;

use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::claim;
use crate::fixture::read_log;

fn agent(world: &World) -> AgentRecord {
    let now = world.clock.now();
    AgentRecord {
        id: world.ids.make(),
        workspace: world.workspace.clone(),
        version: 1,
        created_at: now,
        updated_at: now,
        archived_at: None,
        body: r#"{"name":"one"}"#.to_owned(),
    }
}

pub(crate) async fn an_agent_keeps_all_its_versions(world: World) {
    let (store, workspace) = (&world.store, &world.workspace);
    let first = agent(&world);
    store.insert_agent(&first).await.unwrap();
    assert!(matches!(store.insert_agent(&first).await, Err(Error::Exists { what: "agent", .. })));
    let second = AgentRecord {
        version: 2,
        updated_at: first.updated_at.plus_millis(5),
        body: r#"{"name":"two \u0000 ü"}"#.to_owned(),
        ..first.clone()
    };
    store.replace_agent(&second, 1).await.unwrap();
    let archived = AgentRecord { archived_at: Some(Timestamp(7)), ..second.clone() };
    store.replace_agent(&archived, 2).await.unwrap();

    assert_eq!(store.agent(workspace, &first.id).await.unwrap().as_ref(), Some(&archived));
    assert_eq!(store.agent_version(workspace, &first.id, 1).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.agent_version(workspace, &first.id, 3).await.unwrap(), None);
    let versions = |before, limit| store.list_agent_versions(workspace, &first.id, before, limit);
    assert_eq!(versions(None, 10).await.unwrap(), [archived.clone(), first.clone()]);
    assert_eq!(versions(None, 1).await.unwrap(), [archived]);
    assert_eq!(versions(Some(2), 10).await.unwrap(), std::slice::from_ref(&first));
}

pub(crate) async fn a_stale_version_of_an_agent_is_refused(world: World) {
    let first = agent(&world);
    world.store.insert_agent(&first).await.unwrap();
    let second = AgentRecord { version: 2, ..first.clone() };
    world.store.replace_agent(&second, 1).await.unwrap();
    let error = world.store.replace_agent(&AgentRecord { version: 2, ..first.clone() }, 1).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { what: "agent", current: 2, .. }), "{error}");
    let unknown = AgentRecord { id: world.ids.make(), ..first };
    assert!(matches!(
        world.store.replace_agent(&unknown, 1).await,
        Err(Error::NotFound { what: "agent", .. })
    ));
}

pub(crate) async fn an_archived_agent_is_listed_only_when_asked_for(world: World) {
    let live = agent(&world);
    let archived = AgentRecord { archived_at: Some(Timestamp(9)), ..agent(&world) };
    world.store.insert_agent(&live).await.unwrap();
    world.store.insert_agent(&archived).await.unwrap();
    let list = async |include_archived| {
        let query = ListQuery { include_archived, order: Order::Asc, ..ListQuery::default() };
        world.store.list_agents(&world.workspace, &query).await.unwrap()
    };
    assert_eq!(list(false).await, std::slice::from_ref(&live));
    assert_eq!(list(true).await, [live, archived]);
}

pub(crate) async fn agents_are_paged_in_both_directions(world: World) {
    let mut agents = Vec::new();
    for number in 0..7 {
        // Pairs of the same time, so that the id decides too.
        let created_at = Timestamp(1000 + number / 2);
        let agent = AgentRecord { created_at, ..agent(&world) };
        world.store.insert_agent(&agent).await.unwrap();
        agents.push(agent);
    }
    let page = async |order, after: Option<&AgentRecord>, limit| {
        let after = after.map(|agent| (agent.created_at.0, agent.id.to_string()));
        let query = ListQuery { order, after, limit, ..ListQuery::default() };
        world.store.list_agents(&world.workspace, &query).await.unwrap()
    };
    assert_eq!(page(Order::Asc, None, 3).await, agents[..3]);
    assert_eq!(page(Order::Asc, Some(&agents[2]), 3).await, agents[3..6]);
    assert_eq!(page(Order::Asc, Some(&agents[5]), 3).await, agents[6..]);
    let down: Vec<_> = agents[1..4].iter().rev().cloned().collect();
    assert_eq!(page(Order::Desc, Some(&agents[4]), 3).await, down);

    let query = ListQuery {
        created_gt: Some(Timestamp(1000)),
        created_lte: Some(Timestamp(1002)),
        order: Order::Asc,
        ..ListQuery::default()
    };
    assert_eq!(world.store.list_agents(&world.workspace, &query).await.unwrap(), agents[2..6]);
    let query = ListQuery {
        created_gte: Some(Timestamp(1002)),
        created_lt: Some(Timestamp(1003)),
        order: Order::Asc,
        ..ListQuery::default()
    };
    assert_eq!(world.store.list_agents(&world.workspace, &query).await.unwrap(), agents[4..6]);
}

pub(crate) async fn objects_of_another_workspace_are_not_found(world: World) {
    let store = &world.store;
    let other = Ids::new(Clock::system()).make();
    let agent = agent(&world);
    store.insert_agent(&agent).await.unwrap();
    let session = world.session().await;

    assert_eq!(store.agent(&other, &agent.id).await.unwrap(), None);
    assert_eq!(store.agent_version(&other, &agent.id, 1).await.unwrap(), None);
    assert_eq!(store.list_agent_versions(&other, &agent.id, None, 9).await.unwrap(), []);
    assert_eq!(store.list_agents(&other, &ListQuery::default()).await.unwrap(), []);
    let stolen = AgentRecord { workspace: other.clone(), version: 2, ..agent.clone() };
    assert!(matches!(store.replace_agent(&stolen, 1).await, Err(Error::NotFound { .. })));
    assert_eq!(store.agent(&world.workspace, &agent.id).await.unwrap(), Some(agent));

    assert_eq!(store.environment(&other, &world.environment).await.unwrap(), None);
    assert_eq!(store.environment_named(&other, "plain").await.unwrap(), None);
    assert_eq!(store.list_environments(&other, &ListQuery::default()).await.unwrap(), []);
    let deleted = store.delete_environment(&other, &world.environment).await;
    assert!(matches!(deleted, Err(Error::NotFound { .. })));

    assert_eq!(store.session(&other, &session.id).await.unwrap(), None);
    assert_eq!(store.list_sessions(&other, &SessionQuery::default()).await.unwrap(), []);
    assert!(matches!(store.delete_session(&other, &session.id).await, Err(Error::NotFound { .. })));
    assert_eq!(world.reload(&session).await, session);
}

pub(crate) async fn an_environment_changed_by_somebody_else_is_not_overwritten(world: World) {
    let (store, read) = (&world.store, world.environment_record(&world.environment));
    let changed = store::EnvironmentRecord {
        name: "changed".to_owned(),
        updated_at: read.updated_at.plus_millis(1),
        sandbox: Some(r#"{"setup":"x"}"#.to_owned()),
        ..read.clone()
    };
    store.replace_environment(&changed, read.updated_at).await.unwrap();
    let error = store.replace_environment(&read, read.updated_at).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { current, .. } if *current == changed.updated_at.0), "{error}");
    assert_eq!(store.environment_named(&world.workspace, "changed").await.unwrap().as_ref(), Some(&changed));
    assert_eq!(store.list_environments(&world.workspace, &ListQuery::default()).await.unwrap(), [changed]);
}

pub(crate) async fn an_environment_in_use_is_not_deleted(world: World) {
    let session = world.session().await;
    let delete = || world.store.delete_environment(&world.workspace, &world.environment);
    let error = delete().await.unwrap_err();
    assert!(matches!(error, Error::InUse { what: "environment", sessions: 1, .. }), "{error}");
    world.store.delete_session(&world.workspace, &session.id).await.unwrap();
    delete().await.unwrap();
    assert!(matches!(delete().await, Err(Error::NotFound { what: "environment", .. })));
}

pub(crate) async fn a_key_is_found_by_its_hash_until_and_after_it_is_revoked(world: World) {
    let key = KeyRecord {
        id: world.ids.make(),
        workspace: world.workspace.clone(),
        name: "first".to_owned(),
        hash: [7; 32],
        created_at: world.clock.now(),
        revoked_at: None,
    };
    world.store.insert_key(&key).await.unwrap();
    let same = KeyRecord { id: world.ids.make(), ..key.clone() };
    assert!(matches!(world.store.insert_key(&same).await, Err(Error::Exists { what: "key", .. })));
    assert_eq!(world.store.find_key(&[7; 32]).await.unwrap().as_ref(), Some(&key));
    assert_eq!(world.store.find_key(&[8; 32]).await.unwrap(), None);

    world.store.revoke_key(&key.id, Timestamp(5)).await.unwrap();
    world.store.revoke_key(&key.id, Timestamp(6)).await.unwrap();
    let revoked = KeyRecord { revoked_at: Some(Timestamp(5)), ..key };
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
