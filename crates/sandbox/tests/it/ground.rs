//! What the tests stand on: a data folder with a back end, and words for talking to a sandbox.

use std::ffi::OsString;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use api::ids::EventId;
use api::ids::Ids;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::time::Clock;
use sandbox::Backend;
use sandbox::Call;
use sandbox::Config;
use sandbox::Embedded;
use sandbox::Error;
use sandbox::Outcome;
use sandbox::Sandbox;
use sandbox::Spec;
use serde_json::value::RawValue;
use tempfile::TempDir;

/// An unprivileged user that every system has.
const NOBODY: u32 = 65534;
/// A user that only exists where [`GRANT`] makes him.
const GRANTED: u32 = 65532;
/// Runs a program as a user with subordinate ids.
const GRANT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/granted.sh");
/// How long something may take that is expected to happen soon.
const SOON: Duration = Duration::from_mins(1);

/// A data folder and what is done in it. Ends its spawner when it is dropped.
pub(crate) struct Ground {
    pub(crate) backend: Embedded,
    pub(crate) config: Config,
    pub(crate) ids: Ids,
    folder: TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::of(&[], None)
    }

    /// A ground whose spawner is an unprivileged user's.
    pub(crate) fn of_nobody() -> Self {
        // The runtime clears the environment, so there is no search path.
        Self::of(&["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], Some(NOBODY))
    }

    /// A ground whose spawner is root's, without a capability.
    pub(crate) fn of_root_without(capability: &str) -> Self {
        Self::of(&["/usr/bin/setpriv", &format!("--bounding-set=-{capability}")], None)
    }

    /// A ground for each mode, with its name.
    pub(crate) fn of_every_mode() -> [(&'static str, Self); 3] {
        [("root", Self::new()), ("single id", Self::of_nobody()), ("subordinate ids", Self::of_granted())]
    }

    /// A ground whose spawner is an unprivileged user's who has subordinate ids.
    pub(crate) fn of_granted() -> Self {
        Self::of(&["/usr/bin/sh", GRANT, &GRANTED.to_string()], Some(GRANTED))
    }

    /// A ground whose spawner is root's and finds no control groups.
    pub(crate) fn without_groups() -> Self {
        let hide = "umount -lR /sys/fs/cgroup; exec \"$@\"";
        Self::of(&["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh"], None)
    }

    fn of(prefix: &[&str], owner: Option<u32>) -> Self {
        Self::at(TempDir::new().unwrap(), prefix, owner)
    }

    fn at(folder: TempDir, prefix: &[&str], owner: Option<u32>) -> Self {
        let data_dir = folder.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        if let Some(owner) = owner {
            chown(folder.path(), Some(owner), Some(owner)).unwrap();
            chown(&data_dir, Some(owner), Some(owner)).unwrap();
        }
        let mut words: Vec<OsString> = prefix.iter().map(Into::into).collect();
        words.extend([env!("CARGO_BIN_EXE_sandbox-spawner").into(), data_dir.clone().into(), "60".into()]);
        let mut config = Config::new(&data_dir).unwrap();
        config.arguments = words.split_off(1);
        config.program = words.pop().unwrap().into();
        let ids = Ids::new(Clock::system());
        Self { backend: Embedded::new(config.clone()), config, ids, folder }
    }

    /// The same data folder with other settings, as for a server that was started anew.
    pub(crate) fn restarted(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.backend = Embedded::new(self.config.clone());
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    pub(crate) fn spec(&self) -> Spec {
        Spec::new(self.ids.make())
    }

    pub(crate) async fn provision(&self, spec: &Spec) -> Hands {
        let sandbox = self.backend.provision(spec).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        self.hands(sandbox)
    }

    pub(crate) fn hands(&self, sandbox: Arc<dyn Sandbox>) -> Hands {
        Hands::new(sandbox, &self.ids)
    }

    /// A new sandbox with default settings.
    pub(crate) async fn sandbox(&self) -> (SessionId, Hands) {
        let spec = self.spec();
        let hands = self.provision(&spec).await;
        (spec.session, hands)
    }

    pub(crate) fn upper(&self, session: &SessionId) -> PathBuf {
        self.data_dir().join("sandboxes").join(session.as_str()).join("upper")
    }

    /// Processes of the host that run the hand for this ground's spawner.
    pub(crate) async fn hand_pids(&self) -> Vec<i32> {
        let spawner = self.backend.spawner().await.unwrap().pid;
        children(spawner).into_iter().filter(|pid| !is_egress(*pid)).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A runtime of its own: the test's may be on its way out.
        let config = self.config.clone();
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Embedded::new(config).shut_down())
        });
        let ended = ended.join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
            assert!(self.folder.path().exists());
        }
    }
}

/// A sandbox and a thread whose shell is used.
pub(crate) struct Hands {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) ids: Ids,
    pub(crate) thread: ThreadId,
}

impl Hands {
    pub(crate) fn new(sandbox: Arc<dyn Sandbox>, ids: &Ids) -> Self {
        Self { sandbox, ids: ids.clone(), thread: ids.make() }
    }

    pub(crate) fn call(&self, command: &str) -> Call {
        let input = serde_json::json!({ "command": command });
        self.tool("bash", &input)
    }

    pub(crate) fn tool(&self, tool: &str, input: &serde_json::Value) -> Call {
        let input: Arc<RawValue> = RawValue::from_string(input.to_string()).unwrap().into();
        Call { id: self.ids.make(), thread: self.thread.clone(), tool: tool.to_owned(), input }
    }

    /// What a command prints; panics when it fails.
    pub(crate) async fn bash(&self, command: &str) -> String {
        let outcome =
            self.try_bash(command).await.unwrap_or_else(|error| panic!("{command}: {}", chain(&error)));
        let text = text(&outcome);
        assert!(!outcome.is_error, "{command}: {text}");
        text
    }

    pub(crate) async fn try_bash(&self, command: &str) -> Result<Outcome, Error> {
        let call = self.call(command);
        let outcome = self.sandbox.execute(&call).await?;
        self.sandbox.acknowledge(&[call.id]).await?;
        Ok(outcome)
    }

    pub(crate) fn event(&self) -> EventId {
        self.ids.make()
    }
}

/// The text of an outcome, without the last line end.
pub(crate) fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for block in &outcome.content {
        let block: serde_json::Value = serde_json::from_str(block.get()).unwrap();
        text.push_str(block["text"].as_str().unwrap_or_default());
    }
    text.trim_end_matches('\n').to_owned()
}

/// An error with everything that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Waits until something is so, for a bounded time.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Living child processes of a process.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    pids.filter(|pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let is_zombie = fields.next().is_none_or(|state| state == "Z");
        !is_zombie && fields.next() == Some(parent.to_string().as_str())
    })
    .collect()
}

/// Whether a process is the door to the network.
pub(crate) fn is_egress(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"egress")
}

pub(crate) fn exists(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Kills one process, if it is still there.
pub(crate) fn kill(pid: i32) {
    // The shell's own: the program of that name is not everywhere.
    let script = format!("kill -KILL {pid} 2>/dev/null || ! test -e /proc/{pid}");
    let status = std::process::Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(status.success());
}
