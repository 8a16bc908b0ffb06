//! What is installed in an image that is built: the tools that agents are told are there, as far as Debian has them.

use anyhow::Result;
use anyhow::ensure;

use super::arguments::Set;

const MINIMAL: &[&str] = &[
    "bash",
    "bzip2",
    "ca-certificates",
    "coreutils",
    "curl",
    "findutils",
    "git",
    "gzip",
    "less",
    "openssh-client",
    "patch",
    "procps",
    "python-is-python3",
    "python3",
    "python3-pip",
    "python3-venv",
    "sed",
    "tar",
    "xz-utils",
];

const STANDARD: &[&str] = &[
    "build-essential",
    "cmake",
    "diffutils",
    "file",
    "gcc",
    "gdb",
    "iproute2",
    "jq",
    "libssl-dev",
    "lsof",
    "make",
    "nano",
    "netcat-openbsd",
    "ninja-build",
    "nodejs",
    "npm",
    "pkg-config",
    "pipx",
    "python3-dev",
    "ripgrep",
    "rsync",
    "sqlite3",
    "strace",
    "tmux",
    "tree",
    "unzip",
    "vim-tiny",
    "wget",
    "yq",
    "zip",
    "zstd",
];

const FULL: &[&str] = &[
    "cargo",
    "chromium",
    "clang",
    "composer",
    "default-jdk-headless",
    "ffmpeg",
    "fonts-dejavu-core",
    "golang-go",
    "gradle",
    "imagemagick",
    "libreoffice-calc",
    "libreoffice-core",
    "libreoffice-impress",
    "libreoffice-writer",
    "maven",
    "pandoc",
    "php-cli",
    "poppler-utils",
    "postgresql",
    "python3-docx",
    "python3-matplotlib",
    "python3-numpy",
    "python3-openpyxl",
    "python3-pandas",
    "python3-pil",
    "python3-poetry",
    "python3-pptx",
    "python3-pypdf2",
    "qpdf",
    "redis-server",
    "ruby-full",
    "rustc",
    "tesseract-ocr",
    "texlive-latex-recommended",
    "yarnpkg",
];

/// The packages of a set and those named besides, sorted.
pub(super) fn list(set: Set, more: &[String]) -> Result<Vec<String>> {
    let parts: &[&[&str]] = match set {
        Set::Minimal => &[MINIMAL],
        Set::Standard => &[MINIMAL, STANDARD],
        Set::Full => &[MINIMAL, STANDARD, FULL],
    };
    let mut all: Vec<String> = parts.concat().into_iter().map(str::to_owned).collect();
    for name in more.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        ensure!(is_package(name), "{name:?} is not the name of a package");
        all.push(name.to_owned());
    }
    all.sort();
    all.dedup();
    Ok(all)
}

fn is_package(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().all(|byte| is_plain(byte) || matches!(byte, b'+' | b'-' | b'.'))
        && name.bytes().next().is_some_and(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_grow_and_packages_are_added_once() {
        let [minimal, standard, full] =
            [Set::Minimal, Set::Standard, Set::Full].map(|set| list(set, &[]).unwrap());
        assert!(minimal.iter().all(|name| standard.contains(name)) && minimal.len() < standard.len());
        assert!(standard.iter().all(|name| full.contains(name)) && standard.len() < full.len());
        let more = ["g++".to_owned(), " git ".to_owned(), String::new()];
        assert_eq!(list(Set::Minimal, &more).unwrap().len(), minimal.len() + 1);
        assert!(full.iter().all(|name| is_package(name)));
    }

    #[test]
    fn options_are_no_packages() {
        for bad in ["-o", "--help", "a b", "a;b", "$(x)", "A"] {
            assert!(list(Set::Minimal, &[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
