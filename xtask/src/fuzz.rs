//! `fuzz`: bytes that nobody thought of for every parser of outside bytes. The checks and their first corpora are in `fuzz`;
//! what the fuzzer adds to them stays in the target folder, what it finds is put into `fuzz/artifacts`.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use clap::Args;

use crate::process;

/// How long, and what.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(default_value_t = 60)]
    seconds: u64,
    /// Only this target
    target: Option<String>,
}

/// Runs one target after the other, and fails at the first that finds something.
pub(crate) fn run(options: &Options) -> Result<()> {
    if process::find("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is missing: install it with `cargo install cargo-fuzz`");
    }
    let mut targets = targets()?;
    if let Some(wanted) = &options.target {
        if !targets.contains(wanted) {
            bail!("there is no target {wanted}, but {}", targets.join(", "));
        }
        targets.retain(|target| target == wanted);
    }
    // A folder of its own: everything is built with other flags.
    let built = process::target().join("fuzz");
    for target in targets {
        let grown = built.join("corpus").join(&target);
        std::fs::create_dir_all(&grown).with_context(|| format!("make {}", grown.display()))?;
        let mut cargo = process::cargo();
        // The stable compiler takes the flags of the fuzzer too if it is told so. Without a sanitizer: but for plain system
        // calls the parsers are safe code.
        cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", &built);
        cargo.args(["fuzz", "run", "--sanitizer", "none", &target]);
        cargo.arg(&grown).arg(process::root().join("fuzz/corpus").join(&target)).arg("--");
        cargo.args([&format!("-max_total_time={}", options.seconds), "-timeout=20", "-print_final_stats=1"]);
        process::run(&mut cargo)?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = process::root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}
