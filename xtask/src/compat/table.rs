//! What came of each check, a line for each.

use std::time::Duration;

use super::Counts;
use super::checks::Check;
use super::checks::ENDED;

/// Exit status of a check that needs what is not there.
const SKIPPED: &str = "77";
/// Lines of a failure that are shown.
const LINES_MAX: usize = 12;

/// What came of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It found what it should.
    Passed,
    /// It did not, and said this.
    Failed(Vec<String>),
    /// It could not be run, for this reason.
    Skipped(String),
}

impl Outcome {
    /// Reads what the bash tool said.
    pub(super) fn read(told: &str) -> Self {
        let lines: Vec<&str> = told.lines().filter(|line| !line.trim().is_empty()).collect();
        let end = lines.iter().rposition(|line| line.starts_with(ENDED));
        let status = end.and_then(|end| lines[end].strip_prefix(ENDED));
        let said = &lines[..end.unwrap_or(lines.len())];
        match status {
            Some("0") => Self::Passed,
            Some(SKIPPED) => Self::Skipped(said.last().map_or_else(String::new, |line| (*line).to_owned())),
            _ => {
                let last = lines.iter().skip(lines.len().saturating_sub(LINES_MAX));
                Self::Failed(last.map(|line| (*line).to_owned()).collect())
            }
        }
    }
}

/// The table, printed as it grows.
pub(super) struct Table {
    width: usize,
    counts: Counts,
}

impl Table {
    /// An empty one, wide enough for these checks.
    pub(super) fn new(checks: &[Check]) -> Self {
        let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        Self { width, counts: Counts { passed: 0, failed: 0, skipped: 0 } }
    }

    /// Adds a line.
    pub(super) fn add(&mut self, check: &Check, outcome: Outcome, took: Duration) {
        let Self { width, counts } = self;
        let (word, rest) = match outcome {
            Outcome::Passed if check.is_refusal => ("refused", check.what.clone()),
            Outcome::Passed => ("ok", check.what.clone()),
            Outcome::Failed(_) => ("FAILED", check.what.clone()),
            Outcome::Skipped(ref why) => ("skipped", why.clone()),
        };
        println!("{:<width$}  {word:<7}  {:>6.2} s  {rest}", check.name, took.as_secs_f64());
        match outcome {
            Outcome::Passed => counts.passed += 1,
            Outcome::Skipped(_) => counts.skipped += 1,
            Outcome::Failed(lines) => {
                counts.failed += 1;
                for line in lines {
                    println!("{:<width$}  | {line}", "");
                }
            }
        }
    }

    /// The totals.
    pub(super) fn close(self) -> Counts {
        let Counts { passed, failed, skipped } = self.counts;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_check_is_read() {
        assert_eq!(Outcome::read("some\n\ncheck ended with 0\n"), Outcome::Passed);
        let skipped = Outcome::Skipped("there is no go".to_owned());
        assert_eq!(Outcome::read("there is no go\n\ncheck ended with 77"), skipped);
        let failed = |lines: &[&str]| Outcome::Failed(lines.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(
            Outcome::read("line 3\n\ncheck ended with 1\n"),
            failed(&["line 3", "check ended with 1"])
        );
        assert_eq!(Outcome::read("no sandbox"), failed(&["no sandbox"]));
    }
}
