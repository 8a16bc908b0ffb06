//! A server with real sandboxes, in which a session runs what its first message says.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::program::Program;
use crate::program::SERVE;
use crate::program::Server;

const KEY: &str = "sk-jm-packages";
/// A user without subordinate ids.
const PLAIN: u32 = 65_533;
/// Longest that a build or a turn may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long it takes to ask again.
const PAUSE: Duration = Duration::from_millis(20);
/// Every message makes the agent run its text.
const CONFIG: &str = r#"
[models.providers.script]
kind = "scripted"
inline = """
[[rule]]
[[rule.reply]]
call = [{ tool = "bash", input = { command = "{{user}}" } }]
[[rule.reply]]
text = "done"
"""

[[models.routes]]
pattern = "scripted"
provider = "script"
"#;

/// A running server; it ends before its folder goes.
pub(crate) struct Site {
    server: Server,
    pub(crate) program: Program,
}

/// What a command in a session gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

impl Site {
    /// A server of this user, with more lines of configuration.
    pub(crate) fn new(more: &str) -> Self {
        Self::of(Program::new(), more, &[])
    }

    /// The same with more of the environment.
    pub(crate) fn with_variables(more: &str, variables: &[(&str, &str)]) -> Self {
        Self::of(Program::new(), more, variables)
    }

    /// The same with an image, taken in from a tar.
    pub(crate) fn with_image(name: &str, tar: &str, more: &str) -> Self {
        let program = Program::new();
        let taken = program.run(&["image", "import", tar, "--name", name]);
        assert!(taken.status.success(), "{taken:?}");
        Self::of(program, more, &[])
    }

    fn of(program: Program, more: &str, variables: &[(&str, &str)]) -> Self {
        fs::write(program.folder.path().join("journeyman.toml"), format!("{CONFIG}{more}")).unwrap();
        Self::served(program, variables)
    }

    /// Ends the server, and with it every sandbox.
    pub(crate) fn end(self) -> Program {
        let Self { server, program } = self;
        assert!(server.stop().0);
        until("end of the spawner", || program.spawners().is_empty().then_some(()));
        program
    }

    /// Another server on what one has left.
    pub(crate) fn again(program: Program) -> Self {
        Self::served(program, &[])
    }

    fn served(program: Program, variables: &[(&str, &str)]) -> Self {
        let server = program.serve(&[&[("JOURNEYMAN_API_KEY", KEY)], variables].concat());
        Self { server, program }
    }

    /// A server of a user who has a single id; only root can make one.
    #[expect(clippy::print_stdout, reason = "a test says which mode it could not cover")]
    pub(crate) fn of_single_id(more: &str) -> Option<Self> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            println!("only root can become user {PLAIN}: that mode is not covered");
            return None;
        }
        let program = Program::new();
        let folder = program.folder.path();
        // The folder of the build may be out of the user's reach.
        let own = folder.join("journeyman");
        fs::copy(env!("CARGO_BIN_EXE_journeyman"), &own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("journeyman.toml"), format!("{CONFIG}{more}")).unwrap();
        chown(folder, Some(PLAIN), Some(PLAIN)).unwrap();
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={PLAIN}"), &format!("--regid={PLAIN}"), "--clear-groups"]);
        command.arg(&own).args(SERVE).current_dir(folder).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let server = program.start(command, &[("JOURNEYMAN_API_KEY", KEY)]);
        Some(Self { server, program })
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(&self.server.address).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {KEY}\r\nanthropic-beta: managed-agents-2026-04-01\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.server.address,
            body.len()
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.server.get(path, Some(KEY));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A new environment with these settings of its sandboxes.
    pub(crate) fn environment(&self, config: &Value, sandbox: &Value) -> String {
        let none = json!({"type": "cloud", "networking": config["networking"]});
        let made = self.post("/v1/environments", &json!({"name": "packages", "config": none}));
        let id = text(&made, "id").to_owned();
        self.post(&format!("/x/v1/environments/{id}/sandbox"), sandbox);
        self.post(&format!("/v1/environments/{id}"), &json!({"config": config}));
        id
    }

    /// The end of an environment's build.
    pub(crate) fn built(&self, environment: &str) -> Value {
        until("end of the build", || {
            let build = self.get(&format!("/x/v1/environments/{environment}/build"));
            matches!(text(&build, "status"), "ready" | "failed").then_some(build)
        })
    }

    /// What sandboxes of an environment may reach, as clients are shown.
    pub(crate) fn egress(&self, environment: &str) -> Value {
        self.get(&format!("/x/v1/environments/{environment}/egress"))
    }

    /// Runs a command in a new session.
    pub(crate) fn run(&self, environment: &str, command: &str) -> Ran {
        self.run_in(&self.session(environment), command)
    }

    /// A new session.
    pub(crate) fn session(&self, environment: &str) -> String {
        let agent = json!({"name": "a", "model": "scripted", "tools": [{"type": "agent_toolset_20260401"}]});
        let agent = self.post("/v1/agents", &agent);
        let session =
            self.post("/v1/sessions", &json!({"agent": agent["id"], "environment_id": environment}));
        text(&session, "id").to_owned()
    }

    /// Runs a command in a session, and waits until it is at rest.
    pub(crate) fn run_in(&self, session: &str, command: &str) -> Ran {
        let of = |kind: &str| -> Vec<Value> {
            let events = self.get(&format!("/v1/sessions/{session}/events?types[]={kind}"));
            events["data"].as_array().unwrap().clone()
        };
        let before = of("session.status_idle").len();
        let message = json!({"type": "user.message", "content": [{"type": "text", "text": command}]});
        self.post(&format!("/v1/sessions/{session}/events"), &json!({"events": [message]}));
        until("end of the turn", || (of("session.status_idle").len() > before).then_some(()));
        let result = of("agent.tool_result").pop().unwrap();
        let text = text(&result["content"][0], "text").to_owned();
        Ran { text, is_error: result["is_error"] == true }
    }

    /// Removes what is at a path.
    pub(crate) fn delete(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.server.address).unwrap();
        write!(
            stream,
            "DELETE {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {KEY}\r\nanthropic-beta: managed-agents-2026-04-01\r\n\
             connection: close\r\n\r\n",
            self.server.address
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }
}

/// The lines of configuration that lead a host to an address.
pub(crate) fn route(host: &str, to: SocketAddr) -> String {
    format!("[[network.routes]]\nhost = \"{host}\"\nto = \"{to}\"\n")
}

/// `limited` networking.
pub(crate) fn limited(allowed_hosts: &[&str], allow_package_managers: bool) -> Value {
    json!({
        "type": "limited", "allowed_hosts": allowed_hosts,
        "allow_package_managers": allow_package_managers, "allow_mcp_servers": false,
    })
}

/// Whether a program is one that sandboxes on the files of this host have.
#[expect(clippy::print_stdout, reason = "a test says what it could not cover")]
pub(crate) fn is_there(program: &str) -> bool {
    let is_there = ["/usr/bin", "/usr/local/bin"].iter().any(|folder| {
        let path = std::path::Path::new(folder).join(program);
        path.canonicalize().is_ok_and(|path| path.starts_with("/usr"))
    });
    if !is_there {
        println!("there is no {program} below /usr: what needs it is not covered");
    }
    is_there
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// Asks until the answer is there.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} came");
        // Asking without a pause would take the processor from what it waits for.
        std::thread::sleep(PAUSE);
    }
}
