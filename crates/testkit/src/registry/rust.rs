//! What cargo installs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use sha2::Digest;
use sha2::Sha256;

use super::zip::gzip;

/// A sparse index below `/index/` at `address` with one version of one crate, whose program of the same name is `source`.
/// The name has at least four letters.
pub fn rust_registry(
    address: &str,
    name: &str,
    version: &str,
    source: &str,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n");
    let mut content = tar::Builder::new(Vec::new());
    for (path, text) in [("Cargo.toml", manifest.as_str()), ("src/main.rs", source)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let path = format!("{name}-{version}/{path}");
        content.append_data(&mut header, path, text.as_bytes()).context("pack a crate")?;
    }
    let content = gzip(&content.into_inner().context("pack a crate")?);
    let mut digest = String::new();
    for byte in Sha256::digest(&content) {
        write!(digest, "{byte:02x}").context("write a digest")?;
    }
    let line = json!({
        "name": name, "vers": version, "deps": [], "cksum": digest, "features": {}, "yanked": false,
    });
    let place = format!("/index/{}/{}/{name}", &name[..2], &name[2..4]);
    let config = json!({"dl": format!("{address}/crates")});
    Ok([
        ("/index/config.json".to_owned(), config.to_string().into_bytes()),
        (place, format!("{line}\n").into_bytes()),
        (format!("/crates/{name}/{version}/download"), content),
    ]
    .into())
}
