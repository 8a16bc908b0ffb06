//! Builds a program of the workspace as a small static executable, to be embedded in the crate whose build script this is
//! part of.
//!
//! A nested cargo with a target folder of its own: the outer one holds the lock of the shared folder, and the flags
//! differ. What the outer cargo or clippy put into the environment for this script must not reach it.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Variables that would change how, for what, or with which compiler the nested build runs.
const CLEARED: [&str; 10] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "CLIPPY_ARGS",
];

/// Builds the program of this crate and puts it into `OUT_DIR` under its name.
pub(crate) fn embed(program: &str) {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest_dir.join("../..");
    let own = ["src", "Cargo.toml"].map(|input| format!("crates/{program}/{input}"));
    let shared = ["Cargo.toml", "Cargo.lock", "build/static_program.rs"].map(str::to_owned);
    for input in own.into_iter().chain(shared) {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    // Beside the profiles, so that all of them share one build: OUT_DIR is TARGET/PROFILE/build/PACKAGE-HASH/out.
    let shared = out_dir.ancestors().nth(4).filter(|folder| folder.join("CACHEDIR.TAG").exists());
    let target_dir = shared.unwrap_or(&out_dir).join("hand-build");
    let profile = if variable("PROFILE") == "release" { "hand" } else { "hand-quick" };
    build(program, &workspace, &target_dir, &target, profile);
    let built = target_dir.join(&target).join(profile).join(program);
    let embedded = out_dir.join(program);
    if let Err(error) = std::fs::copy(&built, &embedded) {
        panic!("copy {} to {}: {error}", built.display(), embedded.display());
    }
}

fn build(program: &str, workspace: &Path, target_dir: &Path, target: &str, profile: &str) {
    let mut cargo = Command::new(variable("CARGO"));
    // An explicit target keeps the flags away from procedural macros, which cannot be static.
    cargo
        .current_dir(workspace)
        .args([
            "build",
            "--package",
            program,
            "--bin",
            program,
            "--profile",
            profile,
            "--locked",
            "--offline",
            "--quiet",
        ])
        .args(["--target", target])
        .arg("--target-dir")
        .arg(target_dir);
    for name in CLEARED {
        cargo.env_remove(name);
    }
    let per_target = format!("CARGO_TARGET_{}_RUSTFLAGS", target.replace('-', "_").to_uppercase());
    cargo.env_remove(per_target);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    let output = match cargo.output() {
        Ok(output) => output,
        Err(error) => panic!("start cargo to build the program {program}: {error}"),
    };
    assert!(
        output.status.success(),
        "build {program} as a static program (a missing libc.a comes with the C library's static package, for example \
         libc6-dev or glibc-static):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn variable(name: &str) -> String {
    match env::var(name) {
        Ok(value) => value,
        Err(error) => panic!("read {name}, which cargo sets for build scripts: {error}"),
    }
}
