//! Tools: the built-in toolset and its defaults, custom tools, MCP toolsets, and what is not built yet.

use api::agents::Agent;
use api::agents::AgentCreate;
use api::ids::AgentId;
use api::tools;
use api::tools::Policy;
use api::tools::ToolName;
use serde_json::Value;
use serde_json::json;

use crate::NOON;
use crate::bytes;
use crate::message;
use crate::parse;

const NOT_BUILT: &str = "is not supported by this server yet";

fn agent_with(tools: &Value) -> Agent {
    let create = AgentCreate::parse(&bytes(&json!({ "name": "a", "model": "m", "tools": tools }))).unwrap();
    Agent::create(create, AgentId::parse("agent_1").unwrap(), NOON)
}

fn refused(tools: &Value) -> String {
    refused_with(json!({ "tools": tools }))
}

fn refused_with(mut fields: Value) -> String {
    fields["name"] = "a".into();
    fields["model"] = "m".into();
    message(AgentCreate::parse(&bytes(&fields)))
}

fn toolset(fields: Value) -> Value {
    let mut toolset = fields;
    toolset["type"] = "agent_toolset_20260401".into();
    json!([toolset])
}

fn custom(fields: Value) -> Value {
    let mut tool = json!({ "type": "custom", "name": "weather", "description": "d", "input_schema": { "type": "object" } });
    for (key, value) in fields.as_object().unwrap() {
        tool[key] = value.clone();
    }
    json!([tool])
}

#[test]
fn a_bare_toolset_is_answered_with_its_defaults() {
    let agent = agent_with(&toolset(json!({})));
    let answer = parse(&agent.render());
    let expected = json!([{
        "type": "agent_toolset_20260401",
        "configs": [],
        "default_config": { "enabled": true, "permission_policy": { "type": "always_allow" } },
    }]);
    assert_eq!(answer["tools"], expected);
}

#[test]
fn a_tool_takes_from_the_defaults_what_its_own_config_leaves_out() {
    let tools = toolset(json!({
        "default_config": { "enabled": false },
        "configs": [
            { "name": "bash", "enabled": true },
            { "name": "read", "type": "read", "permission_policy": { "type": "always_allow" } },
        ],
    }));
    let agent = agent_with(&tools);
    let allow = json!({ "type": "always_allow" });
    let expected = json!([
        { "name": "bash", "type": "bash", "enabled": true, "permission_policy": allow },
        { "name": "read", "type": "read", "enabled": false, "permission_policy": allow },
    ]);
    assert_eq!(parse(&agent.render())["tools"][0]["configs"], expected);
    assert_eq!(tools::enabled_in_sandbox(&agent.tools), [(ToolName::Bash, Policy::AlwaysAllow)]);
}

#[test]
fn all_six_sandbox_tools_are_enabled_unless_said_otherwise() {
    let agent = agent_with(&toolset(json!({ "configs": [{ "name": "grep", "enabled": false }] })));
    let names: Vec<_> =
        tools::enabled_in_sandbox(&agent.tools).into_iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bash", "read", "write", "edit", "glob"]);
    assert_eq!(tools::enabled_in_sandbox(&[]), []);
}

#[test]
fn an_unknown_type_of_tool_is_named_beside_the_known_ones() {
    assert_eq!(
        refused(&json!([{ "type": "bash_20250124" }])),
        "tools.0: Input tag 'bash_20250124' found using 'type' does not match any of the expected tags: \
         'agent_toolset_20260401', 'mcp_toolset', 'custom'"
    );
}

#[test]
fn a_toolset_stands_once_and_a_tool_is_configured_once() {
    let twice = json!([{ "type": "agent_toolset_20260401" }, { "type": "agent_toolset_20260401" }]);
    assert_eq!(refused(&twice), "tools.1: Only one `agent_toolset_20260401` is permitted");
    let twice = toolset(json!({ "configs": [{ "name": "bash" }, { "name": "bash" }] }));
    assert_eq!(refused(&twice), "tools.0.configs.1: The tool 'bash' is configured more than once");
}

#[test]
fn a_tool_config_names_a_built_in_tool_and_the_same_type() {
    let text = refused(&toolset(json!({ "configs": [{ "name": "python" }] })));
    let names = "'bash', 'read', 'write', 'edit', 'glob', 'grep', 'web_fetch' or 'web_search'";
    assert_eq!(text, format!("tools.0.configs.0.name: Input should be {names}"));
    let text = refused(&toolset(json!({ "configs": [{ "name": "bash", "type": "read" }] })));
    assert_eq!(text, "tools.0.configs.0.type: Input should be 'bash', the same as `name`");
    let text = refused(&toolset(json!({ "configs": [{ "name": "bash", "allowed_domains": ["a.com"] }] })));
    assert_eq!(text, "tools.0.configs.0.allowed_domains: Extra inputs are not permitted");
}

#[test]
fn policies_that_ask_somebody_are_not_built() {
    for policy in ["always_ask", "auto"] {
        let text =
            refused(&toolset(json!({ "default_config": { "permission_policy": { "type": policy } } })));
        assert_eq!(
            text,
            format!("tools.0.default_config.permission_policy: The policy '{policy}' {NOT_BUILT}")
        );
        let config = json!({ "name": "bash", "permission_policy": { "type": policy } });
        let text = refused(&toolset(json!({ "configs": [config] })));
        assert_eq!(text, format!("tools.0.configs.0.permission_policy: The policy '{policy}' {NOT_BUILT}"));
    }
}

#[test]
fn web_tools_may_be_disabled_but_not_configured_to_be_used() {
    let text = refused(&toolset(json!({ "configs": [{ "name": "web_fetch" }] })));
    assert_eq!(text, format!("tools.0.configs.0: The tool 'web_fetch' {NOT_BUILT}"));
    let agent = agent_with(&toolset(json!({ "configs": [{ "name": "web_search", "enabled": false }] })));
    assert_eq!(parse(&agent.render())["tools"][0]["configs"][0]["enabled"], false);
}

#[test]
fn web_domains_are_checked_in_the_documented_words() {
    let web = |fields: Value| {
        let mut config = fields;
        config["name"] = "web_fetch".into();
        config["enabled"] = false.into();
        refused(&toolset(json!({ "configs": [config] })))
    };
    assert_eq!(
        web(json!({ "allowed_domains": ["a.com"], "blocked_domains": ["b.com"] })),
        "tools.0.configs.0: Only one of allowed_domains or blocked_domains may be set."
    );
    assert_eq!(
        web(json!({ "allowed_domains": [] })),
        "tools.0.configs.0.allowed_domains: Empty list of domains is ambiguous. Provide at least one domain or null."
    );
    for address in ["127.0.0.1", "0x7f.1", "::1", "2130706433"] {
        let text = web(json!({ "allowed_domains": [address] }));
        assert!(
            text.starts_with("tools.0.configs.0.allowed_domains.0: IP addresses are not supported"),
            "{text}"
        );
    }
    for name in [
        "https://a.com",
        "a.com:80",
        "a.com/x",
        "localhost",
        "db.internal",
        "com",
        "*.a.com",
        "-a.com",
        "ä.com",
    ] {
        let text = web(json!({ "allowed_domains": [name] }));
        assert!(text.starts_with("tools.0.configs.0.allowed_domains.0: "), "{name}: {text}");
    }
    let text = web(json!({ "allowed_domains": ["a.com", "A.com/"] }));
    assert!(text.contains("more than once"), "{text}");
}

#[test]
fn url_sources_are_stored_as_objects() {
    let config = json!({
        "name": "web_fetch",
        "enabled": false,
        "url_sources": { "user_input": "none", "server_tool_results": { "type": "only", "tools": [{ "name": "web_search" }] } },
    });
    let agent = agent_with(&toolset(json!({ "configs": [config] })));
    let expected = json!({
        "user_input": { "type": "none" },
        "server_tool_results": { "type": "only", "tools": [{ "type": "tool_reference", "name": "web_search" }] },
        "client_tool_results": { "type": "all" },
    });
    assert_eq!(parse(&agent.render())["tools"][0]["configs"][0]["url_sources"], expected);

    let none = json!({ "user_input": "none", "server_tool_results": "none", "client_tool_results": "none" });
    let config = json!({ "name": "web_fetch", "enabled": false, "url_sources": none });
    let text = refused(&toolset(json!({ "configs": [config] })));
    assert_eq!(text, "tools.0.configs.0.url_sources: At least one source should not be \"none\"");
}

#[test]
fn a_right_custom_tool_is_not_built() {
    assert_eq!(refused(&custom(json!({}))), format!("tools.0: A tool of type 'custom' {NOT_BUILT}"));
}

#[test]
fn a_wrong_custom_tool_is_refused_for_what_is_wrong_with_it() {
    let name = |name: &str| refused(&custom(json!({ "name": name })));
    assert_eq!(name("get weather"), "tools.0.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'");
    assert_eq!(name("bash"), "tools.0.name: The name 'bash' belongs to a built-in tool");
    assert_eq!(name("mcp__x"), "tools.0.name: Names that start with 'mcp__' are reserved");
    assert_eq!(name("ant__x"), "tools.0.name: Names that start with 'ant__' are reserved");
    let text = refused(&custom(json!({ "description": "" })));
    assert_eq!(text, "tools.0.description: String should have at least 1 character");

    let schema = |schema: Value| refused(&custom(json!({ "input_schema": schema })));
    assert_eq!(schema(json!({ "type": "string" })), "tools.0.input_schema.type: Input should be 'object'");
    assert_eq!(
        schema(json!({ "type": "object", "anyOf": [] })),
        "tools.0.input_schema.anyOf: Not permitted at the top level of an input schema"
    );
    assert_eq!(
        schema(json!({ "type": "object", "properties": { "a": { "$ref": "#/x" } } })),
        "tools.0.input_schema: The keyword '$ref' is not permitted in an input schema"
    );
    assert_eq!(
        schema(json!({ "type": "object", "properties": { "a b": {} } })),
        "tools.0.input_schema.properties.a b: Property names should match pattern '^[a-zA-Z0-9_.-]{1,64}$'"
    );
}

#[test]
fn custom_names_are_unique() {
    let tool = custom(json!({}))[0].clone();
    assert_eq!(refused(&json!([tool, tool])), "tools.1: The name 'weather' is used more than once");
}

#[test]
fn more_than_256_tools_are_too_many() {
    let mut tools: Vec<Value> =
        (0..249).map(|n| custom(json!({ "name": format!("t{n}") }))[0].clone()).collect();
    tools.push(json!({ "type": "agent_toolset_20260401" }));
    let text = refused(&json!(tools));
    assert_eq!(text, "tools: An agent should have at most 256 tools across all toolsets, not 257");
}

#[test]
fn mcp_servers_and_toolsets_have_to_match() {
    let server = json!({ "type": "url", "name": "docs", "url": "https://example.com/mcp" });
    let toolset = json!({ "type": "mcp_toolset", "mcp_server_name": "docs" });
    let text = refused_with(json!({ "mcp_servers": [server] }));
    assert_eq!(text, "mcp_servers.0: The server 'docs' is not referenced by any `mcp_toolset`");
    let text = refused_with(json!({ "tools": [toolset] }));
    assert_eq!(text, "tools.0.mcp_server_name: No server named 'docs' in `mcp_servers`");
    let text = refused_with(json!({ "mcp_servers": [server, server], "tools": [toolset] }));
    assert_eq!(text, "mcp_servers.1.name: The name 'docs' is used more than once");
    let text = refused_with(json!({ "mcp_servers": [server], "tools": [toolset] }));
    assert_eq!(text, format!("tools.0: A tool of type 'mcp_toolset' {NOT_BUILT}"));
    let text = refused_with(json!({ "mcp_servers": [{ "type": "url", "name": "docs", "url": "ftp://x" }] }));
    assert_eq!(text, "mcp_servers.0.url: Input should be a valid URL that starts with https:// or http://");
}

#[test]
fn skills_need_the_read_tool_and_are_not_built() {
    let skill = json!({ "type": "anthropic", "skill_id": "xlsx" });
    let text = refused_with(json!({ "skills": [skill] }));
    assert_eq!(text, "skills: Skills require the `read` tool of `agent_toolset_20260401`");
    let text = refused_with(json!({ "skills": [skill], "tools": toolset(json!({})) }));
    assert_eq!(text, format!("skills: Loading skills {NOT_BUILT}"));
}
