//! What npm installs.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;
use serde_json::json;

/// A registry at `address` with one version of one package, whose program of the same name is `source`.
pub fn node_registry(
    address: &str,
    name: &str,
    version: &str,
    source: &str,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let archive = format!("/{name}/-/{name}-{version}.tgz");
    let mut package = json!({"name": name, "version": version, "bin": {name: "program.js"}});
    let files = [
        ("package/package.json", package.to_string()),
        ("package/program.js", format!("#!/usr/bin/env node\n{source}")),
    ];
    let mut content = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        content.append_data(&mut header, path, text.as_bytes()).context("pack a package")?;
    }
    package["dist"] = json!({"tarball": format!("{address}{archive}")});
    let document = json!({"name": name, "dist-tags": {"latest": version}, "versions": {version: package}});
    let content = content.into_inner().context("pack a package")?;
    Ok([(format!("/{name}"), document.to_string().into_bytes()), (archive, content)].into())
}
