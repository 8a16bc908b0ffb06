//! Which environment variables of an image reach the shells of a sandbox.

use std::collections::BTreeMap;

/// Variables of one image. More are left out: they would crowd the arguments of every program.
const VARIABLES_MAX: usize = 500;
/// Bytes of one variable.
const VARIABLE_BYTES_MAX: usize = 8 << 10;

/// Set by the sandbox itself, or changing how its shells work.
const OWN: [&str; 20] = [
    "BASHOPTS",
    "CDPATH",
    "ENV",
    "GLOBIGNORE",
    "HOME",
    "HOSTNAME",
    "IFS",
    "LOGNAME",
    "OLDPWD",
    "POSIXLY_CORRECT",
    "PROMPT_COMMAND",
    "PS0",
    "PS4",
    "PWD",
    "SHELL",
    "SHELLOPTS",
    "SHLVL",
    "TERM",
    "TMPDIR",
    "USER",
];

/// What remains of the variables of an image's configuration, each `NAME=VALUE`.
pub(super) fn filter(lines: &[String]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once('=') else { continue };
        let is_own = OWN.contains(&name) || name.starts_with("BASH");
        // The way to the network is the sandbox's.
        let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
        let fits = line.len() <= VARIABLE_BYTES_MAX && !value.contains('\0');
        if is_name(name) && !is_own && !is_proxy && fits && variables.len() < VARIABLES_MAX {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    variables
}

fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word) && !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_programs_need_remains() {
        let lines = [
            "PATH=/opt/bin:/bin",
            "JAVA_HOME=/opt/java=1",
            "EMPTY=",
            "HOME=/evil",
            "BASH_ENV=/evil",
            "IFS=x",
            "http_proxy=x",
            "HTTPS_PROXY=x",
            "no-name=1",
            "1=2",
            "=x",
            "line",
            "NUL=\0",
            "GOPROXY=direct",
        ];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let variables = filter(&lines);
        let kept: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted =
            [("EMPTY", ""), ("GOPROXY", "direct"), ("JAVA_HOME", "/opt/java=1"), ("PATH", "/opt/bin:/bin")];
        assert_eq!(kept, wanted);
    }
}
