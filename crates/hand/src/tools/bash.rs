//! Input of `bash`, and the words of its results. The work is done by `shell`.

use std::time::Duration;

use super::input::Input;
use crate::limits::COMMAND_TIME;
use crate::limits::COMMAND_TIME_MAX;

/// What is asked of a shell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// End the shell; the next command gets a new one that knows nothing of it.
    Restart,
    /// Run a command.
    Run {
        /// Source text.
        command: String,
        /// Time it may take.
        time: Duration,
    },
}

/// Reads the input.
pub(crate) fn order(json: &str) -> Result<Order, String> {
    let mut input = Input::parse("bash", json)?;
    let restart = input.flag("restart")?;
    let command = input.optional_text("command")?.filter(|command| !command.is_empty());
    let timeout_ms = input.optional_count("timeout_ms")?.filter(|millis| *millis > 0);
    if restart {
        return Ok(Order::Restart);
    }
    let Some(command) = command else { return Err("bash: command is required".to_owned()) };
    if command.contains('\0') {
        return Err("bash: command must not contain NUL characters".to_owned());
    }
    let time = timeout_ms.map_or(COMMAND_TIME, Duration::from_millis).min(COMMAND_TIME_MAX);
    Ok(Order::Run { command, time })
}

/// Seconds as people write them: `120`, `0.5`.
pub(crate) fn seconds(time: Duration) -> String {
    time.as_secs_f64().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_defaulted_and_bounded() {
        let time = |json: &str| match order(json) {
            Ok(Order::Run { time, .. }) => seconds(time),
            other => format!("{other:?}"),
        };
        assert_eq!(time(r#"{"command":"a"}"#), "120");
        assert_eq!(time(r#"{"command":"a","timeout_ms":0}"#), "120");
        assert_eq!(time(r#"{"command":"a","timeout_ms":1500}"#), "1.5");
        assert_eq!(time(r#"{"command":"a","timeout_ms":99999999}"#), "600");
        assert_eq!(order(r#"{"restart":true,"command":"a"}"#), Ok(Order::Restart));
        assert_eq!(order(r#"{"command":null}"#), Err("bash: command is required".to_owned()));
        assert_eq!(
            order(r#"{"command":"a","timeout_ms":-1}"#),
            Err("bash: timeout_ms must be an integer of at least 0".to_owned())
        );
    }
}
