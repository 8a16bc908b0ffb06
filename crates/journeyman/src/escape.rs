//! `doctor --escape`: hands over to `journeyman-escape`, a program of its own that attacks sandboxes of this program.
//!
//! It is installed beside this program or on PATH, where the operator wants it: an attacker is no part of a server.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use toml::Table;

use crate::config::Config;
use crate::data;
use crate::environment::Environment;
use crate::hands::Hands;

const PROGRAM: &str = "journeyman-escape";
/// Sections of the configuration that say what a sandbox is and how a server works; no credential is in one of them.
const SECTIONS: [&str; 4] = ["sandbox", "network", "images", "limits"];

/// Becomes that program; returns only when it cannot.
pub(crate) fn run(
    config: &Config,
    environment: &Environment,
    is_json: bool,
) -> Result<std::convert::Infallible> {
    let program = std::env::current_exe().context("find this program")?;
    let suite = find(&program, environment)?;
    let data = data::open(&config.settings.server.data)?;
    let host = Hands::open(&config.settings)?.backend().report();
    let Some(mode) = host.mode else {
        bail!("no sandbox can be made on this host: run `journeyman doctor`");
    };
    let mut settings: Table = SECTIONS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), config.section(name)?.clone())))
        .collect();
    let level = if config.is_default("log.level") { "error" } else { &config.settings.log.level };
    settings.insert("log".to_owned(), Table::from_iter([("level".to_owned(), level.into())]).into());
    let mut command = Command::new(&suite);
    command.arg("--program").arg(program).arg("--data").arg(data);
    command.args(["--mode", mode.name(), "--settings", &settings.to_string()]);
    if host.primitives.iter().any(|found| found.present && found.name == "control group: memory") {
        command.arg("--shared-memory");
    }
    if is_json {
        command.arg("--json");
    }
    Err(command.exec()).with_context(|| format!("start {}", suite.display()))
}

/// Beside this program, or else on PATH.
fn find(program: &std::path::Path, environment: &Environment) -> Result<PathBuf> {
    let path = environment.get("PATH").unwrap_or_default();
    let folders = program.parent().map(PathBuf::from).into_iter().chain(std::env::split_paths(path));
    let found = folders.map(|folder| folder.join(PROGRAM)).find(|candidate| candidate.is_file());
    found.with_context(|| {
        format!(
            "find {PROGRAM}, the program that attacks a sandbox: it is neither beside {} nor on PATH; build it with \
             `cargo build --release --package escape` and put it there",
            program.display()
        )
    })
}
