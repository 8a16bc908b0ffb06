//! Where packages come from: the hosts that the package managers of a file system are configured for, as the managers
//! themselves and their configuration files say. Nothing is known here of any registry.
//!
//! A throw-away sandbox without a network asks them. What only a registry's own index says, such as another host from which
//! files are fetched, cannot be learnt so; the operator lists it.

use egress::policy::HostPattern;

/// Asks every manager that is there. A line is either `host` and a name, or any text with URLs in it.
pub(crate) const QUESTIONS: &str = r#"
have() { command -v "$1" >/dev/null 2>&1; }
ask() { timeout 20 "$@" 2>/dev/null </dev/null; }
settings() { cat "$@" 2>/dev/null | grep -v '^[[:space:]]*[#;]' | grep -vi 'proxy' | head -n 500; }
cd /
if have python3; then
  ask python3 -c 'from pip._internal.models.index import PyPI
print(PyPI.simple_url)
print("host", PyPI.file_storage_domain)'
  ask python3 -m pip config list | grep -vi 'proxy'
fi
settings /etc/pip.conf /etc/xdg/pip/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf
env | grep -E '^(PIP_(EXTRA_)?INDEX_URL|UV_(DEFAULT_)?INDEX(_URL)?|GOPROXY|npm_config_registry|CARGO_REGISTRIES_.*_INDEX)='
have npm && ask npm config get registry
have yarn && ask yarn config get registry
settings ~/.npmrc /etc/npmrc /usr/etc/npmrc /usr/local/etc/npmrc ~/.yarnrc ~/.yarnrc.yml | grep -i 'registry'
settings /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources
settings ~/.cargo/config.toml ~/.cargo/config "${CARGO_HOME:-/usr/local/cargo}"/config.toml
# Cargo's default is in its program: without a network it says which index it could not read.
have cargo && CARGO_NET_RETRY=0 timeout 20 cargo search --limit 1 x 2>&1 </dev/null | grep 'config\.json'
have gem && ask gem sources -l
if have go; then
  ask go env GOPROXY | tr ',|' '\n\n'
  ask go env GOSUMDB | sed 's/^/host /; s/[+ ].*+.*$//'
fi
true
"#;

/// The hosts in the answers, each once.
pub(crate) fn hosts(answers: &str) -> Vec<HostPattern> {
    let mut found = Vec::new();
    for line in answers.lines() {
        let line = line.trim();
        match line.strip_prefix("host ") {
            // A single word is a setting such as `off`.
            Some(name) if name.contains('.') => {
                add(&mut found, name.split(['+', ' ']).next().unwrap_or(name));
            }
            Some(_) => {}
            None => line
                .match_indices("://")
                .for_each(|(at, mark)| add(&mut found, host_after(&line[at + mark.len()..]))),
        }
    }
    found
}

fn host_after(rest: &str) -> &str {
    let is_end = |char: char| {
        char.is_whitespace()
            || matches!(char, '/' | '?' | '#' | '\\' | '"' | '\'' | ',' | ')' | '>' | '<' | '`' | '|' | ']')
    };
    let authority = rest.split(is_end).next().unwrap_or(rest);
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    place.split(':').next().unwrap_or(place)
}

fn add(found: &mut Vec<HostPattern>, name: &str) {
    // A name that stands for many could only have been meant for something else.
    if let Ok(pattern) = HostPattern::parse(name)
        && !name.contains('*')
        && !found.contains(&pattern)
    {
        found.push(pattern);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_from_what_managers_say() {
        let answers = "\
https://index.example/simple\n\
host files.example\n\
global.extra-index-url='http://user:secret@Extra.example:8080/simple/'\n\
deb [signed-by=/usr/share/keyrings/a.gpg] http://deb.example/debian stable main\n\
URIs: http://deb.example/debian http://security.example/debian\n\
index = \"sparse+https://crates.example/index/\"\n\
*** CURRENT SOURCES ***\n\
  https://gems.example/\n\
direct\n\
host off\n\
host sums.example+033de0ae\n\
deb cdrom:[Disk 1]/ stable main\n\
deb file:///var/mirror stable main\n\
https://*.wild.example/ https://127.0.0.1/ https://\n";
        let found: Vec<String> = hosts(answers).iter().map(ToString::to_string).collect();
        let expected = [
            "index.example",
            "files.example",
            "extra.example",
            "deb.example",
            "security.example",
            "crates.example",
            "gems.example",
            "sums.example",
        ];
        assert_eq!(found, expected);
    }
}
