//! What an image is called in a registry: `HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`.

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use sandbox::images::Digest;

/// Longest repository and longest tag that registries permit.
const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
/// The tag of a reference without one.
const TAG: &str = "latest";

/// A reference that says which registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Host, with a port if there is one.
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) version: Version,
}

/// Which of the images of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tag(String),
    Digest(Digest),
}

impl Reference {
    /// Reads a reference. One without a host is of the registry of the configuration.
    pub(crate) fn parse(text: &str, configured: Option<&str>) -> Result<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, rest) = match (rest.split_once('/'), configured) {
            (Some((host, rest)), _) if is_host(host) => (host, rest),
            (_, Some(registry)) => (registry, rest),
            (_, None) => bail!(
                "{text} does not say which registry: name it as in HOST/{rest}, or set images.registry in the configuration"
            ),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, tag),
            None => (rest, TAG),
        };
        ensure!(is_host(registry) || is_plain_host(registry), "{registry} is no host");
        ensure!(is_repository(repository), "{repository} is not the name of a repository");
        ensure!(is_tag(tag), "{tag} is no tag");
        // A digest says more than a tag.
        let version = digest.map_or_else(|| Version::Tag(tag.to_owned()), Version::Digest);
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), version })
    }

    /// Whether the registry is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        let host = host(&self.registry);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { registry, repository, version } = self;
        match version {
            Version::Tag(tag) => write!(f, "{registry}/{repository}:{tag}"),
            Version::Digest(digest) => write!(f, "{registry}/{repository}@{digest}"),
        }
    }
}

fn host(registry: &str) -> &str {
    let port = registry.rfind(':').filter(|at| !registry[*at..].contains(']'));
    port.map_or(registry, |at| &registry[..at])
}

/// Whether the first part of a reference is a host and not the first part of a repository.
fn is_host(text: &str) -> bool {
    is_plain_host(text) && (text.contains(['.', ':']) || text == "localhost")
}

fn is_plain_host(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    !text.is_empty() && text.bytes().all(is_fine) && !text.starts_with(['-', '.', ':'])
}

fn is_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        part.bytes().all(|byte| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && part.bytes().next().is_some_and(is_plain)
    };
    text.split('/').all(is_part) && text.len() <= REPOSITORY_BYTES_MAX
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        && text.len() <= TAG_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, configured: Option<&str>) -> String {
        match Reference::parse(text, configured) {
            Ok(Reference { registry, repository, version: Version::Tag(tag) }) => {
                format!("{registry} {repository} {tag}")
            }
            Ok(Reference { registry, repository, version: Version::Digest(_) }) => {
                format!("{registry} {repository} @")
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn references_are_taken_apart() {
        let digest = Digest::of(b"").to_string();
        assert_eq!(parts("reg.example.com/team/app:1.2", None), "reg.example.com team/app 1.2");
        assert_eq!(parts("localhost:5000/app", None), "localhost:5000 app latest");
        assert_eq!(parts("[::1]:5000/app", None), "[::1]:5000 app latest");
        assert_eq!(parts(&format!("reg.example.com/app:1@{digest}"), None), "reg.example.com app @");
        assert_eq!(parts("team/app:1", Some("reg.example.com")), "reg.example.com team/app 1");
        assert_eq!(parts("app", Some("registry:5000")), "registry:5000 app latest");
        assert_eq!(parts("other.example.com/app", Some("reg.example.com")), "other.example.com app latest");
    }

    #[test]
    fn a_reference_without_a_host_says_what_to_do() {
        let told = parts("debian:12", None);
        assert!(told.contains("HOST/debian:12") && told.contains("images.registry"), "{told}");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in [
            "",
            "a.b/",
            "a.b/App",
            "a.b/app:",
            "a.b/../x",
            "a.b/app@sha256:0",
            "a b.c/x",
            "a.b/app:ta/g",
            "a.b//x",
        ] {
            assert!(parts(bad, Some("r.example.com")).starts_with("error"), "{bad}: {}", parts(bad, None));
        }
    }

    #[test]
    fn registries_of_this_machine_are_known() {
        let is_local = |text: &str| Reference::parse(text, None).unwrap().is_local();
        for local in ["localhost/a", "localhost:1/a", "127.0.0.1:1/a", "127.9.9.9/a", "[::1]:1/a"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["localhost.example.com/a", "10.0.0.1:1/a", "[::2]:1/a", "127.0.0.1.example.com/a"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
