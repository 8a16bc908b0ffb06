//! Who may import whom: the layers of the architecture, checked against what cargo says of the workspace.
//!
//! Development dependencies are free: tests may reach further than the product.

use std::collections::BTreeSet;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;

use crate::process;

/// Each crate of ours and the crates of ours that it may import.
const ALLOWED: [(&str, &[&str]); 13] = [
    ("api", &[]),
    ("hand", &[]),
    // The attacker knows nothing of ours; the suite around it plants checkpoints in the store.
    ("attacker", &[]),
    ("escape", &["api", "store"]),
    ("store", &["api"]),
    ("model", &["api"]),
    ("egress", &["api"]),
    ("sandbox", &["api", "egress", "hand"]),
    ("harness", &["api", "egress", "model", "sandbox", "store"]),
    ("server", &["api", "egress", "hand", "harness", "model", "sandbox", "store"]),
    // The binary puts the parts together, so it sees all of them.
    ("journeyman", &["api", "egress", "harness", "model", "sandbox", "server", "store"]),
    ("testkit", &["api", "model", "store"]),
    ("xtask", &[]),
];

/// Fails, naming every edge that should not be.
pub(crate) fn check() -> Result<()> {
    let metadata = process::read(process::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("read what cargo metadata printed")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has a name")?;
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            wrong.push(format!("{name} has no layer: add it to xtask/src/layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("a package lists its dependencies")? {
            let to = dependency["name"].as_str().context("a dependency has a name")?;
            if dependency["kind"] != "dev" && ours.contains(to) && !allowed.contains(&to) {
                wrong.push(format!("{name} imports {to}"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("the layers do not hold: {}", wrong.join("; "));
    }
    println!("layers: {} crates import only what they may", packages.len());
    Ok(())
}
