//! `config show`: what is in effect, as TOML that could be given back, with each value's origin and without secrets.

use std::fmt::Write;

use toml::Table;
use toml::Value;

use super::Config;
use super::quote;

const MASK: &str = "********";

impl Config {
    /// One line per value.
    pub(crate) fn show(&self) -> String {
        let mut lines = Vec::new();
        collect("", &self.table, &mut lines);
        let width = lines.iter().map(|(key, value)| key.len() + value.len() + 3).max().unwrap_or(0).min(72);
        let mut text = String::new();
        for (key, value) in &lines {
            let line = format!("{key} = {value}");
            let origin = self.origins.get(key).map_or_else(|| "default".to_owned(), ToString::to_string);
            writeln!(text, "{line:width$}  # {origin}").expect("a string takes every write");
        }
        text
    }
}

fn collect(prefix: &str, table: &Table, lines: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { quote(name) } else { format!("{prefix}.{}", quote(name)) };
        match value {
            Value::Table(inner) => collect(&key, inner, lines),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => lines.push((key.clone(), mask(&key, value))),
        }
    }
}

/// The value as TOML; keys, headers, scripts' own text and the password of an address are not shown.
fn mask(key: &str, value: &Value) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    if name == "api_key" || name.contains("secret") || name == "token" || key.contains(".headers.") {
        return format!("\"{MASK}\"");
    }
    match value {
        Value::String(text) if key == "database.url" => Value::String(without_password(text)).to_string(),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => value.to_string(),
    }
}

/// `postgres://user:password@host/db` without its password. A `password=` of the other syntax is hidden too.
pub(crate) fn without_password(url: &str) -> String {
    if let Some((scheme, rest)) = url.split_once("://")
        && let Some((login, host)) = rest.rsplit_once('@')
        && let Some((user, _)) = login.split_once(':')
    {
        return format!("{scheme}://{user}:{MASK}@{host}");
    }
    let words: Vec<String> = url
        .split(' ')
        .map(|word| if word.starts_with("password=") { format!("password={MASK}") } else { word.to_owned() })
        .collect();
    words.join(" ")
}
