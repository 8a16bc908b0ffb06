//! Environments: creation, nested updates, what is not built yet.

use api::environments::Config;
use api::environments::Environment;
use api::environments::EnvironmentCreate;
use api::environments::EnvironmentUpdate;
use api::environments::SandboxSettings;
use api::environments::SandboxUpdate;
use api::environments::check_mcp_servers;
use api::ids::EnvironmentId;
use api::mcp::McpServer;
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
fn workers_are_not_built() {
    let text = refused(json!({ "type": "self_hosted" }));
    assert_eq!(text, "config.type: An environment of type 'self_hosted' is not supported by this server yet");
}

#[test]
fn limited_networking_and_packages_are_answered_as_they_were_given() {
    let config = json!({
        "type": "cloud",
        "networking": {
            "type": "limited", "allow_mcp_servers": true, "allow_package_managers": true,
            "allowed_hosts": ["Example.com", "*.a-b.example"],
        },
        "packages": {
            "type": "packages", "apt": ["ffmpeg"], "cargo": ["hyperfine@1.18.0"], "gem": ["rails:7.1.0"],
            "go": ["golang.example/x/tools/cmd/goimports@latest"], "npm": ["@scope/express@4.18.0"],
            "pip": ["pandas==2.2", "black[d] >= 24"],
        },
    });
    let environment = create(&json!({ "name": "e", "config": config }));
    assert_eq!(parse(&environment.render())["config"], config);
    let defaults =
        create(&json!({ "name": "e", "config": { "type": "cloud", "networking": { "type": "limited" } } }));
    let expected = json!({
        "type": "limited", "allow_mcp_servers": false, "allow_package_managers": false, "allowed_hosts": [],
    });
    assert_eq!(parse(&defaults.render())["config"]["networking"], expected);
}

#[test]
fn an_allowed_host_is_a_plain_name_or_everything_below_one() {
    for wrong in [
        "https://a.com",
        "a.com:443",
        "a.com/x",
        "a b.com",
        "*",
        "*.",
        "*.*.a.com",
        "a.*.com",
        "*a.com",
        "a..com",
        ".a.com",
        "a.com.",
        "-a.com",
        "a-.com",
        "_a.com",
        "ä.com",
        "user@a.com",
        "[::1]",
    ] {
        let networking = json!({ "type": "limited", "allowed_hosts": ["b.com", wrong] });
        let text = refused(json!({ "type": "cloud", "networking": networking }));
        assert!(
            text.starts_with("config.networking.allowed_hosts.1: Input should be a hostname"),
            "{wrong}: {text}"
        );
    }
    for address in ["127.0.0.1", "2130706433", "0x7f.1", "*.10.0.0.1"] {
        let networking = json!({ "type": "limited", "allowed_hosts": [address] });
        let text = refused(json!({ "type": "cloud", "networking": networking }));
        assert!(text.contains("IP addresses are not supported"), "{address}: {text}");
    }
}

#[test]
fn a_package_is_never_an_option_of_its_manager() {
    for wrong in ["--index-url=http://a.com", " -r", "a\nb", "   "] {
        let text = refused(json!({ "type": "cloud", "packages": { "pip": ["numpy", wrong] } }));
        assert!(text.starts_with("config.packages.pip.1: Input should be a package"), "{wrong}: {text}");
    }
}

#[test]
fn packages_under_limited_networking_need_their_managers() {
    let message_of = |change: Value, stored: &Environment| {
        message(stored.update(EnvironmentUpdate::parse(&bytes(&change)).unwrap(), EVENING))
    };
    let expected =
        "config.networking.allow_package_managers: Input should be true when `packages` are specified";
    let open =
        create(&json!({ "name": "e", "config": { "type": "cloud", "packages": { "pip": ["numpy"] } } }));
    let limited = json!({ "type": "limited", "allowed_hosts": ["a.com"] });
    assert_eq!(message_of(json!({ "config": { "type": "cloud", "networking": limited } }), &open), expected);
    let both = json!({ "type": "limited", "allow_package_managers": true });
    let closed = update(&open, &json!({ "config": { "type": "cloud", "networking": both } })).unwrap();
    let shut = json!({ "type": "limited", "allow_package_managers": false });
    assert_eq!(message_of(json!({ "config": { "type": "cloud", "networking": shut } }), &closed), expected);
}

#[test]
fn an_mcp_server_has_to_be_within_the_allowed_hosts() {
    let server = |url: &str| McpServer { name: "tracker".into(), url: url.into() };
    let config = |networking: Value| {
        let config = json!({ "type": "cloud", "networking": networking });
        create(&json!({ "name": "e", "config": config })).config
    };
    let limited = config(json!({ "type": "limited", "allowed_hosts": ["a.com", "*.b.com"] }));
    for inside in ["https://a.com/mcp", "http://A.com:8080", "https://u:p@x.B.com/?q", "https://x.y.b.com."] {
        check_mcp_servers(&limited, &[server(inside)]).unwrap();
    }
    for outside in [
        "https://www.a.com/mcp",
        "https://b.com",
        "https://xb.com",
        "https://evil.com/@a.com",
        "https://[::1]/",
    ] {
        let error = check_mcp_servers(&limited, &[server("https://a.com"), server(outside)]).unwrap_err();
        assert!(error.message.contains("'tracker'"), "{outside}: {}", error.message);
    }
    check_mcp_servers(&limited, &[]).unwrap();
    let open = [json!({ "type": "unrestricted" }), json!({ "type": "limited", "allow_mcp_servers": true })];
    for networking in open {
        check_mcp_servers(&config(networking), &[server("https://anywhere.com")]).unwrap();
    }
}

#[test]
fn only_an_exact_version_pins_a_package() {
    let of = |manager: &str, package: &str| {
        let config = json!({ "type": "cloud", "packages": { manager: [package] } });
        let config = create(&json!({ "name": "e", "config": config })).config;
        let Config::Cloud { packages, .. } = config else { panic!("{config:?}") };
        packages.are_pinned()
    };
    for (manager, package) in [
        ("apt", "jq=1.6-2.1"),
        ("cargo", "hyperfine@1.18.0"),
        ("gem", "rails:7.1.0"),
        ("go", "a.com/x/y@v1.2.3-rc.1"),
        ("npm", "@s/express@4.18.0"),
        ("pip", "pandas==2.2"),
        ("pip", " pandas===2.2 "),
    ] {
        assert!(of(manager, package), "{manager} {package}");
    }
    for (manager, package) in [
        ("apt", "jq"),
        ("apt", "jq=1.*"),
        ("cargo", "hyperfine"),
        ("cargo", "hyperfine@1.18"),
        ("gem", "rails"),
        ("go", "a.com/x/y@latest"),
        ("go", "a.com/x/y"),
        ("npm", "@s/express"),
        ("npm", "express@4"),
        ("npm", "express@latest"),
        ("pip", "pandas"),
        ("pip", "pandas>=2"),
        ("pip", "pandas==2.*"),
    ] {
        assert!(!of(manager, package), "{manager} {package}");
    }
}

#[test]
fn settings_of_the_sandbox_are_kept_cleared_or_replaced() {
    let change = |body: Value| SandboxUpdate::parse(&bytes(&body)).unwrap();
    let first = SandboxSettings::default()
        .update(change(json!({
            "image": "python-3.12", "setup": "echo hi", "resources": "large", "variables": { "A": "1", "_b2": "" },
        })))
        .unwrap();
    let second =
        first.update(change(json!({ "setup": null, "variables": { "A": null, "C": "3" } }))).unwrap();
    let expected = SandboxSettings {
        setup: None,
        variables: [("_b2".to_owned(), String::new()), ("C".to_owned(), "3".to_owned())].into(),
        ..first
    };
    assert_eq!(second, expected);
    assert_eq!(second.update(change(json!({}))).unwrap(), second);
    let cleared = change(json!({ "image": null, "variables": null, "resources": null }));
    assert_eq!(second.update(cleared).unwrap(), SandboxSettings::default());
    let rendered = parse(&second.render(&EnvironmentId::parse("env_1").unwrap()));
    let expected = json!({
        "type": "environment_sandbox", "environment_id": "env_1", "image": "python-3.12", "setup": null,
        "variables": { "C": "3", "_b2": "" }, "resources": "large",
    });
    assert_eq!(rendered, expected);
}

#[test]
fn settings_of_the_sandbox_of_a_wrong_form_are_named() {
    for (body, field) in [
        (json!({ "image": "../etc" }), "image"),
        (json!({ "image": "" }), "image"),
        (json!({ "resources": "Large" }), "resources"),
        (json!({ "setup": "a\u{0}b" }), "setup"),
        (json!({ "setup": 1 }), "setup"),
        (json!({ "variables": { "1A": "x" } }), "variables.1A"),
        (json!({ "variables": { "A=B": "x" } }), "variables.A=B"),
        (json!({ "variables": { "A": 1 } }), "variables.A"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let text = message(SandboxUpdate::parse(&bytes(&body)));
        assert!(text.starts_with(&format!("{field}: ")), "{text} should name {field}");
    }
    let many: serde_json::Map<String, Value> = (0..300).map(|n| (format!("V{n}"), json!(""))).collect();
    let update = SandboxUpdate::parse(&bytes(&json!({ "variables": many }))).unwrap();
    assert!(message(SandboxSettings::default().update(update)).starts_with("variables: "));
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
    assert_eq!(error.code, Some("invalid_config_type_change"));
}

#[test]
fn an_archived_environment_cannot_be_updated() {
    let archived = create(&json!({ "name": "e" })).archive(EVENING).unwrap();
    assert_eq!(archived.archive(EVENING), None);
    let error = archived.update(EnvironmentUpdate::parse(b"{}").unwrap(), EVENING).unwrap_err();
    assert_eq!(error.code, Some("environment_archived"));
}
