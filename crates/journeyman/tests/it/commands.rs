//! `config`, `keys`, `doctor`, `migrate`, and how failures are told.

use crate::program::Program;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn an_unknown_key_of_the_file_in_the_current_folder_is_named_with_the_file() {
    let program = Program::new();
    std::fs::write(program.folder.path().join("journeyman.toml"), "[server]\nport = 1\n").unwrap();
    let output = program.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(output.stderr);
    assert!(told.contains("journeyman.toml") && told.contains("server.port"), "{told}");
}

#[test]
fn config_show_tells_values_and_origins_and_no_secret() {
    let program = Program::new();
    std::fs::write(program.folder.path().join("journeyman.toml"), "[log]\nlevel = \"debug\"\n").unwrap();
    let mut command = program.command(&["config", "show", "--listen", "127.0.0.1:9"]);
    let output = command.env("JOURNEYMAN_ANTHROPIC_API_KEY", "sk-canary").output().unwrap();
    let shown = text(output.stdout);
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("server.listen = \"127.0.0.1:9\"").ends_with("# --listen"));
    assert!(line("log.level = \"debug\"").ends_with("# journeyman.toml"));
    assert!(line("server.data = \"journeyman-data\"").ends_with("# default"));
    assert!(line("models.providers.anthropic.api_key").contains("********"));
    assert!(!shown.contains("sk-canary"), "{shown}");
}

#[test]
fn a_shown_configuration_can_be_given_back() {
    let program = Program::new();
    let shown = text(program.run(&["config", "show"]).stdout);
    std::fs::write(program.folder.path().join("shown.toml"), &shown).unwrap();
    let again = program.run(&["config", "show", "--config", "shown.toml"]);
    let values = |shown: &str| -> Vec<String> {
        shown.lines().map(|line| line.split("  # ").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&text(again.stdout)), values(&shown));
}

#[test]
fn a_key_is_made_listed_without_its_text_and_revoked() {
    let program = Program::new();
    let key = text(program.run(&["keys", "create", "--name", "laptop"]).stdout).trim().to_owned();
    assert!(key.starts_with("sk-jm-"), "{key}");
    let listed = text(program.run(&["keys", "list"]).stdout);
    assert!(listed.contains("laptop") && !listed.contains(&key), "{listed}");
    assert_eq!(program.serve(&[]).get("/v1/agents", Some(&key)).0, 200);
    let id = listed.split_whitespace().find(|word| word.starts_with("apikey_")).unwrap();
    assert!(program.run(&["keys", "revoke", id]).status.success());
    assert_eq!(program.serve(&[]).get("/v1/agents", Some(&key)).0, 401);
}

#[test]
fn doctor_tells_of_sandbox_store_and_models() {
    let program = Program::new();
    let told = text(program.run(&["doctor"]).stdout);
    for word in ["Sandbox", "mode", "Store", "SQLite", "Models", "JOURNEYMAN_ANTHROPIC_API_KEY"] {
        assert!(told.contains(word), "{word} is missing in\n{told}");
    }
    assert!(!told.contains("is on unknown"), "a data folder that is yet to be made is judged too\n{told}");
}

#[test]
fn migrate_makes_the_database() {
    let program = Program::new();
    assert!(program.run(&["migrate", "--data", "elsewhere"]).status.success());
    assert!(program.folder.path().join("elsewhere/journeyman.db").is_file());
}

#[test]
fn doctor_says_how_to_get_the_program_that_attacks_a_sandbox() {
    let program = Program::new();
    let alone = program.folder.path().join("journeyman");
    std::fs::copy(env!("CARGO_BIN_EXE_journeyman"), &alone).unwrap();
    let output = std::process::Command::new(&alone)
        .args(["doctor", "--escape"])
        .current_dir(program.folder.path())
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains("journeyman-escape") && told.contains("cargo build"), "{told}");
}
