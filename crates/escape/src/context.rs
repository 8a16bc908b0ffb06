//! What the outside tells the attacker, so that an escape can be recognised.

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
    /// Memory that the sandbox may use, if the host bounds it.
    pub(crate) memory_bytes_max: Option<u64>,
    /// Processes that it may have.
    pub(crate) processes_max: Option<u64>,
    /// What its files may take, if the host bounds it.
    pub(crate) disk_bytes_max: Option<u64>,
    /// How many files it may have.
    pub(crate) disk_files_max: Option<u64>,
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
                "memory" => context.memory_bytes_max = Some(value.parse().ok()?),
                "processes" => context.processes_max = Some(value.parse().ok()?),
                "disk" => context.disk_bytes_max = Some(value.parse().ok()?),
                "files" => context.disk_files_max = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        Some(context)
    }

    /// Whether bytes that were got hold the token.
    pub(crate) fn is_betrayed_by(&self, bytes: &[u8]) -> bool {
        !self.token.is_empty()
            && bytes.windows(self.token.len()).any(|window| window == self.token.as_bytes())
    }
}
