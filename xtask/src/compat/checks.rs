//! The checks: scripts in `tests/compat`, and the script of the model that runs them.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;

use crate::process;

/// Longer than any check takes.
const TIMEOUT_MS: u32 = 150_000;
/// The last line of every check, before its exit status.
pub(super) const ENDED: &str = "check ended with ";
/// What other scripts begin with.
const PRELUDE: &str = "prelude";
const END: &str = "END_OF_CHECK";

/// One script.
pub(super) struct Check {
    /// Its name.
    pub(super) name: String,
    /// What it is about.
    pub(super) what: String,
    /// Whether it asserts that something does not work.
    pub(super) is_refusal: bool,
    command: String,
}

impl Check {
    /// What is told to the model to make it run this.
    pub(super) fn words(&self) -> String {
        format!("check [{}]", self.name)
    }

    fn parse(name: &str, text: &str, is_refusal: bool, prelude: &str) -> Result<Self> {
        let field = |key: &str| {
            let lines = text.lines().take_while(|line| line.starts_with('#'));
            let mut values =
                lines.filter_map(|line| line.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(": "));
            values.next()
        };
        let what = field("what").with_context(|| format!("{name} does not say what it checks"))?;
        let (needs, ids) = (field("needs").unwrap_or_default(), field("ids").unwrap_or("any"));
        // It lies in a file so that it runs by itself, whatever the shell of the tool makes of options and errors.
        let folder = format!("/tmp/compat/{name}");
        let command = format!(
            "rm -rf {folder}; mkdir -p {folder} && cd {folder} && cat > ../{name}.sh <<'{END}'\n\
             needs='{needs}' ids='{ids}'\n{prelude}\n{text}\n{END}\n\
             bash ../{name}.sh < /dev/null 2>&1; echo \"\n{ENDED}$?\"; cd /; rm -rf {folder}\n"
        );
        Ok(Self { name: name.to_owned(), what: what.to_owned(), is_refusal, command })
    }
}

/// Every check, in the order of their names; what is refused by design comes last.
pub(super) fn read() -> Result<Vec<Check>> {
    let folder = process::root().join("tests/compat");
    let scripts = scripts(&folder)?;
    let prelude = scripts.iter().find(|(name, _)| name == PRELUDE).context("tests/compat has no prelude")?;
    let works = scripts.iter().filter(|(name, _)| name != PRELUDE).map(|script| (script, false));
    let refused = self::scripts(&folder.join("by-design"))?;
    let all = works.chain(refused.iter().map(|script| (script, true)));
    all.map(|((name, text), is_refusal)| Check::parse(name, text, is_refusal, &prelude.1)).collect()
}

fn scripts(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            scripts.push((name, text));
        }
    }
    scripts.sort();
    Ok(scripts)
}

/// The script of the model: a rule for each check. A string of JSON is one of TOML as well.
pub(super) fn script(checks: &[Check]) -> Result<String> {
    let mut script = String::new();
    for check in checks {
        let (words, command) =
            (serde_json::to_string(&check.words())?, serde_json::to_string(&check.command)?);
        write!(
            script,
            "[[rule]]\nwhen = {{ user = {words} }}\n[[rule.reply]]\n\
             call = [{{ tool = \"bash\", input = {{ command = {command}, timeout_ms = {TIMEOUT_MS} }} }}]\n\
             [[rule.reply]]\ntext = \"done\"\n"
        )
        .context("write the script")?;
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_what_it_needs() {
        let check =
            Check::parse("git", "# what: commits\n# needs: git\n\ntrue\n# ids: one\n", false, "set -e")
                .unwrap();
        assert_eq!((check.name.as_str(), check.what.as_str()), ("git", "commits"));
        assert!(check.command.contains("needs='git' ids='any'\nset -e\n"), "{}", check.command);
        assert!(Check::parse("git", "true\n", false, "").is_err());
    }

    #[test]
    fn every_check_can_be_read() {
        let checks = read().unwrap();
        assert!(checks.iter().any(|check| check.is_refusal) && checks.iter().any(|check| !check.is_refusal));
        assert!(checks.iter().all(|check| check.name != PRELUDE));
    }
}
