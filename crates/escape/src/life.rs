//! The lives of sandboxes in which the attacker is let loose, and what each of them is for.

use serde_json::Value;
use serde_json::json;

use crate::friend::FRIEND;

/// Attacks of each life.
const WALLS: [&str; 3] = ["kernel", "walls", "network"];
/// With those that use up what there is, too.
const ALL: [&str; 4] = ["kernel", "walls", "network", "hogs"];
/// With a look at what was prepared, too.
const PREPARED: [&str; 4] = ["kernel", "walls", "network", "prepared"];

/// One life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// A new sandbox, which may reach everything public.
    New,
    /// The same session's next sandbox, over what the attacker has left.
    Again,
    /// A new one that may reach one host.
    Few,
    /// A new one that may reach no host.
    Nobody,
    /// A new one on a server without a network.
    Absent,
    /// One over a checkpoint that an attacker has prepared.
    Restored,
}

impl Life {
    /// Every life.
    pub(crate) const ALL: [Self; 6] =
        [Self::New, Self::Again, Self::Few, Self::Nobody, Self::Absent, Self::Restored];

    /// What people read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "in a new sandbox that may reach every public host",
            Self::Again => "after a hostile former life",
            Self::Few => "in a new sandbox that may reach one host",
            Self::Nobody => "in a new sandbox that may reach no host",
            Self::Absent => "in a new sandbox without a network",
            Self::Restored => "after a restore of what an attacker prepared",
        }
    }

    /// The groups of attacks, in the order in which they are run.
    pub(crate) fn groups(self) -> &'static [&'static str] {
        match self {
            Self::New | Self::Again => &ALL,
            Self::Few | Self::Nobody | Self::Absent => &WALLS,
            Self::Restored => &PREPARED,
        }
    }

    /// What the attacker is told of its network.
    pub(crate) fn network(self) -> &'static str {
        match self {
            Self::New | Self::Again | Self::Restored => "unrestricted",
            Self::Few => "few",
            Self::Nobody => "nobody",
            Self::Absent => "absent",
        }
    }

    /// The networking of its environment.
    pub(crate) fn networking(self) -> Value {
        match self {
            Self::New | Self::Again | Self::Restored | Self::Absent => json!({"type": "unrestricted"}),
            Self::Few => json!({"type": "limited", "allowed_hosts": [FRIEND]}),
            Self::Nobody => json!({"type": "limited", "allowed_hosts": []}),
        }
    }
}
