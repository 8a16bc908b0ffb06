//! The first process of a sandbox: reads what it is to be from the spawner, raises the walls around itself, serves. Or a
//! worker on one layer, shut in as well.
//!
//! Started from a sealed copy in memory with an empty environment, the standard descriptors on `/dev/null`, and the
//! socket to the spawner. It never returns to the outside: when the spawner goes away, it and everything inside end.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use hand::confine;
use hand::confine::Probe;
use hand::contain;
use hand::control;
use hand::place::Place;
use hand::start::Start;

/// Exit status when the process was not started by a spawner.
const NOT_STARTED_BY_A_SPAWNER: u8 = 2;
/// Exit status when the walls do not stand; the spawner was told why.
const WALLS_FAILED: u8 = 3;

fn main() -> ExitCode {
    if let Some(status) = probe() {
        return status;
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == contain::ARGUMENT) {
        return contain::run();
    }
    let Some(control) = control::socket() else { return ExitCode::from(NOT_STARTED_BY_A_SPAWNER) };
    if let Some(place) = Place::unconfined(std::env::args_os().skip(1)) {
        hand::serve::run(control, place);
    }
    let start = Start::read(control.as_fd()).map_err(|error| format!("read the specification: {error}"));
    let walls = match start {
        Ok(Start::Sandbox(spec)) => confine::enter(&spec)
            .map(|listeners| (listeners, spec.variables))
            .map_err(|error| error.to_string()),
        Ok(Start::Layer(spec)) => hand::layer::run(control.as_fd(), &spec),
        Err(error) => Err(error),
    };
    match walls {
        Ok((listeners, variables)) => {
            if control::hand_over(control.as_fd(), listeners).is_ok() {
                hand::serve::run(control, Place { variables, ..Place::default() });
            }
        }
        // If the spawner has gone, nobody is left to be told.
        Err(error) => drop(control::report(control.as_fd(), Err(&error))),
    }
    ExitCode::from(WALLS_FAILED)
}

/// `--probe NAME` tries one wall by itself and says what came of it.
fn probe() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|argument| argument == "--probe")?;
    let wanted = arguments.next()?;
    let probe = Probe::ALL.into_iter().find(|probe| wanted == probe.name())?;
    let (said, status) = match probe.run() {
        Ok(said) => (said, ExitCode::SUCCESS),
        Err(error) => (error.to_string(), ExitCode::FAILURE),
    };
    std::io::stdout().write_all(said.as_bytes()).ok()?;
    Some(status)
}
