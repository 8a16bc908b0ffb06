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
    assert_eq!(
        message(body::object(b"[]")),
        "The request body should be a JSON object"
    );
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
    assert_eq!(
        message(AgentCreate::parse(br#"{"model": "m"}"#)),
        "name: Field required"
    );
}

#[test]
fn an_unknown_field_is_named() {
    assert_eq!(
        create(json!({ "temperature": 1 })),
        "temperature: Extra inputs are not permitted"
    );
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
    assert_eq!(
        create(json!({ "name": 1 })),
        "name: Input should be a valid string"
    );
    assert_eq!(
        create(json!({ "name": null })),
        "name: Input should be a valid string"
    );
    assert_eq!(
        create(json!({ "tools": {} })),
        "tools: Input should be a valid list"
    );
    assert_eq!(
        create(json!({ "tools": ["bash"] })),
        "tools.0: Input should be a valid dictionary"
    );
    assert_eq!(
        create(json!({ "metadata": [] })),
        "metadata: Input should be a valid dictionary"
    );
    let update = message(AgentUpdate::parse(br#"{"version": 1.5}"#));
    assert_eq!(update, "version: Input should be a valid integer");
    let update = message(AgentUpdate::parse(br#"{"version": 0}"#));
    assert_eq!(update, "version: Input should be greater than or equal to 1");
}

#[test]
fn lengths_are_counted_in_characters() {
    let body = json!({ "name": "ü".repeat(256), "model": "m" });
    assert!(AgentCreate::parse(&bytes(&body)).is_ok());
    assert_eq!(
        create(json!({ "name": "ü".repeat(257) })),
        "name: String should have at most 256 characters"
    );
    assert_eq!(
        create(json!({ "name": "" })),
        "name: String should have at least 1 character"
    );
    let system = create(json!({ "system": "x".repeat(100_001) }));
    assert_eq!(system, "system: String should have at most 100000 characters");
    let description = create(json!({ "description": "x".repeat(2_049) }));
    assert_eq!(
        description,
        "description: String should have at most 2048 characters"
    );
}

#[test]
fn a_null_character_is_refused_where_a_database_keeps_text() {
    assert_eq!(
        create(json!({ "name": "a\u{0}" })),
        "name: Null characters are not permitted"
    );
}

#[test]
fn metadata_is_bounded_and_says_so_with_a_code() {
    let mut pairs = serde_json::Map::new();
    for index in 0..17 {
        pairs.insert(format!("k{index}"), "v".into());
    }
    let body = json!({ "name": "a", "model": "m", "metadata": pairs });
    let error = AgentCreate::parse(&bytes(&body)).unwrap_err();
    assert_eq!(
        error.message,
        "metadata: Metadata should have at most 16 pairs, not 17"
    );
    assert_eq!(error.code, Some("invalid_metadata"));

    let key = "k".repeat(65);
    let text = create(json!({ "metadata": { &key: "v" } }));
    assert_eq!(
        text,
        format!("metadata.{key}: Metadata keys should have 1 to 64 characters")
    );
    let text = create(json!({ "metadata": { "k": "v".repeat(513) } }));
    assert_eq!(text, "metadata.k: String should have at most 512 characters");
    assert_eq!(
        create(json!({ "metadata": { "k": 1 } })),
        "metadata.k: Input should be a valid string"
    );
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

proptest! {
    #[test]
    fn no_bytes_break_a_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ignored = AgentCreate::parse(&bytes);
        let _ignored = api::sessions::SessionCreate::parse(&bytes);
        let _ignored = api::events::parse_send(&bytes);
    }
}
