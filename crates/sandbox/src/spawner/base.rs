//! The root file system of host mode: everything but `/usr`, made from nothing.
//!
//! Never the host's own `/etc`: it holds secrets. What is copied from there is a fixed list of public configuration that
//! programs in `/usr` refer to, and only what everybody may read. `/usr` itself, and on hosts where they are folders of
//! their own `/bin` and the like, are mounted over this base read-only.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use hand::confine::Bind;
use hand::confine::NAMES;
use hand::confine::Overlay;

use super::files::make_folder;

/// Folders of the base, parents first, with their permissions.
const FOLDERS: [(&str, u32); 31] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("mnt/session", 0o755),
    ("mnt/session/outputs", 0o755),
    ("mnt/session/uploads", 0o755),
    ("opt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("srv", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/local", 0o755),
    ("var/log", 0o755),
    ("var/mail", 0o755),
    ("var/opt", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("workspace", 0o755),
    ("etc/opt", 0o755),
    ("etc/pam.d", 0o755),
    ("etc/profile.d", 0o755),
    ("etc/skel", 0o755),
];

/// Top-level names that lead into `/usr` on most hosts and are folders of their own on some.
const PROGRAMS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Public configuration of the host's programs. Each may be a file, a link or a folder, and may be absent.
const PUBLIC: [&str; 28] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "chromium.d",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "login.defs",
    "lsb-release",
    "magic",
    "mime.types",
    "os-release",
    "perl",
    "pki",
    "protocols",
    "python3",
    "services",
    "shells",
    "ssl",
    "terminfo",
    "xattr.conf",
];
/// As [`PUBLIC`], for names that carry a version.
const PUBLIC_PREFIXES: [&str; 2] = ["java-", "python3."];
/// Left out wherever it turns up.
const PRIVATE: &str = "private";

/// Bounds on what is copied of the host's configuration.
const COPIED_MAX: usize = 20_000;
const COPIED_DEPTH_MAX: usize = 8;
const COPIED_FILE_BYTES_MAX: u64 = 4 << 20;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
mail:x:8:
shadow:x:42:
www-data:x:33:
staff:x:50:
users:x:100:
nogroup:x:65534:
";
const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
";
/// Root may become anybody, and nobody else anything: there are no passwords.
const PAM: &str = "\
auth sufficient pam_rootok.so
auth required pam_deny.so
account required pam_permit.so
password required pam_deny.so
session required pam_permit.so
";
const PROFILE: &str = "\
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for file in /etc/profile.d/*.sh; do
  [ -r \"$file\" ] && . \"$file\"
done
unset file
";

/// Makes the base anew. No sandbox runs when this is called.
pub(super) fn build(base: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(base) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    make_folder(base, 0o700)?;
    for (name, mode) in FOLDERS {
        let folder = base.join(name);
        make_folder(&folder, mode)?;
        std::fs::set_permissions(&folder, Permissions::from_mode(mode))?;
    }
    symlink("/run", base.join("var/run"))?;
    symlink("/run/lock", base.join("var/lock"))?;
    for name in PROGRAMS {
        match std::fs::read_link(Path::new("/").join(name)) {
            Ok(target) => symlink(target, base.join(name))?,
            Err(_) if Path::new("/").join(name).is_dir() => make_folder(&base.join(name), 0o755)?,
            Err(_) => {}
        }
    }
    configure(&base.join("etc"))
}

/// The host's folders that are mounted over the base.
pub(super) fn binds() -> Vec<Bind> {
    let own_folder =
        |name: &&str| Path::new("/").join(name).symlink_metadata().is_ok_and(|found| found.is_dir());
    ["usr"].iter().chain(PROGRAMS.iter().filter(|name| own_folder(name))).map(|name| bind(name)).collect()
}

/// The host's folders that can be written to inside: where programs and libraries are installed besides the packages of
/// the system.
pub(super) fn overlays() -> Vec<Overlay> {
    let place = Path::new("/usr/local");
    let is_folder = place.symlink_metadata().is_ok_and(|found| found.is_dir());
    is_folder.then(|| Overlay { source: place.into(), target: place.into() }).into_iter().collect()
}

fn bind(name: &str) -> Bind {
    let place = Path::new("/").join(name);
    Bind { source: place.clone(), target: place, is_writable: false, may_be_unmapped: true }
}

fn configure(etc: &Path) -> io::Result<()> {
    let mut left = COPIED_MAX;
    for entry in std::fs::read_dir("/etc")?.flatten() {
        let name = entry.file_name();
        let is_public = name.to_str().is_some_and(|name| {
            PUBLIC.contains(&name) || PUBLIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        if is_public {
            copy(&entry.path(), &etc.join(name), 0, &mut left)?;
        }
    }
    let written = [
        ("passwd", PASSWD),
        ("group", GROUP),
        ("nsswitch.conf", NSSWITCH),
        ("profile", PROFILE),
        ("pam.d/other", PAM),
    ];
    for (name, text) in written.into_iter().chain(NAMES) {
        std::fs::write(etc.join(name), text)?;
    }
    symlink("/proc/self/mounts", etc.join("mtab"))
}

/// Copies what everybody may read: files, links and folders. What vanishes meanwhile or cannot be read is left out.
fn copy(from: &Path, to: &Path, depth: usize, left: &mut usize) -> io::Result<()> {
    let Ok(found) = from.symlink_metadata() else { return Ok(()) };
    let is_private = from.file_name().is_some_and(|name| name == PRIVATE);
    if *left == 0 || depth > COPIED_DEPTH_MAX || is_private {
        return Ok(());
    }
    *left -= 1;
    let everybody_reads = found.permissions().mode() & 0o004 != 0;
    if found.is_symlink() {
        let Ok(target) = std::fs::read_link(from) else { return Ok(()) };
        return symlink(target, to);
    }
    if found.is_dir() && everybody_reads {
        make_folder(to, 0o755)?;
        let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
        let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.file_name().into()).collect();
        names.sort();
        return names.iter().try_for_each(|name| copy(&from.join(name), &to.join(name), depth + 1, left));
    }
    if found.is_file() && everybody_reads && found.len() <= COPIED_FILE_BYTES_MAX {
        let Ok(content) = std::fs::read(from) else { return Ok(()) };
        return std::fs::write(to, content);
    }
    Ok(())
}
