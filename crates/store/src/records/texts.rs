//! The SQL of a noun, put together once, so that databases can keep it prepared.

use super::Noun;

/// The statements of a noun.
pub struct Texts {
    pub(super) insert: Text,
    pub(super) keep_version: Text,
    pub(super) find: Text,
    pub(super) find_version: Text,
    pub(super) list: Text,
    pub(super) list_versions: Text,
    pub(super) replace: Text,
    pub(super) delete: Text,
    pub(super) delete_versions: Text,
    /// Reads whole records of the table, which is called `it`; a condition may follow.
    pub(crate) select: String,
}

/// A statement.
pub(super) struct Text {
    /// The attempt, for errors.
    pub(super) op: String,
    pub(super) sql: String,
}

impl Texts {
    /// Puts the statements of a noun together.
    pub(crate) fn of<N: Noun>() -> Self {
        let all = ["id", "workspace", "created_at", "updated_at", N::ARCHIVED];
        let all: Vec<&str> = all.iter().chain(N::COLUMNS).copied().collect();
        let changed = &all[3..];
        let versions = N::VERSIONS.unwrap_or(N::TABLE);
        let join = |columns: &[&str], write: &dyn Fn(usize, &str) -> String| {
            let written = columns.iter().enumerate().map(|(index, column)| write(index + 1, column));
            written.collect::<Vec<_>>().join(", ")
        };
        let names = all.join(", ");
        let marks = join(&all, &|number, _| format!("${number}"));
        let sets = join(changed, &|number, column| format!("{column} = ${number}"));
        let newer = join(changed, &|_, column| format!("{column} = excluded.{column}"));
        let read = join(&all, &|_, column| format!("it.{column}"));
        let guard = changed.len() + 1;
        let text = |attempt: &str, sql: String| Text { op: format!("{attempt} {}", N::NAME), sql };
        let table = N::TABLE;
        let select = format!("SELECT {read} FROM {table} it");
        let list = format!("{select} WHERE it.workspace = $1");
        let list_versions =
            format!("SELECT {read} FROM {versions} it WHERE it.workspace = $1 AND it.id = $2");
        Self {
            insert: text("insert", format!("INSERT INTO {table} ({names}) VALUES ({marks})")),
            keep_version: text(
                "keep a version of",
                format!(
                    "INSERT INTO {versions} ({names}) VALUES ({marks}) ON CONFLICT (id, version) DO UPDATE SET {newer}"
                ),
            ),
            find: text("read", format!("{list} AND it.id = $2")),
            find_version: text("read a version of", format!("{list_versions} AND it.version = $3")),
            list: text("list every", list),
            list_versions: text("list versions of", list_versions),
            replace: text(
                "replace",
                format!(
                    "UPDATE {table} SET {sets} WHERE workspace = ${guard} AND id = ${} AND updated_at = ${}",
                    guard + 1,
                    guard + 2
                ),
            ),
            delete_versions: text(
                "delete versions of",
                format!("DELETE FROM {versions} WHERE workspace = $1 AND id = $2"),
            ),
            delete: text("delete", format!("DELETE FROM {table} WHERE workspace = $1 AND id = $2")),
            select,
        }
    }
}
