//! Agents and all their versions.

use std::sync::LazyLock;

use api::ids::kind;

use crate::Error;
use crate::backend::Row;
use crate::backend::Value;
use crate::records::Noun;
use crate::records::Record;
use crate::records::Texts;

/// An agent as it is or was at one version.
pub type AgentRecord = Record<AgentColumns>;

/// Columns of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentColumns {
    /// Rises with every update.
    pub version: i64,
    /// The agent as clients read it.
    pub body: String,
}

impl Noun for AgentColumns {
    type Kind = kind::Agent;
    const NAME: &'static str = "agent";
    const TABLE: &'static str = "agent";
    const COLUMNS: &'static [&'static str] = &["version", "body"];
    const VERSIONS: Option<&'static str> = Some("agent_version");

    fn texts() -> &'static Texts {
        static TEXTS: LazyLock<Texts> = LazyLock::new(Texts::of::<AgentColumns>);
        &TEXTS
    }

    fn values(&self) -> Vec<Value> {
        let Self { version, body } = self;
        vec![(*version).into(), body.into()]
    }

    fn read(row: &mut Row) -> Result<Self, Error> {
        Ok(Self { version: row.int("version of an agent")?, body: row.text("body of an agent")? })
    }
}
