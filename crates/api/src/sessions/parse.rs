//! Requests that create and update sessions, read field by field.

use crate::body;
use crate::body::Field;
use crate::body::Object;
use crate::body::Path;
use crate::errors::Error;
use crate::events;
use crate::ids::AgentId;
use crate::ids::EnvironmentId;
use crate::limits::SYSTEM_CHARS_MAX;
use crate::limits::TITLE_CHARS_MAX;
use crate::limits::VAULTS_MAX;
use crate::mcp;
use crate::model_config::ModelParams;
use crate::patch::Patch;
use crate::resources;
use crate::sessions::AgentRef;
use crate::sessions::Overrides;
use crate::sessions::SessionAgentUpdate;
use crate::sessions::SessionCreate;
use crate::sessions::SessionUpdate;
use crate::skills;
use crate::tools;
use crate::unbuilt;

impl SessionCreate {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = body::object(bytes)?;
        let initial_events = fields.shift_remove("initial_events").unwrap_or_default();
        let object = Object::root(&fields);
        let agent = if object.optional("agent_id").is_some() { "agent_id" } else { "agent" };
        object.only(&[agent, "environment_id", "title", "metadata", "resources", "vault_ids", "budget"])?;
        let create = Self {
            agent: AgentRef::parse(&object.required(agent)?)?,
            environment_id: parse_environment_id(&object.required("environment_id")?)?,
            title: object.clearable("title", TITLE_CHARS_MAX)?.over(None),
            metadata: object.metadata()?,
            initial_events: events::parse_initial(initial_events)?,
        };
        let resources = object.optional("resources");
        let resources = resources.map(|field| resources::parse(&field)).transpose()?.unwrap_or(0);
        let vaults = object.optional("vault_ids");
        let vaults = vaults.map(|field| field.texts(0, VAULTS_MAX, TITLE_CHARS_MAX)).transpose()?;
        let budget = object.optional("budget");
        budget.map(|field| check_budget(&field)).transpose()?;
        if let Some(overrides) = &create.agent.overrides {
            overrides.refuse_unbuilt(&Path::ROOT.key(agent))?;
        }
        if resources > 0 {
            return Err(unbuilt::refuse(&Path::ROOT.key("resources"), "Mounting resources"));
        }
        if vaults.is_some_and(|vaults| !vaults.is_empty()) {
            return Err(unbuilt::refuse(&Path::ROOT.key("vault_ids"), "Attaching vaults"));
        }
        if let Some(budget) = budget {
            return Err(unbuilt::refuse(&budget.path, "A budget"));
        }
        Ok(create)
    }
}

impl AgentRef {
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        if field.value.is_string() {
            return Ok(Self { id: parse_agent_id(field)?, version: None, overrides: None });
        }
        if !field.value.is_object() {
            return Err(field.error("Input should be an agent's id or an object that names an agent"));
        }
        let object = field.object()?;
        let tag = object.tag(&["agent", "agent_with_overrides"])?;
        let plain = ["type", "id", "version"];
        let overridden = ["type", "id", "version", "model", "system", "tools", "mcp_servers", "skills"];
        object.only(if tag == "agent" { &plain } else { &overridden })?;
        let version = object.optional("version");
        Ok(Self {
            id: parse_agent_id(&object.required("id")?)?,
            version: version.map(|version| version.integer(1, i64::MAX)).transpose()?,
            overrides: if tag == "agent" { None } else { Some(Overrides::parse(&object)?) },
        })
    }
}

impl Overrides {
    fn parse(object: &Object<'_>) -> Result<Self, Error> {
        let model = match object.patch("model") {
            Patch::Absent => None,
            Patch::Null => {
                let path = object.path().key("model");
                let error = path.error("A session needs a model; leave the field out to use the agent's");
                return Err(error.with_code("agent_model_required"));
            }
            Patch::Value(field) => Some(ModelParams::parse(&field)?),
        };
        Ok(Self {
            model,
            system: object.clearable("system", SYSTEM_CHARS_MAX)?,
            tools: object.patch("tools").try_map(|field| tools::parse(&field))?,
            mcp_servers: object.patch("mcp_servers").try_map(|field| mcp::parse_servers(&field))?,
            skills: object.patch("skills").try_map(|field| skills::parse(&field))?,
        })
    }

    fn refuse_unbuilt(&self, path: &Path<'_>) -> Result<(), Error> {
        let Self { model: _, system: _, tools, mcp_servers, skills } = self;
        if let Patch::Value(tools) = tools {
            unbuilt::refuse_tools(path, tools)?;
        }
        if let Patch::Value(servers) = mcp_servers {
            unbuilt::refuse_mcp_servers(path, servers)?;
        }
        if let Patch::Value(skills) = skills {
            unbuilt::refuse_skills(path, skills)?;
        }
        Ok(())
    }
}

impl SessionUpdate {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let fields = body::object(bytes)?;
        let object = Object::root(&fields);
        object.only(&["title", "metadata", "agent", "budget", "vault_ids"])?;
        let metadata = object.optional("metadata");
        let update = Self {
            title: object.clearable("title", TITLE_CHARS_MAX)?,
            metadata: metadata.map(|field| field.metadata_patch(false)).transpose()?.unwrap_or_default(),
            agent: object.optional("agent").map(|field| SessionAgentUpdate::parse(&field)).transpose()?,
        };
        let budget = object.optional("budget");
        budget.map(|field| check_budget(&field)).transpose()?;
        if let Some(vaults) = object.optional("vault_ids") {
            return Err(vaults.error("Changing the vaults of a session is not yet supported"));
        }
        if let Some(agent) = &update.agent {
            let path = Path::ROOT.key("agent");
            let SessionAgentUpdate { tools, mcp_servers } = agent;
            if let Patch::Value(tools) = tools {
                unbuilt::refuse_tools(&path, tools)?;
            }
            if let Patch::Value(servers) = mcp_servers {
                unbuilt::refuse_mcp_servers(&path, servers)?;
            }
        }
        if budget.is_some() {
            let message = "budget: A budget can only be set when the session is created";
            return Err(Error::invalid(message).with_code("budget_create_only"));
        }
        Ok(update)
    }
}

impl SessionAgentUpdate {
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        let object = field.object()?;
        object.only(&["tools", "mcp_servers"])?;
        Ok(Self {
            tools: object.patch("tools").try_map(|field| tools::parse(&field))?,
            mcp_servers: object.patch("mcp_servers").try_map(|field| mcp::parse_servers(&field))?,
        })
    }
}

fn parse_agent_id(field: &Field<'_>) -> Result<AgentId, Error> {
    AgentId::parse(field.text()?)
        .ok_or_else(|| field.error("Input should be an agent's id, which starts with 'agent_'"))
}

fn parse_environment_id(field: &Field<'_>) -> Result<EnvironmentId, Error> {
    EnvironmentId::parse(field.text()?)
        .ok_or_else(|| field.error("Input should be an environment's id, which starts with 'env_'"))
}

fn check_budget(field: &Field<'_>) -> Result<(), Error> {
    let object = field.object()?;
    object.tag(&["limit"])?;
    object.only(&["type", "max_list_cost"])?;
    let cost = object.required("max_list_cost")?;
    let cost = cost.object()?;
    cost.only(&["amount", "currency"])?;
    cost.required("currency")?.choice(&["USD"])?;
    let amount = cost.required("amount")?;
    let cents = amount.text()?;
    let is_plain =
        cents.len() <= 18 && !cents.starts_with('0') && cents.bytes().all(|byte| byte.is_ascii_digit());
    if cents.is_empty() || !is_plain {
        return Err(
            amount.error("Input should be whole cents above zero without leading zeros, such as \"125\"")
        );
    }
    Ok(())
}
