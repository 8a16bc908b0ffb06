//! Rules of a new session: which agent and environment it may have, and what it keeps of them.

use std::sync::Arc;

use api::agents::Agent;
use api::body::Metadata;
use api::body::excerpt;
use api::entry::NewEntry;
use api::entry::raw;
use api::environments::Environment;
use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use api::environments::check_mcp_servers;
use api::events::ClientEvent;
use api::ids::AgentId;
use api::ids::EnvironmentId;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::ids::WorkspaceId;
use api::mcp::McpServer;
use api::model_config::ModelConfig;
use api::sessions::Progress;
use api::sessions::SessionAgent;
use api::sessions::SessionCreate;
use api::sessions::SessionStatus;
use store::AgentColumns;
use store::AgentRecord;
use store::EnvironmentColumns;
use store::EnvironmentRecord;
use store::Lease;
use store::NewSession;
use store::Noun;
use store::SessionRecord;

use super::agent_snapshot;
use super::created;
use crate::Error;
use crate::Harness;
use crate::environments::Extra;
use crate::error::stored;
use crate::send;
use crate::shell;

/// A session that is allowed.
struct Checked {
    agent: SessionAgent,
    environment_id: EnvironmentId,
    environment: SessionEnvironment,
    title: Option<String>,
    metadata: Metadata,
    initial_events: Vec<ClientEvent>,
}

impl Harness {
    /// Makes a session, durable before this returns, and sets it to work when it has initial events.
    pub async fn create_session(
        &self,
        workspace: WorkspaceId,
        create: SessionCreate,
    ) -> Result<SessionRecord, Error> {
        let checked = self.check(&workspace, create).await?;
        self.make_session(workspace, checked).await
    }

    /// The agent, or how it was at a version.
    pub async fn find_agent(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        version: Option<i64>,
    ) -> Result<AgentRecord, Error> {
        let store = &self.0.parts.store;
        match version {
            None => store.get(workspace, id).await?.ok_or_else(|| Error::not_found(AgentColumns::NAME, id)),
            Some(version) => store
                .get_version(workspace, id, version)
                .await?
                .ok_or_else(|| Error::VersionNotFound { id: id.clone(), version }),
        }
    }

    /// Refuses at once what could never run. `field` is where the request names the model.
    pub fn check_model(&self, field: &'static str, model: &ModelConfig) -> Result<(), Error> {
        if self.0.parts.models.serves(&model.id) {
            return Ok(());
        }
        Err(Error::ModelNotServed { field, model: excerpt(&model.id) })
    }

    async fn check(&self, workspace: &WorkspaceId, create: SessionCreate) -> Result<Checked, Error> {
        let SessionCreate { agent, environment_id, title, metadata, initial_events } = create;
        let (record, environment) = tokio::join!(
            self.find_agent(workspace, &agent.id, agent.version),
            self.0.parts.store.get::<EnvironmentColumns>(workspace, &environment_id),
        );
        let record = record?;
        let current: Agent = stored(AgentColumns::NAME, &record.id, &record.columns.body)?;
        let agent = SessionAgent::resolve(&current, &agent)?;
        self.check_model("agent.model", &agent.model)?;
        let Some(environment) = environment? else {
            return Err(Error::not_found(EnvironmentColumns::NAME, &environment_id));
        };
        if environment.archived_at.is_some() {
            return Err(Error::EnvironmentArchived { id: environment_id });
        }
        let environment = snapshot(&environment, &agent.mcp_servers)?;
        check_mcp_servers(&environment.config, &agent.mcp_servers)?;
        Ok(Checked { agent, environment_id, environment, title, metadata, initial_events })
    }

    async fn make_session(&self, workspace: WorkspaceId, checked: Checked) -> Result<SessionRecord, Error> {
        let Checked { agent, environment_id, environment, title, metadata, initial_events } = checked;
        let parts = &self.0.parts;
        let now = parts.clock.now();
        let id: SessionId = parts.ids.make();
        let thread: ThreadId = parts.ids.make();
        let is_born_running = !initial_events.is_empty();
        let snapshot = agent_snapshot(&agent, &environment, parts);
        let mut entries: Vec<NewEntry> = vec![created(&snapshot, &thread, parts.ids.make(), now)];
        entries.extend(initial_events.iter().map(|event| send::entry(event, &thread, &parts.ids, now)));
        let record = SessionRecord {
            key: 0,
            id: id.clone(),
            workspace,
            agent_id: agent.id.clone(),
            agent_version: agent.version,
            environment_id,
            thread,
            status: if is_born_running { SessionStatus::Running } else { SessionStatus::Idle },
            title,
            metadata: raw(&metadata).get().to_owned(),
            agent: agent.render(),
            extra: raw(&Extra { environment }).get().to_owned(),
            progress: raw(&Progress::default()).get().to_owned(),
            created_at: now,
            updated_at: now,
            archived_at: None,
            head: 0,
            epoch: 0,
            holder: None,
            runnable: is_born_running,
            waiting: Vec::new(),
        };
        let claim = is_born_running.then(|| self.0.claim());
        let new = NewSession { record, entries, claim };
        let inner = Arc::clone(&self.0);
        let made = self.0.see_through("make a session", async move {
            let record = inner.parts.store.create_session(new).await?;
            if let Some(node) = record.holder.clone() {
                shell::wake(&inner, record.key, Some(Lease { node, epoch: record.epoch }));
            }
            Ok(record)
        });
        made.await.map_err(|source| Error::of_session("make", &id, source))
    }
}

/// The part of an environment that a new session keeps, whose agent declares these MCP servers.
pub fn snapshot(record: &EnvironmentRecord, servers: &[McpServer]) -> Result<SessionEnvironment, Error> {
    let environment: Environment = stored(EnvironmentColumns::NAME, &record.id, &record.columns.body)?;
    Ok(SessionEnvironment::of(&environment, sandbox_settings(record)?, servers))
}

/// Settings of an environment's sandboxes beyond the fields of the API.
pub fn sandbox_settings(record: &EnvironmentRecord) -> Result<SandboxSettings, Error> {
    match &record.columns.sandbox {
        Some(text) => stored(EnvironmentColumns::NAME, &record.id, text),
        None => Ok(SandboxSettings::default()),
    }
}
