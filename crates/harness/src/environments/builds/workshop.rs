//! A sandbox in which something is built, spoken to through its `bash` tool.
//!
//! A step runs in the background of one thread's shell, so that it may take longer than a call; a call that waits for it,
//! and the calls of a second thread that look at its output, come and go.

use std::sync::Arc;

use api::ids::EventId;
use api::ids::Ids;
use api::ids::ThreadId;
use sandbox::Call;
use sandbox::Outcome;
use sandbox::Sandbox;
use serde_json::Value;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::recipe::FOLDER;
use super::recipe::quoted;
use crate::limits;

/// What the waiting call prints before the status.
const STATUS: &str = "build-status:";

pub(crate) struct Workshop {
    sandbox: Arc<dyn Sandbox>,
    ids: Ids,
    /// Starts steps and waits for them.
    worker: ThreadId,
    /// Looks at what they print.
    watcher: ThreadId,
}

impl Workshop {
    pub(crate) fn open(sandbox: Arc<dyn Sandbox>, ids: &Ids) -> Self {
        Self { sandbox, ids: ids.clone(), worker: ids.make(), watcher: ids.make() }
    }

    /// Runs a short script and gives what it printed.
    pub(crate) async fn run(&self, script: &str) -> Result<String, String> {
        match self.bash(&self.worker, script).await? {
            (text, false) => Ok(text),
            (text, true) => Err(text),
        }
    }

    /// Starts a script that may take long.
    pub(super) async fn start(&self, script: &str) -> Result<(), String> {
        let command = format!(
            "mkdir -p {FOLDER} /workspace && cd {FOLDER} && rm -f status bell log && mkfifo bell && : > log \
             && printf %s {} > step && cd /workspace || exit 1\n\
             {{ setsid bash {FOLDER}/step >{FOLDER}/log 2>&1; echo $? > {FOLDER}/status; echo > {FOLDER}/bell; }} \
             </dev/null >/dev/null 2>&1 &\ntrue",
            quoted(script)
        );
        self.run(&command).await.map(drop)
    }

    /// Waits until the started script ends; its exit status.
    pub(super) async fn status(&self) -> Result<i64, String> {
        let command = format!(
            "[ -s {FOLDER}/status ] || read -r -t {} <> {FOLDER}/bell\necho {STATUS} $(cat {FOLDER}/status 2>/dev/null)",
            limits::BUILD_WAIT_SECONDS
        );
        loop {
            let text = self.run(&command).await?;
            let rest = text.lines().find_map(|line| line.strip_prefix(STATUS)).map(str::trim);
            match rest {
                Some("") => {}
                Some(status) => return status.parse().map_err(|_| format!("a build ended with {status:?}")),
                None => return Err(format!("a build's shell said {text:?}")),
            }
        }
    }

    /// The last lines that the started script has printed.
    pub(super) async fn last_lines(&self) -> Result<String, String> {
        let (bytes, lines) = (limits::BUILD_LOG_BYTES_MAX, limits::BUILD_LINES_MAX);
        let command = format!(
            "tail -c {bytes} {FOLDER}/log 2>/dev/null | tr -d '\\000' | tr '\\r' '\\n' | tail -n {lines}"
        );
        match self.bash(&self.watcher, &command).await? {
            (text, false) if text == "(no output)" => Ok(String::new()),
            (text, _) => Ok(text.replace('\0', "")),
        }
    }

    /// What a command prints, and whether it failed.
    async fn bash(&self, thread: &ThreadId, command: &str) -> Result<(String, bool), String> {
        let id: EventId = self.ids.make();
        let input = json!({"command": command, "timeout_ms": limits::BUILD_CALL_MS});
        let call = Call {
            id: id.clone(),
            thread: thread.clone(),
            tool: "bash".to_owned(),
            input: Arc::from(to_raw_value(&input).expect("a command is JSON")),
        };
        let Outcome { content, is_error } =
            self.sandbox.execute(&call).await.map_err(|error| error.to_string())?;
        drop(self.sandbox.acknowledge(&[id]).await);
        let text = |block: &Arc<serde_json::value::RawValue>| {
            let block: Value = serde_json::from_str(block.get()).ok()?;
            Some(block["text"].as_str()?.to_owned())
        };
        let texts: Vec<String> = content.iter().filter_map(text).collect();
        Ok((texts.join("\n"), is_error))
    }
}
