//! The spawner on its own: `sandbox-spawner DATA_FOLDER SECONDS [DISK]`, and the egress process that it starts:
//! `sandbox-spawner egress …`. The server carries the same code; this is for tests.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use sandbox::spawner;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|argument| argument == "egress").is_some() {
        return egress::main(arguments);
    }
    let Some(data_dir) = arguments.next().map(PathBuf::from) else { return ExitCode::from(2) };
    let seconds = arguments.next().and_then(|text| text.to_str().and_then(|text| text.parse().ok()));
    let alone_max = seconds.map_or_else(|| spawner::Options::default().alone_max, Duration::from_secs);
    let word = arguments.next().unwrap_or_default();
    let disk = spawner::Choice::ALL.into_iter().find(|choice| word == choice.name()).unwrap_or_default();
    spawner::main(&data_dir, &spawner::Options { alone_max, disk })
}
