//! What the tests need beyond Rust: found where it is, installed where we may, and named plainly where neither.

use std::path::PathBuf;

use anyhow::Result;

use crate::postgres;
use crate::process;

/// What the tests in Python, and those that need a server in Python, are written against.
const REQUIREMENTS: &str = "tests/python-sdk/requirements.txt";

/// Fails unless everything that the file names is installed as it says. Nothing is imported, which would take seconds.
const PROBE: &str = r#"
import re, sys
from importlib.metadata import version
for line in open(sys.argv[1]):
    wanted = re.match(r"([\w-]+)(?:\[.*\])?==(\S+)", line)
    if wanted and version(wanted[1]) != wanted[2]:
        sys.exit(1)
"#;

/// Something that could not be had.
pub(crate) struct Missing(pub(crate) String);

/// PostgreSQL's server programs.
pub(crate) fn postgres() -> Result<(), Missing> {
    if postgres::programs().is_none() {
        packages(&["postgresql"])?;
    }
    let folder = postgres::programs()
        .ok_or_else(|| Missing("PostgreSQL server programs: install the package postgresql".to_owned()))?;
    println!("found PostgreSQL server programs in {}", folder.display());
    Ok(())
}

/// What the tests of the sandbox run in it and beside it, with the package that each is in. A sandbox sees the host's
/// `/usr`, so only what is there counts.
pub(crate) fn sandbox_tools() -> Result<(), Missing> {
    const TOOLS: [(&str, &[&str]); 6] = [
        ("python3", &["python3", "python3-venv"]),
        ("pip3", &["python3-pip"]),
        ("curl", &["curl"]),
        ("git", &["git"]),
        ("ps", &["procps"]),
        ("zstd", &["zstd"]),
    ];
    for (tool, names) in TOOLS {
        if !std::path::Path::new("/usr/bin").join(tool).exists() {
            packages(names)?;
        }
        println!("found /usr/bin/{tool} for the tests of the sandbox");
    }
    Ok(())
}

/// What gives an unprivileged user subordinate ids, for the tests of that mode.
pub(crate) fn subordinate_ids() -> Result<(), Missing> {
    if process::find("newuidmap").is_none() {
        packages(&["uidmap"])?;
    }
    println!("found newuidmap for the tests with subordinate ids");
    Ok(())
}

/// A Python with the official SDK, pytest and a server of buckets, in a virtual environment below the target folder. The
/// tests of blobs look for it there.
pub(crate) fn python() -> Result<PathBuf, Missing> {
    let venv = process::target().join("venv");
    let python = venv.join("bin/python");
    if process::read(process::command(&python).args(["-c", PROBE, REQUIREMENTS])).is_ok() {
        println!("found what {REQUIREMENTS} names in {}", venv.display());
        return Ok(python);
    }
    let create = || process::read(process::command("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    if create().is_err() {
        packages(&["python3", "python3-venv"])?;
        create().map_err(|error| Missing(format!("a Python virtual environment: {error:#}")))?;
    }
    process::run(process::command(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--requirement",
        REQUIREMENTS,
    ]))
    .map_err(|error| Missing(format!("what the tests in Python need: {error:#}")))?;
    println!("installed what {REQUIREMENTS} names in {}", venv.display());
    Ok(python)
}

/// Node, and the packages of the TypeScript suite beside it.
pub(crate) fn node() -> Result<PathBuf, Missing> {
    if process::find("node").is_none() || process::find("npm").is_none() {
        packages(&["nodejs", "npm"])?;
    }
    let node = process::find("node").ok_or_else(|| Missing("node: install the package nodejs".to_owned()))?;
    let suite = process::root().join("tests/typescript-sdk");
    if suite.join("node_modules/@anthropic-ai/sdk/package.json").is_file() {
        println!("found the TypeScript SDK in {}", suite.join("node_modules").display());
        return Ok(node);
    }
    let mut npm = process::command("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&suite);
    process::run(&mut npm).map_err(|error| Missing(format!("the TypeScript SDK: {error:#}")))?;
    println!("installed the TypeScript SDK in {}", suite.join("node_modules").display());
    Ok(node)
}

/// Installs Debian packages when we are root on such a system.
fn packages(names: &[&str]) -> Result<(), Missing> {
    let wanted = names.join(" ");
    let is_root = postgres::is_root().unwrap_or(false);
    if !is_root || process::find("apt-get").is_none() {
        return Err(Missing(format!(
            "{wanted}: not installed, and only root on Debian or Ubuntu can install it here"
        )));
    }
    println!("installing {wanted}");
    let apt = |arguments: &[&str]| {
        let mut command = process::command("apt-get");
        command.args(["-qq", "-y", "-o", "Dpkg::Use-Pty=0"]).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        process::run(&mut command)
    };
    let install: Vec<&str> = ["install", "--no-install-recommends"].iter().chain(names).copied().collect();
    // The package lists may be fresh; they are fetched only when the first attempt does not know a package.
    apt(&install)
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
        .map_err(|error| Missing(format!("{wanted}: {error:#}")))
}
