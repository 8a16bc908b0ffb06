//! What the API describes and this server does not do yet. Parsers check the whole shape first and then come here, so that
//! a client learns of its own mistakes before it learns of ours. What is built leaves this file.

use crate::agents::ExecutionIdentity;
use crate::body::Object;
use crate::body::Path;
use crate::environments::ConfigParams;
use crate::errors::Error;
use crate::mcp::McpServer;
use crate::skills::Skill;
use crate::tools::AgentToolset;
use crate::tools::Policy;
use crate::tools::Tool;

/// A 400 that names the field and what about it is missing here.
pub(crate) fn refuse(path: &Path<'_>, what: &str) -> Error {
    path.error(format_args!("{what} is not supported by this server yet"))
}

/// Refuses tools that run elsewhere than in the sandbox, and policies that need somebody's answer. `path` is where the
/// field `tools` stands.
pub(crate) fn refuse_tools(path: &Path<'_>, tools: &[Tool]) -> Result<(), Error> {
    let list = path.key("tools");
    for (index, tool) in tools.iter().enumerate() {
        let item = list.index(index);
        match tool {
            Tool::BuiltIn(toolset) => refuse_toolset(&item, toolset)?,
            Tool::Mcp(_) => return Err(refuse(&item, "A tool of type 'mcp_toolset'")),
            Tool::Custom(_) => return Err(refuse(&item, "A tool of type 'custom'")),
        }
    }
    Ok(())
}

fn refuse_toolset(path: &Path<'_>, toolset: &AgentToolset) -> Result<(), Error> {
    let AgentToolset { configs, default_config } = toolset;
    refuse_policy(&path.key("default_config"), default_config.permission_policy)?;
    let list = path.key("configs");
    for (index, config) in configs.iter().enumerate() {
        let item = list.index(index);
        if config.name.is_web() && config.enabled {
            return Err(refuse(&item, &format!("The tool '{}'", config.name.as_str())));
        }
        refuse_policy(&item, config.permission_policy)?;
    }
    Ok(())
}

fn refuse_policy(path: &Path<'_>, policy: Policy) -> Result<(), Error> {
    match policy {
        Policy::AlwaysAllow => Ok(()),
        Policy::AlwaysAsk | Policy::Auto => {
            Err(refuse(&path.key("permission_policy"), &format!("The policy '{}'", policy.as_str())))
        }
    }
}

/// Refuses MCP servers. `path` is where the field `mcp_servers` stands.
pub(crate) fn refuse_mcp_servers(path: &Path<'_>, servers: &[McpServer]) -> Result<(), Error> {
    if servers.is_empty() {
        return Ok(());
    }
    Err(refuse(&path.key("mcp_servers"), "Connecting to MCP servers"))
}

/// Refuses skills. `path` is where the field `skills` stands.
pub(crate) fn refuse_skills(path: &Path<'_>, skills: &[Skill]) -> Result<(), Error> {
    if skills.is_empty() {
        return Ok(());
    }
    Err(refuse(&path.key("skills"), "Loading skills"))
}

/// Refuses orchestration of several agents.
pub(crate) fn refuse_multiagent(object: &Object<'_>) -> Result<(), Error> {
    match object.optional("multiagent") {
        Some(field) => Err(refuse(&field.path, "Orchestration of several agents")),
        None => Ok(()),
    }
}

/// Refuses to run as anybody but the server.
pub(crate) fn refuse_identity(identity: &ExecutionIdentity) -> Result<(), Error> {
    match identity {
        ExecutionIdentity::ServiceAccount => Ok(()),
        ExecutionIdentity::AwsRole { .. } => {
            Err(refuse(&Path::ROOT.key("execution_identity"), "An identity of type 'aws_role'"))
        }
    }
}

/// Refuses sandboxes that are not ours.
pub(crate) fn refuse_config(config: &ConfigParams) -> Result<(), Error> {
    match config {
        ConfigParams::SelfHosted => {
            let path = Path::ROOT.key("config");
            Err(refuse(&path.key("type"), "An environment of type 'self_hosted'"))
        }
        ConfigParams::Cloud { .. } => Ok(()),
    }
}
