//! Bodies: JSON itself, types, lengths, metadata.

use api::agents::AgentCreate;
use api::agents::AgentUpdate;
use api::body;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::bytes;
use crate::message;

fn create(fields: Value) -> String {
    let mut body = json!({ "name": "a", "model": "m" });
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    message(AgentCreate::parse(&bytes(&body)))
}

#[test]
fn a_body_that_is_no_json_says_where_it_breaks() {
    let text = message(AgentCreate::parse(b"{\"name\": }"));
    assert!(text.starts_with("The request body is not valid JSON: "), "{text}");
    assert!(text.contains("column 10"), "{text}");
}

#[test]
fn an_empty_body_is_no_json() {
    assert!(message(AgentCreate::parse(b"")).starts_with("The request body is not valid JSON: "));
}

#[test]
fn a_lone_surrogate_is_no_json() {
    let body = br#"{"name": "\ud800", "model": "m"}"#;
    assert!(message(AgentCreate::parse(body)).starts_with("The request body is not valid JSON: "));
}

#[test]
fn a_body_has_to_be_an_object() {
    assert_eq!(message(body::object(b"[]")), "The request body should be a JSON object");
}

#[test]
fn sixty_four_levels_are_read_and_one_more_is_not() {
    let nested = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(body::object(nested(64).as_bytes()).is_ok());
    let refusal = "The request body is not valid JSON: nested deeper than 64 levels";
    assert_eq!(message(body::object(nested(65).as_bytes())), refusal);
    assert!(
        message(body::object(nested(100_000).as_bytes())).starts_with("The request body is not valid JSON")
    );
}

#[test]
fn a_missing_field_is_named() {
    assert_eq!(message(AgentCreate::parse(br#"{"model": "m"}"#)), "name: Field required");
}

#[test]
fn an_unknown_field_is_named() {
    assert_eq!(create(json!({ "temperature": 1 })), "temperature: Extra inputs are not permitted");
}

#[test]
fn a_hostile_field_name_is_cut_and_cleaned_in_the_message() {
    let name = format!("a\nb{}", "x".repeat(500));
    let text = create(json!({ name: 1 }));
    assert!(text.starts_with("a bxxx"), "{text}");
    assert!(text.len() < 200, "{text}");
}

#[test]
fn wrong_types_are_named() {
    assert_eq!(create(json!({ "name": 1 })), "name: Input should be a valid string");
    assert_eq!(create(json!({ "name": null })), "name: Input should be a valid string");
    assert_eq!(create(json!({ "tools": {} })), "tools: Input should be a valid list");
    assert_eq!(create(json!({ "tools": ["bash"] })), "tools.0: Input should be a valid dictionary");
    assert_eq!(create(json!({ "metadata": [] })), "metadata: Input should be a valid dictionary");
    let update = message(AgentUpdate::parse(br#"{"version": 1.5}"#));
    assert_eq!(update, "version: Input should be a valid integer");
    let update = message(AgentUpdate::parse(br#"{"version": 0}"#));
    assert_eq!(update, "version: Input should be greater than or equal to 1");
}

#[test]
fn lengths_are_counted_in_characters() {
    let body = json!({ "name": "ü".repeat(256), "model": "m" });
    assert!(AgentCreate::parse(&bytes(&body)).is_ok());
    assert_eq!(create(json!({ "name": "ü".repeat(257) })), "name: String should have at most 256 characters");
    assert_eq!(create(json!({ "name": "" })), "name: String should have at least 1 character");
    let system = create(json!({ "system": "x".repeat(100_001) }));
    assert_eq!(system, "system: String should have at most 100000 characters");
    let description = create(json!({ "description": "x".repeat(2_049) }));
    assert_eq!(description, "description: String should have at most 2048 characters");
}

#[test]
fn a_null_character_is_refused_where_a_database_keeps_text() {
    assert_eq!(create(json!({ "name": "a\u{0}" })), "name: Null characters are not permitted");
}

#[test]
fn metadata_is_bounded_and_says_so_with_a_code() {
    let mut pairs = serde_json::Map::new();
    for index in 0..17 {
        pairs.insert(format!("k{index}"), "v".into());
    }
    let body = json!({ "name": "a", "model": "m", "metadata": pairs });
    let error = AgentCreate::parse(&bytes(&body)).unwrap_err();
    assert_eq!(error.message, "metadata: Metadata should have at most 16 pairs, not 17");
    assert_eq!(error.code, Some("invalid_metadata"));

    let key = "k".repeat(65);
    let text = create(json!({ "metadata": { &key: "v" } }));
    assert_eq!(text, format!("metadata.{key}: Metadata keys should have 1 to 64 characters"));
    let text = create(json!({ "metadata": { "k": "v".repeat(513) } }));
    assert_eq!(text, "metadata.k: String should have at most 512 characters");
    assert_eq!(create(json!({ "metadata": { "k": 1 } })), "metadata.k: Input should be a valid string");
}

#[test]
fn bodies_that_are_only_ahead_of_us_are_refused_only_for_that() {
    let bodies = bodies();
    for (body, parser) in [(&bodies[0], 1), (&bodies[2], 4), (&bodies[3], 6)] {
        let error = parse_as_everything(&bytes(body)).swap_remove(parser).unwrap_err();
        assert!(error.message.ends_with("is not supported by this server yet"), "{}", error.message);
    }
}

#[test]
fn merged_metadata_is_bounded_too() {
    let mut stored = body::Metadata::new();
    for index in 0..16 {
        stored.insert(format!("k{index}"), "v".into());
    }
    let more = vec![("k16".to_owned(), Some("v".to_owned()))];
    assert!(body::merge_metadata(&stored, &more).is_err());
    let swap = vec![("k0".to_owned(), None), ("k16".to_owned(), Some("v".to_owned()))];
    assert_eq!(body::merge_metadata(&stored, &swap).unwrap().len(), 16);
}

/// Bodies that parsers take, or refuse only because something is not built.
fn bodies() -> Vec<Value> {
    let toolset = json!({
        "type": "agent_toolset_20260401",
        "default_config": { "enabled": true, "permission_policy": { "type": "always_allow" } },
        "configs": [
            { "name": "bash", "type": "bash", "enabled": true },
            { "name": "web_fetch", "enabled": false, "allowed_domains": ["a.com"], "max_content_tokens": 1,
              "url_sources": { "user_input": "all", "client_tool_results": { "type": "only", "tools": [{ "name": "x" }] } } },
            { "name": "web_search", "enabled": false, "user_location": { "type": "approximate", "country": "DE" } },
        ],
    });
    let custom = json!({
        "type": "custom", "name": "t", "description": "d",
        "input_schema": { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] },
    });
    let content = json!([
        { "type": "text", "text": "x" },
        { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGk=" } },
        { "type": "document", "title": "t", "source": { "type": "url", "url": "https://a.com" } },
    ]);
    vec![
        json!({
            "name": "a", "model": { "id": "m", "effort": { "type": "low" }, "speed": "fast" }, "system": "s",
            "tools": [toolset, custom, { "type": "mcp_toolset", "mcp_server_name": "d", "configs": [{ "name": "x" }] }],
            "mcp_servers": [{ "type": "url", "name": "d", "url": "https://a.com" }],
            "skills": [{ "type": "custom", "skill_id": "s", "version": "1" }], "metadata": { "k": "v" }, "version": 1,
            "execution_identity": { "type": "aws_role", "role_arn": "arn" }, "multiagent": { "type": "coordinator" },
        }),
        json!({
            "name": "e", "description": "d", "metadata": { "k": "v" }, "scope": "organization",
            "config": {
                "type": "cloud", "packages": { "type": "packages", "pip": ["x"] },
                "networking": { "type": "limited", "allowed_hosts": ["*.a.com"], "allow_package_managers": true },
            },
        }),
        json!({
            "agent": { "type": "agent_with_overrides", "id": "agent_1", "version": 1, "model": "m", "tools": [toolset] },
            "environment_id": "env_1", "title": "t", "metadata": { "k": "v" }, "vault_ids": ["v"],
            "budget": { "type": "limit", "max_list_cost": { "amount": "1", "currency": "USD" } },
            "resources": [{ "type": "github_repository", "url": "u", "checkout": { "type": "branch", "name": "b" } }],
            "initial_events": [{ "type": "user.message", "content": content }],
        }),
        json!({ "events": [
            { "type": "user.message", "content": content },
            { "type": "user.interrupt", "session_thread_id": "sthr_1" },
            { "type": "user.tool_confirmation", "tool_use_id": "x", "result": "deny", "deny_message": "no" },
            { "type": "user.custom_tool_result", "custom_tool_use_id": "x", "content": content, "is_error": true },
            { "type": "user.define_outcome", "description": "d", "rubric": { "type": "text", "content": "r" } },
            { "type": "system.message", "content": [{ "type": "text", "text": "x" }] },
        ] }),
    ]
}

/// Puts `replacement` in the place of the value that a walk along `turns` comes to.
fn mutate(value: &mut Value, turns: &[usize], replacement: Value) {
    let Some((turn, rest)) = turns.split_first() else {
        *value = replacement;
        return;
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let index = turn % items.len();
            mutate(&mut items[index], rest, replacement);
        }
        Value::Object(fields) if !fields.is_empty() => {
            let index = turn % fields.len();
            let field = fields.values_mut().nth(index).unwrap();
            mutate(field, rest, replacement);
        }
        other => *other = replacement,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[a-z_.=:/0-9]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("(type|name|id|text|.{0,9})", inner), 0..4)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// The outcomes of every parser.
fn parse_as_everything(body: &[u8]) -> Vec<Result<(), api::errors::Error>> {
    vec![
        AgentCreate::parse(body).map(|_| ()),
        AgentUpdate::parse(body).map(|_| ()),
        api::environments::EnvironmentCreate::parse(body).map(|_| ()),
        api::environments::EnvironmentUpdate::parse(body).map(|_| ()),
        api::sessions::SessionCreate::parse(body).map(|_| ()),
        api::sessions::SessionUpdate::parse(body).map(|_| ()),
        api::events::parse_send(body).map(|_| ()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_body_gone_wrong_anywhere_is_read_or_refused_in_a_few_words(
        which in 0_usize..4,
        turns in proptest::collection::vec(0_usize..8, 0..7),
        replacement in any_json(),
    ) {
        let mut body = bodies().swap_remove(which);
        mutate(&mut body, &turns, replacement);
        for outcome in parse_as_everything(&bytes(&body)) {
            if let Err(error) = outcome {
                prop_assert!(error.message.contains(' ') && error.message.len() < 2_000, "{}", error.message);
            }
        }
    }

    #[test]
    fn no_bytes_break_a_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for outcome in parse_as_everything(&bytes) {
            prop_assert!(outcome.is_err());
        }
    }
}
