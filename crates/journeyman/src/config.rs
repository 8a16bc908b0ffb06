//! The configuration: four layers, each value with the place that it comes from.
//!
//! Built-in defaults < `journeyman.toml` < environment < flags. The layers are merged as TOML tables and read into
//! typed settings after each one, so that a key that does not exist, or a value that makes no sense, is blamed on the
//! layer that brought it.

pub(crate) mod settings;
mod show;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use toml::Table;
use toml::Value;

pub(crate) use settings::Settings;
pub(crate) use show::without_password;

use crate::cli::Common;
use crate::environment::Environment;

/// The commented defaults.
pub(crate) const DEFAULTS: &str = include_str!("default.toml");
/// The configuration file that is read when none is named.
const FILE: &str = "journeyman.toml";
/// Variables that set one key each.
const VARIABLES: [(&str, &str); 4] = [
    ("JOURNEYMAN_LISTEN", "server.listen"),
    ("JOURNEYMAN_DATA", "server.data"),
    ("JOURNEYMAN_DATABASE", "database.url"),
    ("JOURNEYMAN_LOG", "log.level"),
];

/// What is in effect.
pub(crate) struct Config {
    /// The settings.
    pub(crate) settings: Settings,
    table: Table,
    origins: BTreeMap<String, Origin>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Default,
    File(PathBuf),
    Variable(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Config {
    /// Reads every layer.
    pub(crate) fn load(environment: &Environment, flags: &Common, listen: Option<&str>) -> Result<Self> {
        let defaults: Table = DEFAULTS.parse().expect("the built-in defaults are TOML");
        let mut layers = Layers { table: Table::new(), origins: BTreeMap::new() };
        layers.lay("", defaults, &Origin::Default);
        if let Some((path, table)) = file(flags.config.as_deref())? {
            layers.lay("", table, &Origin::File(path.clone()));
            layers.read().with_context(|| format!("read the configuration file {}", path.display()))?;
        }
        for (variable, key) in VARIABLES {
            if let Some(value) = environment.get(variable) {
                layers.set(key, value.into(), &Origin::Variable(variable));
                layers.read().with_context(|| format!("read the environment variable {variable}"))?;
            }
        }
        layers.providers(environment);
        let data = flags.data.as_deref().map(Path::to_string_lossy);
        let flags = [
            ("--listen", "server.listen", listen),
            ("--data", "server.data", data.as_deref()),
            ("--database", "database.url", flags.database.as_deref()),
        ];
        for (flag, key, value) in flags {
            if let Some(value) = value {
                layers.set(key, value.into(), &Origin::Flag(flag));
            }
        }
        let mut settings = layers.read()?;
        settings.models.resolve_keys(|name| environment.get(name).map(str::to_owned));
        Ok(Self { settings, table: layers.table, origins: layers.origins })
    }

    /// One section as it is in effect.
    pub(crate) fn section(&self, name: &str) -> Option<&Value> {
        self.table.get(name)
    }

    /// Whether a value was left at its default.
    pub(crate) fn is_default(&self, key: &str) -> bool {
        self.origins.get(key).is_none_or(|origin| *origin == Origin::Default)
    }
}

/// The configuration file, which must exist only when it was named.
fn file(named: Option<&Path>) -> Result<Option<(PathBuf, Table)>> {
    let path = named.unwrap_or_else(|| Path::new(FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("read the configuration file {}", path.display()));
        }
    };
    let table = text.parse().map_err(|error| anyhow!("{error}"));
    let table = table.with_context(|| format!("read the configuration file {}", path.display()))?;
    Ok(Some((path.to_path_buf(), table)))
}

/// The layers so far, merged.
struct Layers {
    table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Puts a whole table over what is there.
    fn lay(&mut self, prefix: &str, table: Table, origin: &Origin) {
        for (name, value) in table {
            let key = if prefix.is_empty() { quote(&name) } else { format!("{prefix}.{}", quote(&name)) };
            match value {
                Value::Table(inner) => {
                    // A table without keys is kept: `[models.providers.x]` may be one.
                    self.table_at(&key);
                    self.lay(&key, inner, origin);
                }
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => self.set(&key, value, origin),
            }
        }
    }

    /// Sets one value. A scalar in the place of a table, or the other way round, is found when the settings are read.
    fn set(&mut self, key: &str, value: Value, origin: &Origin) {
        let (parent, name) = split(key);
        self.table_at(parent).insert(unquote(name), value);
        self.origins.insert(key.to_owned(), origin.clone());
    }

    fn table_at(&mut self, key: &str) -> &mut Table {
        let mut table = &mut self.table;
        for name in names(key) {
            let value = table.entry(unquote(name)).or_insert_with(|| Value::Table(Table::new()));
            if !value.is_table() {
                *value = Value::Table(Table::new());
            }
            table = value.as_table_mut().expect("it was just made one");
        }
        table
    }

    fn has(&self, key: &str) -> bool {
        let mut value = None;
        let mut table = Some(&self.table);
        for name in names(key) {
            value = table.and_then(|table| table.get(&unquote(name)));
            table = value.and_then(Value::as_table);
        }
        value.is_some()
    }

    /// Makes the providers that the environment asks for, and routes to them what no route of the file takes.
    fn providers(&mut self, environment: &Environment) {
        let key = ["JOURNEYMAN_ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY"];
        let is_anthropic = self.provider(
            environment,
            "anthropic",
            "messages",
            &[("api_key", &key), ("base_url", &["JOURNEYMAN_ANTHROPIC_BASE_URL"])],
        );
        // A key alone does not say where a compatible server is.
        let is_openai = environment.get("JOURNEYMAN_OPENAI_BASE_URL").is_some()
            && self.provider(
                environment,
                "openai",
                "chat",
                &[("base_url", &["JOURNEYMAN_OPENAI_BASE_URL"]), ("api_key", &["JOURNEYMAN_OPENAI_API_KEY"])],
            );
        let is_scripted =
            self.provider(environment, "scripted", "scripted", &[("script", &["JOURNEYMAN_SCRIPT"])]);
        if is_scripted {
            self.route("*", "scripted", "JOURNEYMAN_SCRIPT");
        }
        if is_anthropic && is_openai {
            self.route("claude-*", "anthropic", "JOURNEYMAN_ANTHROPIC_API_KEY");
        }
        if is_openai {
            self.route("*", "openai", "JOURNEYMAN_OPENAI_BASE_URL");
        } else if is_anthropic {
            self.route("*", "anthropic", "JOURNEYMAN_ANTHROPIC_API_KEY");
        }
    }

    /// Sets what the environment says of one provider; of several variables for one key the first one that is set
    /// counts. True when it says anything.
    fn provider(
        &mut self,
        environment: &Environment,
        name: &str,
        kind: &str,
        keys: &[(&str, &[&'static str])],
    ) -> bool {
        let path = format!("models.providers.{name}");
        let mut is_set = false;
        for (key, variables) in keys {
            let variable = variables.iter().find(|variable| environment.get(variable).is_some());
            let Some(variable) = variable else { continue };
            let value = environment.get(variable).unwrap_or_default();
            if !self.has(&format!("{path}.kind")) {
                self.set(&format!("{path}.kind"), kind.into(), &Origin::Variable(variable));
            }
            self.set(&format!("{path}.{key}"), value.into(), &Origin::Variable(variable));
            is_set = true;
        }
        is_set
    }

    fn route(&mut self, pattern: &str, provider: &str, variable: &'static str) {
        let mut route = Table::new();
        route.insert("pattern".to_owned(), pattern.into());
        route.insert("provider".to_owned(), provider.into());
        let routes = self.table_at("models").entry("routes").or_insert_with(|| Value::Array(Vec::new()));
        // A file whose routes are no list is refused before the environment is looked at.
        if let Value::Array(routes) = routes {
            routes.push(Value::Table(route));
        }
        self.origins.entry("models.routes".to_owned()).or_insert(Origin::Variable(variable));
    }

    fn read(&self) -> Result<Settings> {
        let value = Value::Table(self.table.clone());
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.into_inner();
            let message = inner.message();
            anyhow!("{path}: {message}")
        })
    }
}

/// The names of a dotted key; a quoted name may hold dots.
fn names(key: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = key;
    while !rest.is_empty() {
        let end = match rest.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(rest.len(), |end| end + 2),
            None => rest.find('.').unwrap_or(rest.len()),
        };
        names.push(&rest[..end]);
        rest = rest[end..].trim_start_matches('.');
    }
    names
}

fn split(key: &str) -> (&str, &str) {
    let name = names(key).last().copied().unwrap_or_default();
    (key[..key.len() - name.len()].trim_end_matches('.'), name)
}

fn quote(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare && !name.is_empty() { name.to_owned() } else { format!("\"{name}\"") }
}

fn unquote(name: &str) -> String {
    name.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests;
