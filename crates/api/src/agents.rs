//! Agents: what is created, updated, versioned and answered.
//!
//! An agent is answered as it is stored, byte for byte the same JSON. An update that changes nothing makes no version.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::body;
use crate::body::Field;
use crate::body::Metadata;
use crate::body::MetadataPatch;
use crate::body::Object;
use crate::body::Path;
use crate::errors::Error;
use crate::ids::AgentId;
use crate::limits::DESCRIPTION_CHARS_MAX;
use crate::limits::NAME_CHARS_MAX;
use crate::limits::ROLE_ARN_CHARS_MAX;
use crate::limits::SYSTEM_CHARS_MAX;
use crate::mcp;
use crate::mcp::McpServer;
use crate::model_config::ModelConfig;
use crate::model_config::ModelParams;
use crate::patch::Patch;
use crate::render::json;
use crate::skills;
use crate::skills::Skill;
use crate::time::Timestamp;
use crate::tools;
use crate::tools::Tool;
use crate::unbuilt;

/// An agent, as stored and answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "agent")]
pub struct Agent {
    /// Which agent.
    pub id: AgentId,
    /// Which version of it, from 1.
    pub version: i64,
    /// For people.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The model and how it is asked.
    pub model: ModelConfig,
    /// The system prompt.
    pub system: Option<String>,
    /// Tools that the model may use.
    pub tools: Vec<Tool>,
    /// Servers that offer more tools.
    pub mcp_servers: Vec<McpServer>,
    /// Skills that it can load.
    pub skills: Vec<Skill>,
    /// Other agents that it may call; null while there are none.
    pub multiagent: Option<Value>,
    /// As whom it runs.
    pub execution_identity: ExecutionIdentity,
    /// The client's own notes.
    pub metadata: Metadata,
    /// Creation of the first version.
    pub created_at: Timestamp,
    /// Creation of this version.
    pub updated_at: Timestamp,
    /// Time of archiving.
    pub archived_at: Option<Timestamp>,
}

/// As whom an agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecutionIdentity {
    /// As the server.
    #[default]
    ServiceAccount,
    /// As a role of a cloud account.
    AwsRole {
        /// The role.
        role_arn: String,
    },
}

/// A request to create an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentCreate {
    /// See [`Agent::name`].
    pub name: String,
    /// See [`Agent::description`].
    pub description: Option<String>,
    /// See [`Agent::model`].
    pub model: ModelParams,
    /// See [`Agent::system`].
    pub system: Option<String>,
    /// See [`Agent::tools`].
    pub tools: Vec<Tool>,
    /// See [`Agent::mcp_servers`].
    pub mcp_servers: Vec<McpServer>,
    /// See [`Agent::skills`].
    pub skills: Vec<Skill>,
    /// See [`Agent::execution_identity`].
    pub execution_identity: ExecutionIdentity,
    /// See [`Agent::metadata`].
    pub metadata: Metadata,
}

/// A request to update an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentUpdate {
    /// The version that the client believes to be current; the caller compares it with the stored one.
    pub version: Option<i64>,
    /// See [`Agent::name`].
    pub name: Option<String>,
    /// See [`Agent::description`].
    pub description: Patch<String>,
    /// See [`Agent::model`].
    pub model: Option<ModelParams>,
    /// See [`Agent::system`].
    pub system: Patch<String>,
    /// See [`Agent::tools`].
    pub tools: Patch<Vec<Tool>>,
    /// See [`Agent::mcp_servers`].
    pub mcp_servers: Patch<Vec<McpServer>>,
    /// See [`Agent::skills`].
    pub skills: Patch<Vec<Skill>>,
    /// See [`Agent::execution_identity`].
    pub execution_identity: Patch<ExecutionIdentity>,
    /// See [`Agent::metadata`].
    pub metadata: MetadataPatch,
}

const CREATE_FIELDS: [&str; 10] = [
    "name",
    "description",
    "model",
    "system",
    "tools",
    "mcp_servers",
    "skills",
    "multiagent",
    "execution_identity",
    "metadata",
];

impl AgentCreate {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let fields = body::object(bytes)?;
        let object = Object::root(&fields);
        object.only(&CREATE_FIELDS)?;
        let create = Self {
            name: object.require("name", |name| name.string(1, NAME_CHARS_MAX))?,
            description: object.clearable("description", DESCRIPTION_CHARS_MAX)?.over(None),
            model: object.require("model", ModelParams::parse)?,
            system: object.clearable("system", SYSTEM_CHARS_MAX)?.over(None),
            tools: object.opt_or_default("tools", tools::parse)?,
            mcp_servers: object.opt_or_default("mcp_servers", mcp::parse_servers)?,
            skills: object.opt_or_default("skills", skills::parse)?,
            execution_identity: object.opt_or_default("execution_identity", ExecutionIdentity::parse)?,
            metadata: object.metadata()?,
        };
        check_multiagent(&object)?;
        check_consistency(&Path::ROOT, &create.tools, &create.mcp_servers, &create.skills)?;
        unbuilt::refuse_tools(&Path::ROOT, &create.tools)?;
        unbuilt::refuse_mcp_servers(&Path::ROOT, &create.mcp_servers)?;
        unbuilt::refuse_skills(&Path::ROOT, &create.skills)?;
        unbuilt::refuse_multiagent(&object)?;
        unbuilt::refuse_identity(&create.execution_identity)?;
        Ok(create)
    }
}

impl AgentUpdate {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let fields = body::object(bytes)?;
        let object = Object::root(&fields);
        let mut names = vec!["version"];
        names.extend(CREATE_FIELDS);
        object.only(&names)?;
        let update = Self {
            version: object.opt("version", |version| version.integer(1, i64::MAX))?,
            name: object.uncleared("name", |name| name.string(1, NAME_CHARS_MAX))?,
            description: object.clearable("description", DESCRIPTION_CHARS_MAX)?,
            model: object.uncleared("model", ModelParams::parse)?,
            system: object.clearable("system", SYSTEM_CHARS_MAX)?,
            tools: object.patched("tools", tools::parse)?,
            mcp_servers: object.patched("mcp_servers", mcp::parse_servers)?,
            skills: object.patched("skills", skills::parse)?,
            execution_identity: object.patched("execution_identity", ExecutionIdentity::parse)?,
            metadata: object.opt_or_default("metadata", |field| field.metadata_patch(false))?,
        };
        check_multiagent(&object)?;
        if let Patch::Value(tools) = &update.tools {
            unbuilt::refuse_tools(&Path::ROOT, tools)?;
        }
        if let Patch::Value(servers) = &update.mcp_servers {
            unbuilt::refuse_mcp_servers(&Path::ROOT, servers)?;
        }
        if let Patch::Value(skills) = &update.skills {
            unbuilt::refuse_skills(&Path::ROOT, skills)?;
        }
        if let Patch::Value(identity) = &update.execution_identity {
            unbuilt::refuse_identity(identity)?;
        }
        unbuilt::refuse_multiagent(&object)?;
        Ok(update)
    }
}

impl Agent {
    /// The first version of a new agent.
    pub fn create(create: AgentCreate, id: AgentId, now: Timestamp) -> Self {
        let AgentCreate {
            name,
            description,
            model,
            system,
            tools,
            mcp_servers,
            skills,
            execution_identity,
            metadata,
        } = create;
        Self {
            id,
            version: 1,
            name,
            description,
            model: model.resolve(),
            system,
            tools,
            mcp_servers,
            skills,
            multiagent: None,
            execution_identity,
            metadata,
            created_at: now,
            updated_at: now,
            archived_at: None,
        }
    }

    /// The next version; `None` when the update changes nothing. Whether `update.version` is current is for the caller
    /// to check.
    pub fn update(&self, update: AgentUpdate, now: Timestamp) -> Result<Option<Self>, Error> {
        if self.archived_at.is_some() {
            return Err(Error::invalid(format!("Agent {} is archived and cannot be updated", self.id)));
        }
        let AgentUpdate {
            version: _,
            name,
            description,
            model,
            system,
            tools,
            mcp_servers,
            skills,
            execution_identity,
            metadata,
        } = update;
        let stored = self.clone();
        let mut next = Self {
            name: name.unwrap_or(stored.name),
            description: description.over(stored.description),
            model: match model {
                Some(model) => model.replace(&stored.model),
                None => stored.model,
            },
            system: system.over(stored.system),
            tools: tools.over_or_default(stored.tools),
            mcp_servers: mcp_servers.over_or_default(stored.mcp_servers),
            skills: skills.over_or_default(stored.skills),
            execution_identity: execution_identity.over_or_default(stored.execution_identity),
            metadata: body::merge_metadata(&stored.metadata, &metadata)?,
            ..stored
        };
        check_consistency(&Path::ROOT, &next.tools, &next.mcp_servers, &next.skills)?;
        if next == *self {
            return Ok(None);
        }
        next.version += 1;
        next.updated_at = now;
        Ok(Some(next))
    }

    /// The agent archived; `None` when it already is. The version stays.
    pub fn archive(&self, now: Timestamp) -> Option<Self> {
        match self.archived_at {
            Some(_) => None,
            None => Some(Self { archived_at: Some(now), updated_at: now, ..self.clone() }),
        }
    }

    /// The agent as stored and answered.
    pub fn render(&self) -> String {
        json(self)
    }
}

impl ExecutionIdentity {
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        match field.tagged(&[("service_account", &[]), ("aws_role", &["role_arn"])])? {
            ("service_account", _) => Ok(Self::ServiceAccount),
            (_, object) => Ok(Self::AwsRole {
                role_arn: object.require("role_arn", |arn| arn.string(1, ROLE_ARN_CHARS_MAX))?,
            }),
        }
    }
}

/// Checks what has to hold between the fields of an agent, or of a session's agent. `path` is where they stand.
pub(crate) fn check_consistency(
    path: &Path<'_>,
    tools: &[Tool],
    servers: &[McpServer],
    skills: &[Skill],
) -> Result<(), Error> {
    mcp::check_references(path, servers, tools)?;
    tools::check_skills(path, skills, tools)
}

/// Checks as much of `multiagent` as does not depend on its type.
fn check_multiagent(object: &Object<'_>) -> Result<(), Error> {
    object.opt("multiagent", |field| field.object()?.tag(&["coordinator", "multiagent_20261001"])).map(|_| ())
}
