//! What the outside tells the attacker, so that an escape can be recognised.

/// What the session may reach.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Network {
    /// Every public address.
    #[default]
    Unrestricted,
    /// The friend, and nobody else.
    Few,
    /// Nobody, although there is a door.
    Nobody,
    /// There is no door.
    Absent,
}

/// Facts about the host. All of them are harmless to know.
#[derive(Default)]
pub(crate) struct Context {
    /// The text of every canary.
    pub(crate) token: String,
    /// Files of the host that hold the token.
    pub(crate) canaries: Vec<String>,
    /// Sockets of the host in its file system.
    pub(crate) sockets: Vec<String>,
    /// A port on the host's loopback that answers with the token.
    pub(crate) port: u16,
    /// An abstract socket of the host that answers with the token.
    pub(crate) abstract_name: String,
    /// The host's namespaces, such as `net:[4026531840]`.
    pub(crate) namespaces: Vec<String>,
    /// A process of the host.
    pub(crate) process: i32,
    /// Who runs the server.
    pub(crate) user: u32,
    /// What may be reached.
    pub(crate) network: Network,
    /// A host that may be reached where anybody may; it greets whoever comes.
    pub(crate) friend: String,
    /// What it says.
    pub(crate) greeting: String,
    /// Memory that the sandbox may use.
    pub(crate) memory_bytes_max: u64,
    /// Whether the host bounds that for all its processes together.
    pub(crate) is_memory_shared: bool,
    /// Processes that it may have.
    pub(crate) processes_max: Option<u64>,
    /// What its files may take.
    pub(crate) disk_bytes_max: u64,
    /// How many files it may have.
    pub(crate) disk_files_max: u64,
}

impl Context {
    /// Reads `name=value` words. `None` when one of them means nothing.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut context = Self::default();
        for word in words {
            let (name, value) = word.split_once('=')?;
            match name {
                "token" => value.clone_into(&mut context.token),
                "canary" => context.canaries.push(value.to_owned()),
                "socket" => context.sockets.push(value.to_owned()),
                "port" => context.port = value.parse().ok()?,
                "abstract" => value.clone_into(&mut context.abstract_name),
                "namespace" => context.namespaces.push(value.to_owned()),
                "process" => context.process = value.parse().ok()?,
                "user" => context.user = value.parse().ok()?,
                "network" => context.network = Network::parse(value)?,
                "friend" => value.clone_into(&mut context.friend),
                "greeting" => value.clone_into(&mut context.greeting),
                "memory" => context.memory_bytes_max = value.parse().ok()?,
                "shared-memory" => context.is_memory_shared = value.parse().ok()?,
                "processes" => context.processes_max = Some(value.parse().ok()?),
                "disk" => context.disk_bytes_max = value.parse().ok()?,
                "files" => context.disk_files_max = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(context)
    }

    /// Whether bytes that were got hold the token.
    pub(crate) fn is_betrayed_by(&self, bytes: &[u8]) -> bool {
        holds(bytes, &self.token)
    }

    /// Whether bytes that were got are the friend's.
    pub(crate) fn is_greeted_by(&self, bytes: &[u8]) -> bool {
        holds(bytes, &self.greeting)
    }
}

impl Network {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "unrestricted" => Some(Self::Unrestricted),
            "few" => Some(Self::Few),
            "nobody" => Some(Self::Nobody),
            "absent" => Some(Self::Absent),
            _ => None,
        }
    }

    /// Whether the friend may be reached.
    pub(crate) fn has_friend(self) -> bool {
        matches!(self, Self::Unrestricted | Self::Few)
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
