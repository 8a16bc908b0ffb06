//! Where packages come from: the sources of this machine's own apt, or the mirrors that were named.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

/// Largest file of sources that is looked at.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One source of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: String,
    pub(super) suite: String,
    pub(super) components: Vec<String>,
    /// File of the keys that it signs with.
    pub(super) keyring: Option<String>,
}

impl Source {
    /// As a line of `sources.list`.
    pub(super) fn line(&self) -> String {
        let Self { address, suite, components, keyring } = self;
        let keyring = keyring.as_ref().map_or_else(String::new, |path| format!("[signed-by={path}] "));
        format!("deb {keyring}{address} {suite} {}", components.join(" "))
    }
}

/// The sources of `suite` from the mirrors that were named, or else from the folder of apt's configuration.
pub(super) fn find(
    apt: &Path,
    suite: &str,
    mirrors: &[String],
    keyring: Option<&Path>,
) -> Result<Vec<Source>> {
    ensure!(is_suite(suite), "{suite:?} is not the name of a release");
    let keyring = keyring.map(|path| path.display().to_string());
    let named = mirrors.iter().map(|address| {
        ensure!(is_address(address), "{address:?} is not the address of a mirror");
        Ok(Source {
            address: address.clone(),
            suite: suite.to_owned(),
            components: vec!["main".to_owned()],
            keyring: keyring.clone(),
        })
    });
    let named = named.collect::<Result<Vec<Source>>>()?;
    if !named.is_empty() {
        return Ok(named);
    }
    let mut found = choose(read(apt)?, suite);
    if found.is_empty() {
        bail!(
            "no source of packages is known: {} has none for {suite}; name a mirror with --mirror",
            apt.display()
        );
    }
    for source in &mut found {
        source.keyring =
            keyring.clone().or_else(|| source.keyring.take().filter(|path| Path::new(path).is_file()));
    }
    Ok(found)
}

/// The sources of the suite and of its updates; or the machine's main ones, asked for another suite.
fn choose(all: Vec<Source>, suite: &str) -> Vec<Source> {
    let is_of = |source: &Source| {
        let rest = source.suite.strip_prefix(suite);
        rest.is_some_and(|rest| rest.is_empty() || matches!(rest, "-updates" | "-security" | "/updates"))
    };
    let fitting: Vec<Source> = all.iter().filter(|source| is_of(source)).cloned().collect();
    if fitting.iter().any(|source| source.suite == suite) {
        return fitting;
    }
    let is_main = |source: &Source| {
        !source.suite.contains(['-', '/']) && source.components.iter().any(|component| component == "main")
    };
    let main = all.into_iter().find(is_main);
    main.map(|source| Source { suite: suite.to_owned(), ..source }).into_iter().collect()
}

/// Every source of binary packages that apt has, in the order of the files.
fn read(apt: &Path) -> Result<Vec<Source>> {
    let mut files = vec![apt.join("sources.list")];
    let parts = std::fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.append(&mut parts);
    let mut sources = Vec::new();
    for path in files {
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default().to_owned();
        let length = std::fs::metadata(&path).map(|metadata| metadata.len());
        if !matches!(kind.as_str(), "list" | "sources")
            || !length.is_ok_and(|length| length <= FILE_BYTES_MAX)
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        sources.extend(if kind == "list" { lines(&text) } else { stanzas(&text) });
    }
    sources.retain(|source| is_address(&source.address));
    Ok(sources)
}

/// The form of one line each.
fn lines(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])) else {
            continue;
        };
        let (options, rest) = match rest.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let keyring = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace().map(str::to_owned);
        if let (Some(address), Some(suite)) = (words.next(), words.next()) {
            sources.push(Source {
                address,
                suite,
                components: words.collect(),
                keyring: keyring.map(str::to_owned),
            });
        }
    }
    sources
}

/// The form of fields, with empty lines between sources.
fn stanzas(text: &str) -> Vec<Source> {
    let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    plain.split(|line| line.trim().is_empty()).flat_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        match (line.starts_with([' ', '\t']), line.split_once(':')) {
            (true, _) => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
            (false, Some((name, value))) => fields.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            (false, None) => {}
        }
    }
    let field = |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace().map(str::to_owned);
    let is_off = field("enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    if is_off || !words("types").any(|kind| kind == "deb") {
        return Vec::new();
    }
    let keyring = field("signed-by").filter(|path| path.starts_with('/') && !path.contains(' '));
    let mut sources = Vec::new();
    for address in words("uris") {
        for suite in words("suites") {
            sources.push(Source {
                address: address.clone(),
                suite,
                components: words("components").collect(),
                keyring: keyring.map(str::to_owned),
            });
        }
    }
    sources
}

fn is_suite(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_');
    text.bytes().all(is_fine) && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Whether it is an address that a line of sources can hold and that a package manager fetches from.
fn is_address(text: &str) -> bool {
    let schemes = ["http://", "https://", "file:/", "mirror+http://", "mirror+https://"];
    schemes.iter().any(|scheme| text.starts_with(scheme))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'`' | b'\\' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "# deb http://off.example.com/debian bookworm main\n\
        deb http://one.example.com/debian bookworm main contrib # ours\n\
        deb-src http://one.example.com/debian bookworm main\n\
        deb [arch=amd64 signed-by=/no/such/key.gpg] https://two.example.com/sec bookworm-security main\n";
    const STANZAS: &str = "Types: deb deb-src\nURIs: http://three.example.com/debian\n# a remark\n\
        Suites: trixie trixie-updates\nComponents: main\n  contrib\nSigned-By:\n -----BEGIN\n\n\
        Enabled: no\nTypes: deb\nURIs: http://off.example.com\nSuites: trixie\nComponents: main\n";

    fn apt(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn found(apt: &tempfile::TempDir, suite: &str) -> Vec<String> {
        find(apt.path(), suite, &[], None).unwrap().iter().map(Source::line).collect()
    }

    #[test]
    fn the_sources_of_the_suite_and_its_updates_are_taken() {
        let apt = apt(&[
            ("sources.list", LINES),
            ("sources.list.d/x.sources", STANZAS),
            ("sources.list.d/y.list.off", "deb http://off.example.com bookworm main"),
        ]);
        let bookworm = [
            "deb http://one.example.com/debian bookworm main contrib",
            "deb https://two.example.com/sec bookworm-security main",
        ];
        assert_eq!(found(&apt, "bookworm"), bookworm);
        let trixie = [
            "deb http://three.example.com/debian trixie main contrib",
            "deb http://three.example.com/debian trixie-updates main contrib",
        ];
        assert_eq!(found(&apt, "trixie"), trixie);
        assert_eq!(found(&apt, "sid"), ["deb http://one.example.com/debian sid main contrib"]);
    }

    #[test]
    fn without_any_source_a_mirror_is_asked_for() {
        let told = find(apt(&[]).path(), "bookworm", &[], None).unwrap_err().to_string();
        assert!(told.contains("--mirror"), "{told}");
        assert!(find(Path::new("/no/such/folder"), "bookworm", &[], None).is_err());
    }

    #[test]
    fn named_mirrors_are_used_alone() {
        let apt = apt(&[("sources.list", LINES)]);
        let mirrors = ["https://four.example.com/debian".to_owned()];
        let sources = find(apt.path(), "bookworm", &mirrors, Some(Path::new("/key.gpg"))).unwrap();
        assert_eq!(
            sources[0].line(),
            "deb [signed-by=/key.gpg] https://four.example.com/debian bookworm main"
        );
        for bad in ["four.example.com", "http://a b", "http://a'b", "-x"] {
            assert!(find(apt.path(), "bookworm", &[bad.to_owned()], None).is_err(), "{bad}");
        }
        for bad in ["", "-x", "a b", "a\nb"] {
            assert!(find(apt.path(), bad, &mirrors, None).is_err(), "{bad}");
        }
    }
}
