//! Who we are for a registry: as the flags say, or as the operator told docker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use super::arguments::Pull;
use crate::environment::Environment;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
}

/// What to say to a registry.
pub(super) fn find(flags: &Pull, environment: &Environment, registry: &str) -> Result<RegistryAuth> {
    if let (Some(user), Some(path)) = (&flags.user, &flags.password_file) {
        let password = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        return Ok(RegistryAuth::Basic(user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let Some(path) = config(environment) else { return Ok(RegistryAuth::Anonymous) };
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        text => text.with_context(|| format!("read {}", path.display()))?,
    };
    let found = pick(&text, registry).with_context(|| format!("read {}", path.display()))?;
    Ok(found.map_or(RegistryAuth::Anonymous, |(user, password)| RegistryAuth::Basic(user, password)))
}

fn config(environment: &Environment) -> Option<PathBuf> {
    let folder = environment.get("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| environment.get("HOME").map(|home| PathBuf::from(home).join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

/// User and password for a registry; entries may be written as addresses.
fn pick(text: &str, registry: &str) -> Result<Option<(String, String)>> {
    let config: Config = serde_json::from_str(text).context("it is not the configuration of docker")?;
    let host = |key: &str| {
        let rest = key.trim_start_matches("https://").trim_start_matches("http://");
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    let entry = config.auths.iter().find(|(key, _)| host(key) == registry);
    // Entries without it are kept by a program of docker's.
    let Some(auth) = entry.and_then(|(_, entry)| entry.auth.as_deref()).filter(|auth| !auth.is_empty())
    else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(auth).with_context(|| format!("the entry for {registry} is no base64"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("the entry for {registry} is no text"))?;
    let (user, password) =
        text.split_once(':').with_context(|| format!("the entry for {registry} has no password"))?;
    Ok(Some((user.to_owned(), password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_of_the_registry_is_found() {
        let text = r#"{"auths":{"https://one.example.com/v1/":{"auth":"dTpwOnE="},"two.example.com:5000":{"auth":"YTpi"},
            "kept.example.com":{}},"credsStore":"x"}"#;
        let found = |registry| pick(text, registry).unwrap();
        assert_eq!(found("one.example.com"), Some(("u".to_owned(), "p:q".to_owned())));
        assert_eq!(found("two.example.com:5000"), Some(("a".to_owned(), "b".to_owned())));
        assert_eq!(found("two.example.com"), None);
        assert_eq!(found("kept.example.com"), None);
        assert!(pick(r#"{"auths":{"a.example.com":{"auth":"%"}}}"#, "a.example.com").is_err());
        assert!(pick("[", "a.example.com").is_err());
    }
}
