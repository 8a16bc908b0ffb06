//! What apt installs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use sha2::Digest;
use sha2::Sha256;

/// A flat repository with one version of one package, which holds a program of the same name. `after` is what it runs
/// once it is installed. Needs the program `dpkg-deb`.
pub fn debian_repository(
    name: &str,
    version: &str,
    program: &str,
    after: &str,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let root = folder.path().join("root");
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n\
         Description: a package of a test\n"
    );
    let files = [
        ("DEBIAN/control", control.as_str()),
        ("DEBIAN/postinst", after),
        (&format!("usr/bin/{name}"), program),
    ];
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("name a folder")?).context("make a folder")?;
        fs::write(&path, text).context("write a file of a package")?;
        if text.starts_with("#!") {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, permissions).context("make a file executable")?;
        }
    }
    let file = format!("{name}_{version}_all.deb");
    let built = folder.path().join(&file);
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "--build"]).args([&root, &built]);
    let output = command.output().context("start dpkg-deb")?;
    ensure!(output.status.success(), "dpkg-deb: {}", String::from_utf8_lossy(&output.stderr));
    let content = fs::read(&built).context("read a package")?;
    let mut digest = String::new();
    for byte in Sha256::digest(&content) {
        write!(digest, "{byte:02x}").context("write a digest")?;
    }
    let list = format!("{control}Filename: ./{file}\nSize: {}\nSHA256: {digest}\n", content.len());
    Ok([("/./Packages".to_owned(), list.into_bytes()), (format!("/./{file}"), content)].into())
}
