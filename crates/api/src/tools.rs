//! Tools of an agent: the built-in toolset, toolsets of MCP servers, and tools that the client runs.
//!
//! What is stored is resolved: every entry of `configs` says whether the tool is enabled and who allows its calls, whatever
//! the request left to the defaults.

use std::collections::HashSet;

use serde::Deserialize;
use serde::Serialize;

use crate::body::Field;
use crate::body::Object;
use crate::body::Path;
use crate::custom_tools;
use crate::custom_tools::CustomTool;
use crate::errors::Error;
use crate::limits::TOOLS_MAX;
use crate::mcp;
use crate::mcp::McpToolset;
use crate::skills::Skill;
use crate::web::WebSettings;

/// One entry of `tools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Tool {
    /// The built-in tools.
    #[serde(rename = "agent_toolset_20260401")]
    BuiltIn(AgentToolset),
    /// The tools of an MCP server.
    #[serde(rename = "mcp_toolset")]
    Mcp(McpToolset),
    /// A tool that the client runs.
    #[serde(rename = "custom")]
    Custom(CustomTool),
}

/// The built-in tools and how they may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentToolset {
    /// What differs from the default, tool by tool.
    pub configs: Vec<ToolConfig>,
    /// What holds for every other tool.
    pub default_config: Defaults,
}

/// One built-in tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolConfig {
    /// Which tool.
    pub name: ToolName,
    /// The same, as answers carry it twice.
    #[serde(rename = "type")]
    pub kind: ToolName,
    /// Whether the model may use it.
    pub enabled: bool,
    /// Who allows a call.
    pub permission_policy: Policy,
    /// Limits of `web_fetch` and `web_search`.
    #[serde(flatten)]
    pub web: WebSettings,
}

/// What holds for the tools of a toolset that are not configured one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    /// Whether the model may use them.
    pub enabled: bool,
    /// Who allows a call.
    pub permission_policy: Policy,
}

/// Who allows a call of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Policy {
    /// Every call runs.
    AlwaysAllow,
    /// The client is asked about every call.
    AlwaysAsk,
    /// The server judges each call.
    Auto,
}

/// Names of the built-in tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolName {
    /// A persistent shell.
    Bash,
    /// Reads a file.
    Read,
    /// Writes a file.
    Write,
    /// Replaces text in a file.
    Edit,
    /// Finds files by name.
    Glob,
    /// Finds lines by pattern.
    Grep,
    /// Fetches a page.
    WebFetch,
    /// Searches the web.
    WebSearch,
}

const NAMES: [&str; 8] = ["bash", "read", "write", "edit", "glob", "grep", "web_fetch", "web_search"];
const POLICIES: [&str; 3] = ["always_allow", "always_ask", "auto"];
const PLAIN_FIELDS: [&str; 4] = ["name", "type", "enabled", "permission_policy"];

impl ToolName {
    /// The tools that run in the sandbox, in the order in which a model is told of them.
    pub const SANDBOX: [Self; 6] = [Self::Bash, Self::Read, Self::Write, Self::Edit, Self::Glob, Self::Grep];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Read => "read",
            Self::Write => "write",
            Self::Edit => "edit",
            Self::Glob => "glob",
            Self::Grep => "grep",
            Self::WebFetch => "web_fetch",
            Self::WebSearch => "web_search",
        }
    }

    /// The tool of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::WebFetch, Self::WebSearch].into_iter().chain(Self::SANDBOX);
        all.into_iter().find(|tool| tool.as_str() == name)
    }

    /// Whether the tool only reads, so that calls of it may overlap in the sandbox.
    pub fn is_read_only(self) -> bool {
        match self {
            Self::Read | Self::Glob | Self::Grep | Self::WebFetch | Self::WebSearch => true,
            Self::Bash | Self::Write | Self::Edit => false,
        }
    }

    /// Whether the tool reaches the web on the service side instead of running in the sandbox.
    pub fn is_web(self) -> bool {
        match self {
            Self::WebFetch | Self::WebSearch => true,
            Self::Bash | Self::Read | Self::Write | Self::Edit | Self::Glob | Self::Grep => false,
        }
    }
}

/// Reads `tools`.
pub fn parse(field: &Field<'_>) -> Result<Vec<Tool>, Error> {
    let list = field.list(0, TOOLS_MAX)?;
    let mut tools = Vec::with_capacity(list.count());
    let mut custom_names = HashSet::new();
    for item in list.each() {
        let object = item.object()?;
        let tool = match object.tag(&["agent_toolset_20260401", "mcp_toolset", "custom"])? {
            "mcp_toolset" => Tool::Mcp(mcp::parse_toolset(&object)?),
            "custom" => Tool::Custom(custom_tools::parse(&object)?),
            _ => Tool::BuiltIn(AgentToolset::parse(&object)?),
        };
        match &tool {
            Tool::BuiltIn(_) if tools.iter().any(|tool| matches!(tool, Tool::BuiltIn(_))) => {
                return Err(item.error("Only one `agent_toolset_20260401` is permitted"));
            }
            Tool::Custom(tool) if !custom_names.insert(tool.name.clone()) => {
                return Err(item.error(format_args!("The name '{}' is used more than once", tool.name)));
            }
            Tool::BuiltIn(_) | Tool::Custom(_) | Tool::Mcp(_) => tools.push(tool),
        }
    }
    let count: usize = tools.iter().map(Tool::count).sum();
    if count > TOOLS_MAX {
        return Err(field.error(format_args!(
            "An agent should have at most {TOOLS_MAX} tools across all toolsets, not {count}"
        )));
    }
    Ok(tools)
}

/// The tools of the sandbox that the model may use, and who allows their calls.
pub fn enabled_in_sandbox(tools: &[Tool]) -> Vec<(ToolName, Policy)> {
    let Some(toolset) = built_in(tools) else {
        return Vec::new();
    };
    ToolName::SANDBOX
        .into_iter()
        .map(|name| (name, toolset.resolve(name)))
        .filter(|(_, resolved)| resolved.enabled)
        .map(|(name, resolved)| (name, resolved.permission_policy))
        .collect()
}

/// Checks that an agent with skills can read them. `path` is where both fields stand.
pub(crate) fn check_skills(path: &Path<'_>, skills: &[Skill], tools: &[Tool]) -> Result<(), Error> {
    let can_read = built_in(tools).is_some_and(|toolset| toolset.resolve(ToolName::Read).enabled);
    if skills.is_empty() || can_read {
        return Ok(());
    }
    Err(path.key("skills").error("Skills require the `read` tool of `agent_toolset_20260401`"))
}

fn built_in(tools: &[Tool]) -> Option<&AgentToolset> {
    tools.iter().find_map(|tool| match tool {
        Tool::BuiltIn(toolset) => Some(toolset),
        Tool::Mcp(_) | Tool::Custom(_) => None,
    })
}

impl Tool {
    /// How many tools the entry stands for, as far as is known before a server was asked.
    fn count(&self) -> usize {
        match self {
            Self::BuiltIn(_) => NAMES.len(),
            Self::Mcp(toolset) => toolset.configs.len(),
            Self::Custom(_) => 1,
        }
    }
}

impl AgentToolset {
    fn parse(object: &Object<'_>) -> Result<Self, Error> {
        object.only(&["type", "configs", "default_config"])?;
        let default_config =
            Defaults::parse(object.optional("default_config").as_ref(), Policy::AlwaysAllow)?;
        let mut configs: Vec<ToolConfig> = Vec::new();
        if let Some(field) = object.optional("configs") {
            for item in field.list(0, NAMES.len())?.each() {
                let config = ToolConfig::parse(&item.object()?, default_config)?;
                if configs.iter().any(|other| other.name == config.name) {
                    let name = config.name.as_str();
                    return Err(item.error(format_args!("The tool '{name}' is configured more than once")));
                }
                configs.push(config);
            }
        }
        Ok(Self { configs, default_config })
    }

    /// What holds for one tool.
    pub fn resolve(&self, name: ToolName) -> Defaults {
        match self.configs.iter().find(|config| config.name == name) {
            Some(config) => Defaults { enabled: config.enabled, permission_policy: config.permission_policy },
            None => self.default_config,
        }
    }
}

impl ToolConfig {
    fn parse(object: &Object<'_>, defaults: Defaults) -> Result<Self, Error> {
        let name = object.required("name")?.choice(&NAMES)?;
        let name = ToolName::parse(name).expect("every listed name has a variant");
        if let Some(kind) = object.optional("type")
            && kind.text()? != name.as_str()
        {
            return Err(kind.error(format_args!("Input should be '{}', the same as `name`", name.as_str())));
        }
        let mut fields = PLAIN_FIELDS.to_vec();
        fields.extend(WebSettings::fields(name));
        object.only(&fields)?;
        let Defaults { enabled, permission_policy } = defaults.refine(object)?;
        let web = WebSettings::parse(object, name)?;
        Ok(Self { name, kind: name, enabled, permission_policy, web })
    }
}

impl Defaults {
    /// Reads a `default_config`, with `policy` where it says nothing.
    pub(crate) fn parse(field: Option<&Field<'_>>, policy: Policy) -> Result<Self, Error> {
        let defaults = Self { enabled: true, permission_policy: policy };
        let Some(field) = field else { return Ok(defaults) };
        let object = field.object()?;
        object.only(&["enabled", "permission_policy"])?;
        defaults.refine(&object)
    }

    /// These defaults with what `object` says instead.
    pub(crate) fn refine(self, object: &Object<'_>) -> Result<Self, Error> {
        let enabled = object.optional("enabled").map(|enabled| enabled.boolean()).transpose()?;
        let policy = object.optional("permission_policy").map(|policy| Policy::parse(&policy)).transpose()?;
        Ok(Self {
            enabled: enabled.unwrap_or(self.enabled),
            permission_policy: policy.unwrap_or(self.permission_policy),
        })
    }
}

impl Policy {
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        let object = field.object()?;
        let tag = object.tag(&POLICIES)?;
        object.only(&["type"])?;
        Ok(match tag {
            "always_ask" => Self::AlwaysAsk,
            "auto" => Self::Auto,
            _ => Self::AlwaysAllow,
        })
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlwaysAllow => "always_allow",
            Self::AlwaysAsk => "always_ask",
            Self::Auto => "auto",
        }
    }
}
