//! Environments: creation, nested updates, what is not built yet.

use api::environments::Environment;
use api::environments::EnvironmentCreate;
use api::environments::EnvironmentUpdate;
use api::ids::EnvironmentId;
use serde_json::Value;
use serde_json::json;

use crate::EVENING;
use crate::NOON;
use crate::bytes;
use crate::message;
use crate::parse;

fn create(body: &Value) -> Environment {
    let create = EnvironmentCreate::parse(&bytes(body)).unwrap();
    Environment::create(create, EnvironmentId::parse("env_1").unwrap(), NOON).unwrap()
}

fn refused(config: Value) -> String {
    message(EnvironmentCreate::parse(&bytes(&json!({ "name": "e", "config": config }))))
}

fn update(environment: &Environment, body: &Value) -> Option<Environment> {
    environment.update(EnvironmentUpdate::parse(&bytes(body)).unwrap(), EVENING).unwrap()
}

#[test]
fn a_new_environment_is_answered_with_every_field() {
    let expected = json!({
        "type": "environment",
        "id": "env_1",
        "name": "e",
        "description": null,
        "config": {
            "type": "cloud",
            "networking": { "type": "unrestricted" },
            "packages": {
                "type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": [],
            },
        },
        "metadata": {},
        "scope": "organization",
        "created_at": "2027-01-15T08:00:00.000000Z",
        "updated_at": "2027-01-15T08:00:00.000000Z",
        "archived_at": null,
    });
    for config in [json!(null), json!({ "type": "cloud" }), expected["config"].clone()] {
        let environment = create(&json!({ "name": "e", "config": config, "scope": "organization" }));
        assert_eq!(parse(&environment.render()), expected);
    }
}

#[test]
fn a_stored_environment_reads_back_as_it_was() {
    let environment = create(&json!({ "name": "e", "description": "", "metadata": { "a": "b" } }));
    let read: Environment = serde_json::from_str(&environment.render()).unwrap();
    assert_eq!(read, environment);
}

#[test]
fn shapes_are_checked_before_anything_is_said_to_be_missing() {
    let text = refused(json!({ "type": "cloud", "packages": { "pip": "numpy" } }));
    assert_eq!(text, "config.packages.pip: Input should be a valid list");
    let text = refused(json!({ "type": "cloud", "packages": { "brew": [] } }));
    assert_eq!(text, "config.packages.brew: Extra inputs are not permitted");
    let text = refused(
        json!({ "type": "cloud", "networking": { "type": "limited", "allowed_hosts": ["https://a.com"] } }),
    );
    assert!(text.starts_with("config.networking.allowed_hosts.0: Input should be a hostname"), "{text}");
    let text = refused(
        json!({ "type": "cloud", "networking": { "type": "limited" }, "packages": { "pip": ["x"] } }),
    );
    assert_eq!(
        text,
        "config.networking.allow_package_managers: Input should be true when `packages` are specified"
    );
    let text = refused(json!({ "type": "self_hosted", "packages": {} }));
    assert_eq!(text, "config.packages: Extra inputs are not permitted");
    let text = refused(json!({ "type": "vm" }));
    assert!(text.starts_with("config: Input tag 'vm' found using 'type'"), "{text}");
    let text = message(EnvironmentCreate::parse(br#"{"name": "e", "scope": "account"}"#));
    assert_eq!(text, "scope: Only 'organization' is supported");
}

#[test]
fn packages_limits_and_workers_are_not_built() {
    let text = refused(json!({ "type": "cloud", "packages": { "npm": ["express"] } }));
    assert_eq!(text, "config.packages.npm: Installing packages is not supported by this server yet");
    let text = refused(
        json!({ "type": "cloud", "networking": { "type": "limited", "allowed_hosts": ["*.a.com"] } }),
    );
    assert_eq!(text, "config.networking: Networking of type 'limited' is not supported by this server yet");
    let text = refused(json!({ "type": "self_hosted" }));
    assert_eq!(text, "config.type: An environment of type 'self_hosted' is not supported by this server yet");
}

#[test]
fn an_update_keeps_what_it_leaves_out() {
    let stored =
        create(&json!({ "name": "e", "description": "d", "metadata": { "a": "1", "b": "2", "c": "3" } }));
    let next = update(&stored, &json!({ "name": "f", "metadata": { "a": null, "b": "" } })).unwrap();
    let expected = Environment {
        name: "f".into(),
        metadata: json!({ "c": "3" }).as_object().unwrap().clone(),
        updated_at: EVENING,
        ..stored
    };
    assert_eq!(next, expected);
}

#[test]
fn an_update_that_changes_nothing_is_none() {
    let stored = create(&json!({ "name": "e", "description": "d" }));
    let same =
        json!({ "name": null, "config": { "type": "cloud", "packages": { "pip": [] }, "networking": null } });
    assert_eq!(update(&stored, &same), None);
}

#[test]
fn null_clears_a_description_and_the_empty_text_stays_one() {
    let stored = create(&json!({ "name": "e", "description": "d" }));
    assert_eq!(update(&stored, &json!({ "description": null })).unwrap().description, None);
    assert_eq!(update(&stored, &json!({ "description": "" })).unwrap().description, Some(String::new()));
}

#[test]
fn the_type_of_an_environment_never_changes() {
    let stored = create(&json!({ "name": "e" }));
    let change = EnvironmentUpdate::parse(br#"{"config": {"type": "self_hosted"}}"#).unwrap();
    let error = stored.update(change, EVENING).unwrap_err();
    assert_eq!((error.status, error.code), (400, Some("invalid_config_type_change")));
}

#[test]
fn an_archived_environment_cannot_be_updated() {
    let archived = create(&json!({ "name": "e" })).archive(EVENING).unwrap();
    assert_eq!(archived.archive(EVENING), None);
    let error = archived.update(EnvironmentUpdate::parse(b"{}").unwrap(), EVENING).unwrap_err();
    assert_eq!((error.status, error.code), (400, Some("environment_archived")));
}

#[test]
fn an_update_cannot_bring_in_what_is_not_built() {
    let stored = create(&json!({ "name": "e" }));
    let change =
        EnvironmentUpdate::parse(br#"{"config": {"type": "cloud", "packages": {"pip": ["x"]}}}"#).unwrap();
    let text = message(stored.update(change, EVENING));
    assert_eq!(text, "config.packages.pip: Installing packages is not supported by this server yet");
}
