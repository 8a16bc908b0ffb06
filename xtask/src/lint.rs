//! `fmt` and `lint`.

use anyhow::Result;

use crate::layers;
use crate::process;

/// Formats every crate.
pub(crate) fn format() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all"]))
}

/// Everything that can be found wrong without running the product.
pub(crate) fn run() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))?;
    layers::check()?;
    process::run(process::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))?;
    process::run(
        process::cargo()
            .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}
