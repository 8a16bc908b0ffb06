//! What environments install, through the API and in real sandboxes: built once, there in every session, and visible when
//! it fails; and what their sandboxes reach, which is what clients are shown.

mod containers;
mod egress;
mod registries;
mod root;
pub(crate) mod site;

use serde_json::json;

use self::site::Site;

#[test]
fn what_a_setup_writes_is_there_in_every_session() {
    let site = Site::new("");
    let setup = "set -e\nprintf '#!/bin/sh\\necho hello\\n' > /usr/local/bin/greet\nchmod +x /usr/local/bin/greet\n\
                 date +%s%N > made\necho it is set up\n";
    let environment = site.environment(&json!({"type": "cloud"}), &json!({"setup": setup}));
    let build = site.built(&environment);
    assert_eq!(build["status"], "ready", "{build}");
    let first = site.run(&environment, "greet; cat /workspace/made");
    assert!(!first.is_error && first.text.starts_with("hello\n"), "{first:?}");
    assert_eq!(site.run(&environment, "greet; cat /workspace/made"), first, "it was made once");
}

#[test]
fn a_setup_that_fails_is_shown_and_leaves_nothing() {
    let site = Site::new("");
    let setup = "echo one > /usr/local/half\necho one\necho two >&2\nexit 3\n";
    let environment = site.environment(&json!({"type": "cloud"}), &json!({"setup": setup}));
    let build = site.built(&environment);
    assert_eq!((&build["status"], &build["step"]), (&json!("failed"), &json!("setup")), "{build}");
    assert_eq!(build["error"], "setup failed with exit status 3");
    assert_eq!(build["log"], json!(["one", "two"]));
    let refused = site.run(&environment, "true");
    let text = &refused.text;
    assert!(refused.is_error && text.contains("setup failed with exit status 3"), "{text}");
    assert!(text.contains("one\ntwo"), "{text}");
    site.post(&format!("/x/v1/environments/{environment}/sandbox"), &json!({"setup": "echo whole > whole"}));
    assert_eq!(site.built(&environment)["status"], "ready");
    let run = site.run(&environment, "cat /workspace/whole; test ! -e /usr/local/half");
    assert!(!run.is_error && run.text.contains("whole"), "{run:?}");
}

#[test]
fn apt_over_the_files_of_the_host_says_what_to_do() {
    let site = Site::new("");
    let config = json!({"type": "cloud", "packages": {"apt": ["jq"]}});
    let build = site.built(&site.environment(&config, &json!({})));
    assert_eq!((&build["status"], &build["step"]), (&json!("failed"), &json!("apt")), "{build}");
    assert!(build["log"].to_string().contains("journeyman image build"), "{build}");
}
