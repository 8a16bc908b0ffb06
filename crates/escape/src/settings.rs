//! The configuration of the servers that are attacked: the operator's, with small bounds, the usual network, and no model
//! but the script.

use toml::Table;
use toml::Value;

/// The name under which the script is asked.
pub(crate) const MODEL: &str = "escape";
/// Small bounds, so that taking twice as much does this host no harm.
const MEMORY_BYTES_MAX: u32 = 384 << 20;
const PROCESSES_MAX: u32 = 256;
const DISK_BYTES_MAX: u32 = 192 << 20;
const DISK_FILES_MAX: u32 = 4_000;

/// The bounds as the attacker reads them. `shares_memory`: this host bounds the memory of all processes together.
pub(crate) fn bounds(shares_memory: bool) -> [String; 5] {
    [
        format!("processes={PROCESSES_MAX}"),
        format!("memory={MEMORY_BYTES_MAX}"),
        format!("shared-memory={shares_memory}"),
        format!("disk={DISK_BYTES_MAX}"),
        format!("files={DISK_FILES_MAX}"),
    ]
}

/// The operator's settings, changed for the attack; `route` leads to the host that sandboxes may reach.
pub(crate) fn attacked(mut settings: Table, script: &str, route: Value) -> Table {
    let sandbox = section(&mut settings, "sandbox");
    for (key, bound) in [
        ("memory_bytes_max", MEMORY_BYTES_MAX),
        ("processes_max", PROCESSES_MAX),
        ("disk_bytes_max", DISK_BYTES_MAX),
        ("disk_files_max", DISK_FILES_MAX),
    ] {
        sandbox.insert(key.to_owned(), i64::from(bound).into());
    }
    let network = section(&mut settings, "network");
    network.insert("enabled".to_owned(), true.into());
    for key in ["permitted_networks", "requests", "blocked_hosts"] {
        network.insert(key.to_owned(), Value::Array(Vec::new()));
    }
    network.insert("routes".to_owned(), Value::Array(vec![route]));
    let provider = table([("kind", "scripted".into()), ("inline", script.into())]);
    let routes = table([("pattern", "*".into()), ("provider", MODEL.into())]);
    let models = table([("providers", table([(MODEL, provider)])), ("routes", Value::Array(vec![routes]))]);
    settings.insert("models".to_owned(), models);
    settings
}

/// The same without a network.
pub(crate) fn without_network(settings: &Table) -> Table {
    let mut settings = settings.clone();
    section(&mut settings, "network").insert("enabled".to_owned(), false.into());
    settings
}

/// Whether sandboxes are made by the server itself, so that there are checkpoints.
pub(crate) fn is_embedded(settings: &Table) -> bool {
    let backend = settings.get("sandbox").and_then(|sandbox| sandbox.get("backend")).and_then(Value::as_str);
    backend.is_none_or(|backend| backend == "embedded")
}

fn section<'a>(settings: &'a mut Table, name: &str) -> &'a mut Table {
    let section = settings.entry(name).or_insert_with(|| Value::Table(Table::new()));
    if !section.is_table() {
        *section = Value::Table(Table::new());
    }
    section.as_table_mut().expect("it was just made one")
}

fn table<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Table(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
