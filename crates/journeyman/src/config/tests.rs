use std::path::Path;

use super::*;

fn load(file: Option<&Path>, variables: &[(&str, &str)], listen: Option<&str>) -> Result<Config> {
    let flags = Common { config: file.map(Path::to_path_buf), ..Common::default() };
    Config::load(&Environment::of(variables), &flags, listen)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn the_defaults_are_complete() {
    let config = load(None, &[], None).unwrap();
    assert_eq!(config.settings.server.listen.to_string(), "127.0.0.1:8400");
    assert!(config.settings.models.providers.is_empty());
    assert!(config.is_default("server.data"));
}

#[test]
fn flags_go_before_the_environment_and_the_environment_before_the_file() {
    let file = file("[server]\nlisten = \"127.0.0.1:1\"\ndata = \"from-file\"\n[log]\nlevel = \"debug\"\n");
    let variables = [("JOURNEYMAN_LISTEN", "127.0.0.1:2"), ("JOURNEYMAN_DATA", "from-env")];
    let config = load(Some(file.path()), &variables, Some("127.0.0.1:3")).unwrap();
    assert_eq!(config.settings.server.listen.to_string(), "127.0.0.1:3");
    assert_eq!(config.settings.server.data, Path::new("from-env"));
    assert_eq!(config.settings.log.level, "debug");
    let shown = config.show();
    let origin =
        |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().rsplit("# ").next().unwrap();
    assert_eq!(origin("server.listen"), "--listen");
    assert_eq!(origin("server.data"), "JOURNEYMAN_DATA");
    assert_eq!(origin("log.level"), file.path().to_str().unwrap());
    assert_eq!(origin("limits.streams_max"), "default");
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_key_and_the_file() {
    let file = file("[server]\nlisten_on = \"127.0.0.1:1\"\n");
    let error = format!("{:#}", load(Some(file.path()), &[], None).err().unwrap());
    assert!(error.contains("server.listen_on"), "{error}");
    assert!(error.contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_value_that_makes_no_sense_is_blamed_on_its_variable() {
    let error = format!("{:#}", load(None, &[("JOURNEYMAN_LISTEN", "everywhere")], None).err().unwrap());
    assert!(error.contains("JOURNEYMAN_LISTEN") && error.contains("server.listen"), "{error}");
}

#[test]
fn a_key_in_the_environment_makes_a_provider_and_a_route_and_is_not_shown() {
    let config =
        load(None, &[("ANTHROPIC_API_KEY", "sk-secret"), ("ANTHROPIC_BASE_URL", "http://us")], None).unwrap();
    let models = &config.settings.models;
    assert_eq!(models.routes.len(), 1);
    assert_eq!(models.routes[0].provider, "anthropic");
    let shown = config.show();
    assert!(!shown.contains("sk-secret") && !shown.contains("http://us"), "{shown}");
    assert!(shown.contains("models.providers.anthropic.api_key = \"********\""), "{shown}");
}

#[test]
fn our_variable_goes_before_the_general_one_and_the_password_of_a_database_is_hidden() {
    let variables = [
        ("JOURNEYMAN_ANTHROPIC_API_KEY", "ours"),
        ("ANTHROPIC_API_KEY", "theirs"),
        ("JOURNEYMAN_DATABASE", "postgres://me:hunter2@db/jm"),
    ];
    let config = load(None, &variables, None).unwrap();
    let model::ProviderConfig::Messages(provider) = &config.settings.models.providers["anthropic"] else {
        panic!("a key for the Messages API makes a provider of that kind");
    };
    assert_eq!(provider.api_key.as_ref().unwrap().expose(), "ours");
    assert!(config.show().contains("postgres://me:********@db/jm"), "{}", config.show());
}

#[test]
fn a_route_of_the_file_goes_before_those_of_the_environment() {
    let file = file(
        "[models.providers.local]\nkind = \"chat\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
         [[models.routes]]\npattern = \"gpt-*\"\nprovider = \"local\"\n[models.prices.\"gpt-4.1\"]\ninput = 1\noutput = 2\n",
    );
    let config = load(Some(file.path()), &[("JOURNEYMAN_SCRIPT", "script.toml")], None).unwrap();
    let providers: Vec<&str> =
        config.settings.models.routes.iter().map(|route| route.provider.as_str()).collect();
    assert_eq!(providers, ["local", "scripted"]);
    assert!(config.settings.models.prices.contains_key("gpt-4.1"));
}
