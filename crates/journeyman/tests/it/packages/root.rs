//! A root file system of this machine's own programs, in links to their files: it takes no room, and may have an `/etc` and
//! tools that the files of the host as such do not show to sandboxes.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Programs, libraries, and what compilers and interpreters read.
const FOLDERS: &[&str] = &[
    "usr/bin",
    "usr/lib/gcc",
    "usr/lib/ruby",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/libexec/gcc",
    "usr/share/rubygems-integration",
    "etc/alternatives",
];

pub(crate) struct Root(TempDir);

impl Root {
    /// What there is of these folders on this machine.
    pub(crate) fn with_compilers() -> Self {
        // Links need the file system of what they link to, which the usual place for temporary files need not share.
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let root = Self(TempDir::new_in(beside).unwrap());
        for folder in FOLDERS.iter().filter(|folder| Path::new("/").join(folder).is_dir()) {
            let target = root.0.path().join(folder);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            copy(&Path::new("/").join(folder), &target);
        }
        for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            std::os::unix::fs::symlink(target, root.0.path().join(link)).unwrap();
        }
        for folder in ["tmp", "root", "var/lib", "usr/local/bin"] {
            fs::create_dir_all(root.0.path().join(folder)).unwrap();
        }
        root
    }

    /// The compiler and the cargo that this test was built with.
    pub(crate) fn add_rust(&self) {
        let told = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
        let rust = Path::new(std::str::from_utf8(&told.stdout).unwrap().trim()).to_path_buf();
        let local = self.0.path().join("usr/local");
        for name in ["bin/cargo", "bin/rustc", "lib"] {
            copy(&rust.join(name), &local.join(name));
        }
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.0.path().join(path), text).unwrap();
    }

    /// The configuration that has sandboxes stand on it, with more lines.
    pub(crate) fn under(&self, more: &str) -> String {
        format!("[sandbox]\nroot_fs = \"{}\"\n{more}", self.0.path().display())
    }
}

/// Links, or copies where links are not possible.
fn copy(from: &Path, to: &Path) {
    let run = |options: &str| Command::new("cp").args([options, "-T"]).args([from, to]).output().unwrap();
    if !run("-al").status.success() {
        let copied = run("-af");
        assert!(copied.status.success(), "{copied:?}");
    }
}
