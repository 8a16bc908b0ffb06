//! MCP servers that an agent declares, and the toolsets that offer their tools to the model.

use std::collections::HashSet;

use serde::Deserialize;
use serde::Serialize;

use crate::body::Field;
use crate::body::Object;
use crate::body::Path;
use crate::body::excerpt;
use crate::content::check_url;
use crate::errors::Error;
use crate::limits::MCP_SERVER_NAME_CHARS_MAX;
use crate::limits::MCP_SERVERS_MAX;
use crate::limits::TOOL_NAME_CHARS_MAX;
use crate::limits::TOOLS_MAX;
use crate::limits::URL_CHARS_MAX;
use crate::tools::Defaults;
use crate::tools::Policy;
use crate::tools::Tool;

/// A server that an agent may connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "url")]
pub struct McpServer {
    /// Name by which toolsets refer to it.
    pub name: String,
    /// Address.
    pub url: String,
}

/// The tools of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpToolset {
    /// The server.
    pub mcp_server_name: String,
    /// What differs from the default, tool by tool.
    pub configs: Vec<McpToolConfig>,
    /// What holds for every other tool.
    pub default_config: Defaults,
}

/// One tool of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpToolConfig {
    /// The tool's name at the server.
    pub name: String,
    /// Whether the model may use it.
    pub enabled: bool,
    /// Who allows a call.
    pub permission_policy: Policy,
}

/// Reads `mcp_servers`.
pub fn parse_servers(field: &Field<'_>) -> Result<Vec<McpServer>, Error> {
    let list = field.list(0, MCP_SERVERS_MAX)?;
    let mut names = HashSet::new();
    let mut servers = Vec::with_capacity(list.count());
    for item in list.each() {
        let (_, object) = item.tagged(&[("url", &["name", "url"])])?;
        let name = object.required("name")?;
        let server = McpServer {
            name: name.string(1, MCP_SERVER_NAME_CHARS_MAX)?,
            url: object.require("url", |url| check_url(url, URL_CHARS_MAX))?,
        };
        if !names.insert(server.name.clone()) {
            return Err(
                name.error(format_args!("The name '{}' is used more than once", excerpt(&server.name)))
            );
        }
        servers.push(server);
    }
    Ok(servers)
}

/// Reads the rest of a tool of type `mcp_toolset`.
pub(crate) fn parse_toolset(object: &Object<'_>) -> Result<McpToolset, Error> {
    object.only(&["type", "mcp_server_name", "configs", "default_config"])?;
    let mcp_server_name =
        object.require("mcp_server_name", |name| name.string(1, MCP_SERVER_NAME_CHARS_MAX))?;
    let default_config = Defaults::parse(object.optional("default_config").as_ref(), Policy::AlwaysAsk)?;
    let mut configs: Vec<McpToolConfig> = Vec::new();
    if let Some(field) = object.optional("configs") {
        for item in field.list(0, TOOLS_MAX)?.each() {
            let object = item.object_of(&["name", "enabled", "permission_policy"])?;
            let field = object.required("name")?;
            let name = field.string(1, TOOL_NAME_CHARS_MAX)?;
            if configs.iter().any(|config| config.name == name) {
                return Err(
                    field.error(format_args!("The tool '{}' is configured more than once", excerpt(&name)))
                );
            }
            let Defaults { enabled, permission_policy } = default_config.refine(&object)?;
            configs.push(McpToolConfig { name, enabled, permission_policy });
        }
    }
    Ok(McpToolset { mcp_server_name, configs, default_config })
}

/// Checks that every server is used by a toolset and every toolset names a server. `path` is where both fields stand.
pub(crate) fn check_references(path: &Path<'_>, servers: &[McpServer], tools: &[Tool]) -> Result<(), Error> {
    let list = path.key("tools");
    let mut used = HashSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let Tool::Mcp(toolset) = tool else { continue };
        let item = list.index(index);
        let name = toolset.mcp_server_name.as_str();
        if !servers.iter().any(|server| server.name == name) {
            let message = format_args!("No server named '{}' in `mcp_servers`", excerpt(name));
            return Err(item.key("mcp_server_name").error(message));
        }
        if !used.insert(name) {
            let message = format_args!("The server '{}' has more than one `mcp_toolset`", excerpt(name));
            return Err(item.key("mcp_server_name").error(message));
        }
    }
    match servers.iter().position(|server| !used.contains(server.name.as_str())) {
        Some(index) => {
            let name = excerpt(&servers[index].name);
            let list = path.key("mcp_servers");
            Err(list
                .index(index)
                .error(format_args!("The server '{name}' is not referenced by any `mcp_toolset`")))
        }
        None => Ok(()),
    }
}
