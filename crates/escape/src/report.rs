//! What came out, as a table or as lines of JSON.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::terminal::Style;
use crate::terminal::Terminal;
use crate::terminal::tame;

/// Widths of the columns.
const NAME: usize = 68;
const EXPECTED: usize = 42;

/// What an attack met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// The wall.
    Held,
    /// No wall.
    Escaped,
    /// It could not be tried.
    Skipped,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Escaped => "escaped",
            Self::Skipped => "skipped",
        }
    }

    fn parse(name: &str) -> Self {
        match name {
            "held" => Self::Held,
            "skipped" => Self::Skipped,
            _ => Self::Escaped,
        }
    }
}

/// One attack and what it met.
pub(crate) struct Finding {
    row: u64,
    name: String,
    expected: String,
    verdict: Verdict,
    detail: String,
}

impl Finding {
    /// A finding of the outside.
    pub(crate) fn new(row: u64, name: &str, expected: &str, (verdict, detail): (Verdict, String)) -> Self {
        Self { row, name: name.to_owned(), expected: expected.to_owned(), verdict, detail }
    }

    /// The findings that the attacker printed. One that did not come to its end was stopped by something unknown, which
    /// counts against the wall.
    pub(crate) fn read(group: &str, printed: &str) -> Vec<Self> {
        let lines = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let (mut findings, mut is_whole) = (Vec::new(), false);
        for line in lines {
            if line["end"] == group {
                is_whole = true;
                continue;
            }
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            findings.push(Self {
                row: line["row"].as_u64().unwrap_or_default(),
                name: text("name"),
                expected: text("expected"),
                verdict: Verdict::parse(&text("result")),
                detail: text("detail"),
            });
        }
        if !is_whole {
            let last =
                printed.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
            let verdict = (Verdict::Escaped, format!("unclear: it did not come to its end: {last}"));
            findings.push(Self::new(0, &format!("the group {group}"), "it comes to its end", verdict));
        }
        findings
    }
}

/// Prints findings as they come, and counts.
pub(crate) struct Report {
    terminal: Terminal,
    is_json: bool,
    counts: BTreeMap<Verdict, usize>,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(terminal: Terminal, is_json: bool) -> Self {
        Self { terminal, is_json, counts: BTreeMap::new() }
    }

    /// A line for people.
    pub(crate) fn say(&self, text: &str) {
        if !self.is_json {
            self.terminal.line(text);
        }
    }

    /// The findings of one pass.
    pub(crate) fn pass(&mut self, name: &str, mut findings: Vec<Finding>) {
        findings.sort_by_key(|finding| finding.row);
        self.say("");
        self.say(&self.terminal.paint(Style::Bold, name));
        self.say(&format!("  row  {:<8} {:<NAME$} {:<EXPECTED$} met", "", "attack", "expected"));
        for finding in &findings {
            *self.counts.entry(finding.verdict).or_default() += 1;
            self.line(name, finding);
        }
    }

    fn line(&self, pass: &str, finding: &Finding) {
        let Finding { row, name, expected, verdict, detail } = finding;
        if self.is_json {
            let result = verdict.name();
            let line = json!({
                "pass": pass, "row": row, "name": name, "expected": expected, "result": result, "detail": detail,
            });
            self.terminal.line(&line.to_string());
            return;
        }
        let style = match verdict {
            Verdict::Held => Style::Green,
            Verdict::Escaped => Style::Red,
            Verdict::Skipped => Style::Faint,
        };
        let mark = self.terminal.paint(style, &format!("{:<8}", verdict.name()));
        let (name, detail) = (tame(name), tame(detail));
        self.terminal.line(&format!("  {row:>3}  {mark} {name:<NAME$} {expected:<EXPECTED$} {detail}"));
    }

    /// The closing line; whether nothing escaped.
    pub(crate) fn close(&self, mode: &str) -> bool {
        let count = |verdict| self.counts.get(&verdict).copied().unwrap_or(0);
        let (held, escaped, skipped) =
            (count(Verdict::Held), count(Verdict::Escaped), count(Verdict::Skipped));
        if self.is_json {
            let line = json!({"mode": mode, "held": held, "escaped": escaped, "skipped": skipped});
            self.terminal.line(&line.to_string());
        } else {
            self.terminal.line("");
            self.terminal.line(&format!("{held} held, {escaped} escaped, {skipped} skipped ({mode})"));
        }
        // Nothing was proven where nothing was tried.
        escaped == 0 && held > 0
    }
}
