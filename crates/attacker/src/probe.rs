//! A probe: one attack, what it should meet, and what it met.

use std::time::Duration;

use crate::context::Context;
use crate::sys;
use crate::sys::End;
use crate::sys::Errno;

/// How long one probe may take.
const TIME_MAX: Duration = Duration::from_secs(8);

/// What an attack met.
pub(crate) enum Outcome {
    /// The wall.
    Held(String),
    /// No wall, or another one than expected.
    Escaped(String),
    /// It could not be tried, for this reason.
    Skipped(String),
}

/// One attack.
pub(crate) struct Probe {
    row: u8,
    name: String,
    expected: &'static str,
    time_max: Duration,
    attack: Box<dyn Fn(&Context) -> Outcome>,
}

impl Probe {
    /// An attack of a row of `docs/security.md`.
    pub(crate) fn new(
        row: u8,
        name: impl Into<String>,
        expected: &'static str,
        attack: impl Fn(&Context) -> Outcome + 'static,
    ) -> Self {
        Self { row, name: name.into(), expected, time_max: TIME_MAX, attack: Box::new(attack) }
    }

    /// The same, with more time.
    pub(crate) fn within(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// Tries it in a process of its own and prints the line.
    pub(crate) fn run(&self, context: &Context) {
        let end = sys::in_child(self.time_max, || match (self.attack)(context) {
            Outcome::Held(detail) => format!("h{detail}").into_bytes(),
            Outcome::Escaped(detail) => format!("e{detail}").into_bytes(),
            Outcome::Skipped(detail) => format!("s{detail}").into_bytes(),
        });
        let (result, detail) = match end {
            End::Answer(answer) => {
                let result = match answer.first() {
                    Some(b'h') => "held",
                    Some(b's') => "skipped",
                    Some(_) | None => "escaped",
                };
                (result, String::from_utf8_lossy(answer.get(1..).unwrap_or_default()).into_owned())
            }
            // What cannot be told counts against the wall.
            End::Signal(signal) => ("escaped", format!("unclear: the probe was ended by signal {signal}")),
            End::Nothing => ("escaped", "unclear: the probe ended without an answer".to_owned()),
            End::Late => ("escaped", format!("unclear: the probe took longer than {:?}", self.time_max)),
            End::Failed(errno) => ("escaped", format!("unclear: the probe could not be started: {errno}")),
        };
        println!(
            "{{\"name\":{},\"row\":{},\"expected\":{},\"result\":\"{result}\",\"detail\":{}}}",
            quoted(&self.name),
            self.row,
            quoted(self.expected),
            quoted(&detail)
        );
    }
}

/// A call and what it is called in the table.
pub(crate) type Call = (u8, &'static str, fn() -> Result<i64, Errno>);

/// Probes of calls that must be refused, and with nothing else than these errors.
pub(crate) fn refused(
    calls: &'static [Call],
    expected: &'static str,
    errors: &'static [libc::c_int],
) -> impl Iterator<Item = Probe> {
    calls
        .iter()
        .map(move |(row, name, call)| Probe::new(*row, *name, expected, move |_| judge(call(), errors)))
}

/// Held when the result is one of these errors.
#[expect(clippy::needless_pass_by_value, reason = "what an attack got is given up here")]
pub(crate) fn judge<T>(result: Result<T, Errno>, errors: &[libc::c_int]) -> Outcome {
    match result {
        Ok(_) => Outcome::Escaped("it succeeded".to_owned()),
        Err(errno) if errors.contains(&errno.0) => Outcome::Held(errno.to_string()),
        Err(errno) => Outcome::Escaped(format!("it got past the wall and failed with {errno}")),
    }
}

/// Held when every one of several tries was; the detail names what got through, or all the errors.
pub(crate) fn all(outcomes: impl IntoIterator<Item = (String, Outcome)>) -> Outcome {
    let (mut through, mut held) = (Vec::new(), Vec::<String>::new());
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Held(detail) if held.contains(&detail) => {}
            Outcome::Held(detail) => held.push(detail),
            Outcome::Escaped(detail) => through.push(format!("{name}: {detail}")),
            Outcome::Skipped(_) => {}
        }
    }
    if !through.is_empty() {
        return Outcome::Escaped(through.join("; "));
    }
    if held.is_empty() {
        Outcome::Skipped("there was nothing to try".to_owned())
    } else {
        Outcome::Held(held.join(", "))
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => quoted.push(' '),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
