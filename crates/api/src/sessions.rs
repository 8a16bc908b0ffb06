//! Sessions: what is created and updated, the snapshot of the agent that a session keeps, and the answer.
//!
//! The answer holds parts that are stored as JSON text as they are, so that nothing large is built on the way out.

mod parse;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agents;
use crate::agents::Agent;
use crate::agents::ExecutionIdentity;
use crate::body;
use crate::body::Metadata;
use crate::body::MetadataPatch;
use crate::body::Path;
use crate::completion;
use crate::errors::Error;
use crate::event_kinds::EventKind;
use crate::events::ClientEvent;
use crate::ids::AgentId;
use crate::ids::EnvironmentId;
use crate::ids::SessionId;
use crate::mcp::McpServer;
use crate::model_config::ModelConfig;
use crate::model_config::ModelParams;
use crate::patch::Patch;
use crate::render::json;
use crate::render::seconds;
use crate::skills::Skill;
use crate::time::Timestamp;
use crate::tools::Tool;
use crate::usage::SessionUsage;
use crate::usage::Stats;

/// A request to create a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionCreate {
    /// The agent that works in it.
    pub agent: AgentRef,
    /// Where its tools run.
    pub environment_id: EnvironmentId,
    /// For people.
    pub title: Option<String>,
    /// The client's own notes.
    pub metadata: Metadata,
    /// Events that start its work at once.
    pub initial_events: Vec<ClientEvent>,
}

/// The agent that a session is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRef {
    /// Which agent.
    pub id: AgentId,
    /// Which version; `None` for the newest.
    pub version: Option<i64>,
    /// What the session has otherwise than the agent.
    pub overrides: Option<Overrides>,
}

/// What a session has otherwise than its agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// See [`SessionAgent::model`].
    pub model: Option<ModelParams>,
    /// See [`SessionAgent::system`].
    pub system: Patch<String>,
    /// See [`SessionAgent::tools`].
    pub tools: Patch<Vec<Tool>>,
    /// See [`SessionAgent::mcp_servers`].
    pub mcp_servers: Patch<Vec<McpServer>>,
    /// See [`SessionAgent::skills`].
    pub skills: Patch<Vec<Skill>>,
}

/// The agent as a session keeps it, whatever becomes of the agent later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "agent")]
pub struct SessionAgent {
    /// The agent it comes from.
    pub id: AgentId,
    /// The version it comes from.
    pub version: i64,
    /// For people.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The model and how it is asked.
    pub model: ModelConfig,
    /// The system prompt.
    pub system: Option<String>,
    /// What the model may use.
    pub tools: Vec<Tool>,
    /// Servers that offer more tools.
    pub mcp_servers: Vec<McpServer>,
    /// Skills that it can load.
    pub skills: Vec<Skill>,
    /// Other agents that it may call; null while there are none.
    pub multiagent: Option<Value>,
    /// As whom it runs.
    pub execution_identity: ExecutionIdentity,
}

/// A request to update a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionUpdate {
    /// For people.
    pub title: Patch<String>,
    /// The client's own notes.
    pub metadata: MetadataPatch,
    /// New tools.
    pub agent: Option<SessionAgentUpdate>,
}

/// New tools for a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionAgentUpdate {
    /// See [`SessionAgent::tools`].
    pub tools: Patch<Vec<Tool>>,
    /// See [`SessionAgent::mcp_servers`].
    pub mcp_servers: Patch<Vec<McpServer>>,
}

/// What an update changes; a field is `None` where it stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionChanges {
    /// The new title, or that there is none any more.
    pub title: Option<Option<String>>,
    /// All of the metadata afterwards.
    pub metadata: Option<Metadata>,
    /// The whole agent afterwards.
    pub agent: Option<SessionAgent>,
}

/// What the harness keeps of a session's course.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Tokens of all requests so far.
    pub usage: completion::Usage,
    /// Time spent running, without the current run.
    pub active_ms: i64,
    /// When the current run began.
    pub running_since: Option<Timestamp>,
    /// How long the first run took to begin.
    pub startup_ms: Option<i64>,
    /// Whether the session has come to rest once.
    pub has_idled: bool,
    /// Cost of all requests so far at list price; `None` when a price is not known. A cent is a million.
    pub list_cost_microcents: Option<i64>,
}

/// The parts of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Which session.
    pub id: &'a SessionId,
    /// [`SessionAgent`] as JSON.
    pub agent: &'a RawValue,
    /// Where its tools run.
    pub environment_id: &'a EnvironmentId,
    /// What it does now.
    pub status: SessionStatus,
    /// For people.
    pub title: Option<&'a str>,
    /// The client's own notes as JSON.
    pub metadata: &'a RawValue,
    /// Its course so far.
    pub progress: &'a Progress,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
}

/// Status of a session or of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// Waits for input.
    Idle,
    /// Works.
    Running,
    /// Waits to retry after a transient failure.
    Rescheduling,
    /// Has ended for good.
    Terminated,
}

impl SessionStatus {
    /// Every status, in the order in which messages to clients list them.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Running, Self::Rescheduling, Self::Terminated];

    /// The name on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Rescheduling => "rescheduling",
            Self::Terminated => "terminated",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// The status of a session after an event of this kind; `None` when it stays as it is.
    pub fn after(kind: &EventKind) -> Option<Self> {
        [
            (EventKind::SessionStatusRunning, Self::Running),
            (EventKind::SessionStatusIdle, Self::Idle),
            (EventKind::SessionStatusRescheduled, Self::Rescheduling),
            (EventKind::SessionStatusTerminated, Self::Terminated),
        ]
        .into_iter()
        .find_map(|(changing, status)| (changing == *kind).then_some(status))
    }

    /// Whether work is under way, or will be without anything from a client.
    pub fn is_working(self) -> bool {
        match self {
            Self::Running | Self::Rescheduling => true,
            Self::Idle | Self::Terminated => false,
        }
    }
}

impl std::fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SessionAgent {
    /// The agent of a new session: `agent` with what `reference` has otherwise.
    pub fn resolve(agent: &Agent, reference: &AgentRef) -> Result<Self, Error> {
        if agent.archived_at.is_some() {
            let message = format!("agent: Agent {} is archived and cannot be used in new sessions", agent.id);
            return Err(Error::invalid(message));
        }
        let Overrides { model, system, tools, mcp_servers, skills } =
            reference.overrides.clone().unwrap_or_default();
        let resolved = Self {
            id: agent.id.clone(),
            version: agent.version,
            name: agent.name.clone(),
            description: agent.description.clone(),
            model: model.map_or_else(|| agent.model.clone(), ModelParams::resolve_override),
            system: system.over(agent.system.clone()),
            tools: tools.over_or_default(agent.tools.clone()),
            mcp_servers: mcp_servers.over_or_default(agent.mcp_servers.clone()),
            skills: skills.over_or_default(agent.skills.clone()),
            multiagent: agent.multiagent.clone(),
            execution_identity: agent.execution_identity.clone(),
        };
        let path = Path::ROOT.key("agent");
        agents::check_consistency(&path, &resolved.tools, &resolved.mcp_servers, &resolved.skills)?;
        Ok(resolved)
    }

    /// The agent as stored and answered.
    pub fn render(&self) -> String {
        json(self)
    }
}

impl SessionUpdate {
    /// What the update changes of a session that is as given.
    pub fn changes(
        &self,
        title: Option<&str>,
        metadata: &Metadata,
        agent: &SessionAgent,
    ) -> Result<SessionChanges, Error> {
        let new_title = self.title.clone().over(title.map(str::to_owned));
        let new_metadata = body::merge_metadata(metadata, &self.metadata)?;
        let new_agent = match &self.agent {
            Some(update) => update.apply(agent)?,
            None => agent.clone(),
        };
        Ok(SessionChanges {
            title: (new_title.as_deref() != title).then_some(new_title),
            metadata: (new_metadata != *metadata).then_some(new_metadata),
            agent: (new_agent != *agent).then_some(new_agent),
        })
    }
}

impl SessionAgentUpdate {
    fn apply(&self, agent: &SessionAgent) -> Result<SessionAgent, Error> {
        let Self { tools, mcp_servers } = self.clone();
        let next = SessionAgent {
            tools: tools.over_or_default(agent.tools.clone()),
            mcp_servers: mcp_servers.over_or_default(agent.mcp_servers.clone()),
            ..agent.clone()
        };
        agents::check_consistency(&Path::ROOT.key("agent"), &next.tools, &next.mcp_servers, &next.skills)?;
        Ok(next)
    }
}

impl SessionChanges {
    /// Whether the session stays as it is.
    pub fn is_empty(&self) -> bool {
        let Self { title, metadata, agent } = self;
        title.is_none() && metadata.is_none() && agent.is_none()
    }
}

impl Session<'_> {
    /// The answer. `now` is what its clocks show.
    pub fn render(&self, now: Timestamp) -> String {
        #[derive(Serialize)]
        struct Answer<'a> {
            id: &'a SessionId,
            r#type: &'static str,
            agent: &'a RawValue,
            environment_id: &'a EnvironmentId,
            status: SessionStatus,
            title: Option<&'a str>,
            metadata: &'a RawValue,
            resources: [(); 0],
            vault_ids: [(); 0],
            budget: Option<()>,
            deployment_id: Option<()>,
            outcome_evaluations: [(); 0],
            usage: SessionUsage,
            stats: Stats,
            created_at: Timestamp,
            updated_at: Timestamp,
            archived_at: Option<Timestamp>,
        }
        let Self { id, agent, environment_id, status, title, metadata, progress, .. } = *self;
        let Self { created_at, updated_at, archived_at, .. } = *self;
        let end = if status == SessionStatus::Terminated { updated_at } else { now };
        json(&Answer {
            id,
            r#type: "session",
            agent,
            environment_id,
            status,
            title,
            metadata,
            resources: [],
            vault_ids: [],
            budget: None,
            deployment_id: None,
            outcome_evaluations: [],
            usage: SessionUsage::new(progress, now),
            stats: Stats {
                duration_seconds: seconds(end.millis_since(created_at)),
                ..Stats::new(progress, now)
            },
            created_at,
            updated_at,
            archived_at,
        })
    }
}

impl Progress {
    /// Time spent running until `now`.
    pub fn active_ms_at(&self, now: Timestamp) -> i64 {
        self.active_ms + self.running_since.map_or(0, |since| now.millis_since(since))
    }

    /// Whether the session has run or come to rest at all.
    pub fn has_started(&self) -> bool {
        self.has_idled || self.running_since.is_some() || self.startup_ms.is_some() || self.active_ms > 0
    }
}
