//! Environments.

use std::sync::LazyLock;

use api::ids::kind;

use crate::Error;
use crate::backend::Row;
use crate::backend::Value;
use crate::records::Noun;
use crate::records::Record;
use crate::records::Texts;

/// An environment.
pub type EnvironmentRecord = Record<EnvironmentColumns>;

/// Columns of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentColumns {
    /// Several may have the same.
    pub name: String,
    /// The environment as clients read it.
    pub body: String,
    /// Settings of its sandboxes beyond that, JSON.
    pub sandbox: Option<String>,
}

impl Noun for EnvironmentColumns {
    type Kind = kind::Environment;
    const NAME: &'static str = "environment";
    const TABLE: &'static str = "environment";
    const COLUMNS: &'static [&'static str] = &["name", "body", "sandbox"];
    const REFERENCES: &'static str = "SELECT count(*) FROM session WHERE environment_id = $1";

    fn texts() -> &'static Texts {
        static TEXTS: LazyLock<Texts> = LazyLock::new(Texts::of::<EnvironmentColumns>);
        &TEXTS
    }

    fn values(&self) -> Vec<Value> {
        let Self { name, body, sandbox } = self;
        vec![name.into(), body.into(), sandbox.as_ref().into()]
    }

    fn read(row: &mut Row) -> Result<Self, Error> {
        Ok(Self {
            name: row.text("name of an environment")?,
            body: row.text("body of an environment")?,
            sandbox: row.optional_text("sandbox of an environment")?,
        })
    }
}
