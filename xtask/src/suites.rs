//! `test` and `sdk`: every suite one after the other, and one line of totals at the end.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use anyhow::bail;

use crate::compat;
use crate::crash;
use crate::install;
use crate::install::Missing;
use crate::postgres;
use crate::process;
use crate::process::Ended;
use crate::served::Profile;

/// How many tests passed and failed, and what could not be run at all.
#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
    missing: Vec<String>,
}

impl Totals {
    /// Adds a suite that printed its counts. A suite that failed without saying how counts as one failure.
    fn add(&mut self, suite: &str, ended: &Ended, counts: Option<(u64, u64)>) {
        let (passed, mut failed) = counts.unwrap_or((0, 0));
        if failed == 0 && (!ended.is_success || counts.is_none()) {
            failed = 1;
        }
        println!("== {suite}: {passed} passed, {failed} failed");
        self.passed += passed;
        self.failed += failed;
    }

    /// Adds what is one test in itself.
    fn add_one(&mut self, suite: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                println!("== {suite}: 1 passed, 0 failed");
                self.passed += 1;
            }
            Err(error) => {
                println!("== {suite}: 0 passed, 1 failed: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// What cannot run here was asked for and does not pass: it counts as a failure and is named again at the end.
    fn lack(&mut self, missing: Missing) {
        println!("== cannot run: {}", missing.0);
        self.failed += 1;
        self.missing.push(missing.0);
    }

    fn close(self) -> Result<()> {
        for missing in &self.missing {
            println!("missing: {missing}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 {
            bail!("not every test passed");
        }
        Ok(())
    }
}

/// Everything.
pub(crate) fn test(kills: u32) -> Result<()> {
    let mut totals = Totals::default();
    let postgres = install::postgres();
    let has_postgres = postgres.is_ok();
    if let Err(missing) = postgres {
        totals.lack(missing);
    }
    for installed in [install::sandbox_tools(), install::subordinate_ids()] {
        if let Err(missing) = installed {
            totals.lack(missing);
        }
    }
    // The tests of the sandbox run what is installed, node among it, so all of it comes first.
    let (python, node) = (install::python(), install::node());
    rust(&mut totals)?;
    corpora(&mut totals)?;
    official_sdks(&mut totals, python, node)?;
    compatibility(&mut totals);
    let options = |database| crash::Options { kills, database, ..crash::Options::default() };
    let (sqlite, postgres) = (options(crash::Database::Sqlite), options(crash::Database::Postgres));
    totals.add_one("crash points on SQLite", crash::points(&sqlite));
    totals.add_one("crash run on SQLite", crash::kills(&sqlite));
    if has_postgres {
        totals.add_one("crash points on PostgreSQL", crash::points(&postgres));
        totals.add_one("crash run on PostgreSQL", crash::kills(&postgres));
    }
    totals.close()
}

/// The official SDKs only.
pub(crate) fn sdk() -> Result<()> {
    let mut totals = Totals::default();
    official_sdks(&mut totals, install::python(), install::node())?;
    totals.close()
}

fn rust(totals: &mut Totals) -> Result<()> {
    let has_nextest = process::find("cargo-nextest").is_some();
    println!("{} cargo-nextest", if has_nextest { "found" } else { "running cargo test: there is no" });
    let mut cargo = process::cargo();
    if has_nextest {
        cargo.args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--color=never"]);
    } else {
        cargo.args(["test", "--workspace", "--locked", "--no-fail-fast", "--color=never"]);
    }
    let ended = process::tee(&mut cargo)?;
    let counts = if has_nextest { nextest_counts(&ended.output) } else { cargo_counts(&ended.output) };
    totals.add("rust", &ended, counts);
    Ok(())
}

/// What was ever found by fuzzing, and the seeds of it, through the same checks; without the fuzzer.
fn corpora(totals: &mut Totals) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["test", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features", "--locked"]);
    // What it shares with the workspace is built already.
    cargo.args(["--test", "corpus", "--color=never", "--target-dir"]).arg(process::target());
    let ended = process::tee(&mut cargo)?;
    totals.add("fuzz corpora", &ended, cargo_counts(&ended.output));
    Ok(())
}

fn official_sdks(
    totals: &mut Totals,
    python: Result<PathBuf, Missing>,
    node: Result<PathBuf, Missing>,
) -> Result<()> {
    let server = Profile::Debug.build("journeyman", "journeyman")?;
    match python {
        Ok(python) => {
            let mut pytest = Command::new(python);
            // The suite's own settings make it quiet; twice quiet would leave the counts out.
            pytest.args(["-m", "pytest", "tests/python-sdk"]);
            let ended = process::tee(against(&mut pytest, &server))?;
            let counts = pytest_counts(&ended.output);
            totals.add("python-sdk", &ended, counts);
        }
        Err(missing) => totals.lack(missing),
    }
    match node {
        Ok(node) => {
            let mut tests = Command::new(node);
            tests.args(["--test", "--test-reporter=tap", "tests/typescript-sdk/session.test.js"]);
            let ended = process::tee(against(&mut tests, &server))?;
            let counts = tap_counts(&ended.output);
            totals.add("typescript-sdk", &ended, counts);
        }
        Err(missing) => totals.lack(missing),
    }
    Ok(())
}

/// What works in a sandbox over the host's own `/usr`, with the programs that are there: in every mode when root runs
/// this, who can be anybody.
fn compatibility(totals: &mut Totals) {
    let modes: &[compat::Mode] = if postgres::is_root().unwrap_or(false) {
        &[compat::Mode::Root, compat::Mode::Subordinate, compat::Mode::Unprivileged]
    } else {
        &[compat::Mode::Own]
    };
    for mode in modes {
        let suite = format!("compat, {}", mode.name());
        match compat::run(&compat::Options::of(*mode)) {
            Ok(compat::Counts { passed, failed, skipped }) => {
                println!("== {suite}: {passed} passed, {failed} failed, {skipped} skipped");
                totals.passed += passed;
                totals.failed += failed;
            }
            Err(error) => totals.add_one(&suite, Err(error)),
        }
    }
}

/// Tells a suite which server to start. The variables that would point it elsewhere are taken away.
fn against<'a>(command: &'a mut Command, server: &Path) -> &'a mut Command {
    command
        .current_dir(process::root())
        .stdin(std::process::Stdio::null())
        .env("JOURNEYMAN_BIN", server)
        .env_remove("ANTHROPIC_BASE_URL")
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("ANTHROPIC_AUTH_TOKEN")
}

/// `Summary [ 1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 0 skipped`
fn nextest_counts(output: &str) -> Option<(u64, u64)> {
    let line = output.lines().rfind(|line| line.trim_start().starts_with("Summary ["))?;
    let timed_out = count_before(line, "timed out").unwrap_or(0);
    Some((count_before(line, "passed").unwrap_or(0), count_before(line, "failed").unwrap_or(0) + timed_out))
}

/// `test result: ok. 5 passed; 0 failed; …`, once per test binary.
fn cargo_counts(output: &str) -> Option<(u64, u64)> {
    let results = output.lines().filter(|line| line.starts_with("test result: "));
    results
        .map(|line| (count_before(line, "passed").unwrap_or(0), count_before(line, "failed").unwrap_or(0)))
        .reduce(|sum, count| (sum.0 + count.0, sum.1 + count.1))
}

/// `1 failed, 12 passed in 3.20s`; an error in a fixture is a failure too.
fn pytest_counts(output: &str) -> Option<(u64, u64)> {
    let line =
        output.lines().rfind(|line| line.contains(" in ") && line.trim_end_matches('=').contains('s'))?;
    let errors = count_before(line, "error").or_else(|| count_before(line, "errors")).unwrap_or(0);
    Some((count_before(line, "passed").unwrap_or(0), count_before(line, "failed").unwrap_or(0) + errors))
}

/// `# pass 4` and `# fail 0`.
fn tap_counts(output: &str) -> Option<(u64, u64)> {
    let count = |key: &str| output.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    Some((count("# pass ")?, count("# fail ")?))
}

/// The number that stands before a word: 12 in `12 passed`.
fn count_before(line: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> =
        line.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).collect();
    let wanted: Vec<&str> = word.split(' ').collect();
    let at = words.windows(wanted.len()).position(|window| window == wanted)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_of_every_tool_are_read() {
        let nextest =
            "     Summary [   1.204s] 14 tests run: 11 passed (1 slow), 2 failed, 1 timed out, 0 skipped\n";
        assert_eq!(nextest_counts(nextest), Some((11, 3)));
        assert_eq!(nextest_counts("error: could not compile"), None);
        let cargo = "test result: ok. 5 passed; 0 failed; 0 ignored\nx\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(cargo_counts(cargo), Some((6, 2)));
        assert_eq!(pytest_counts("...F\n1 failed, 12 passed, 2 errors in 3.20s\n"), Some((12, 3)));
        assert_eq!(pytest_counts("4 passed in 0.10s\n"), Some((4, 0)));
        assert_eq!(tap_counts("ok 1\n# tests 4\n# pass 4\n# fail 0\n"), Some((4, 0)));
    }
}
