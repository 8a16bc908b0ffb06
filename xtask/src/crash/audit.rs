//! The audit of one session: what it must look like after any number of kills, seen through the public API.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde_json::Value;

use super::Counts;

/// What the client knows of its session.
#[derive(Default)]
pub(crate) struct Record {
    /// The session's id.
    pub(crate) session: String,
    /// Ids of events whose sending was answered with 200.
    pub(crate) acknowledged: Vec<String>,
    /// Ids in the order in which the stream brought them, over all its resumptions.
    pub(crate) streamed: Vec<String>,
    /// Lines that commands were asked to write, whether or not the request was answered.
    pub(crate) issued: BTreeSet<String>,
}

/// Adds what is wrong with a finished session to the counts.
pub(crate) fn audit(record: &Record, log: &[Value], effects: &[String], counts: &Mutex<Counts>) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let mut audit = Audit { session: &record.session, log, counts: &mut counts };
    audit.order(record);
    audit.ends();
    audit.calls(record, effects);
    counts.sessions += 1;
    counts.events += log.len() as u64;
    counts.turns += log.iter().filter(|event| event["type"] == "user.message").count() as u64;
}

struct Audit<'a> {
    session: &'a str,
    log: &'a [Value],
    counts: &'a mut Counts,
}

/// What the log says of a command that writes a line.
struct Call<'a> {
    line: &'a str,
    results: Vec<&'a Value>,
}

impl Audit<'_> {
    /// Nothing acknowledged is missing, nothing is there twice, and the stream brought a gap-free part of the log.
    fn order(&mut self, record: &Record) {
        let listed: Vec<&str> = self.log.iter().filter_map(|event| event["id"].as_str()).collect();
        let unique: BTreeSet<&str> = listed.iter().copied().collect();
        if unique.len() < listed.len() {
            self.doubled(&format!("{} ids are listed more than once", listed.len() - unique.len()));
        }
        for id in &record.acknowledged {
            if !unique.contains(id.as_str()) {
                self.lost(&format!("acknowledged event {id} is not listed"));
            }
        }
        let streamed: Vec<&str> = record.streamed.iter().map(String::as_str).collect();
        let Some(first) = streamed.first() else { return };
        let start = listed.iter().position(|id| id == first).unwrap_or(listed.len());
        if !listed[start..].starts_with(&streamed) {
            let expected = &listed[start..];
            let at =
                expected.iter().zip(&streamed).take_while(|(listed, streamed)| listed == streamed).count();
            self.lost(&format!(
                "the stream departs from the list at its event {at}: list {:?}, stream {:?}",
                expected.get(at),
                streamed.get(at)
            ));
        }
    }

    /// Every message was processed and every turn ended well.
    fn ends(&mut self) {
        let log = self.log;
        for event in log {
            if event["type"] == "user.message" && event["processed_at"].is_null() {
                self.unfinished(&format!("message {} was never processed", event["id"]));
            }
            if event["type"] == "session.status_idle" && event["stop_reason"]["type"] != "end_turn" {
                self.unfinished(&format!("a turn ended with {}", event["stop_reason"]));
            }
        }
        if log.last().is_none_or(|event| event["type"] != "session.status_idle") {
            self.unfinished("the log does not end idle");
        }
    }

    /// Each call has one result, and its effect is there once, or at most once where the result says that it failed.
    fn calls(&mut self, record: &Record, effects: &[String]) {
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        for line in effects {
            *seen.entry(line).or_default() += 1;
        }
        for (line, count) in &seen {
            if !record.issued.contains(*line) {
                self.doubled(&format!("nobody asked for the effect {line:?}"));
            } else if *count > 1 {
                self.doubled(&format!("effect {line} is there {count} times"));
            }
        }
        for call in pair(self.log) {
            let is_written = seen.contains_key(call.line);
            match call.results.as_slice() {
                [] => self.unfinished(&format!("the call for {:?} has no result", call.line)),
                [result] if result["is_error"] == true => self.failed(&call, result, is_written),
                [_] if call.line.is_empty() || is_written => {}
                [_] => self.lost(&format!("effect {} is missing though its call succeeded", call.line)),
                [..] => {
                    self.doubled(&format!("the call for {:?} has {} results", call.line, call.results.len()));
                }
            }
        }
    }

    fn failed(&mut self, call: &Call<'_>, result: &Value, is_written: bool) {
        let told = result["content"].to_string();
        if told.contains("unknown") || told.contains("ambiguous") {
            self.counts.ambiguous += 1;
            self.counts.ambiguous_done += u64::from(is_written);
        } else if !call.line.is_empty() {
            self.lost(&format!("the call for {} failed: {told}", call.line));
        }
    }

    fn lost(&mut self, what: &str) {
        self.counts.lost += 1;
        self.counts.complain(self.session, what);
    }

    fn doubled(&mut self, what: &str) {
        self.counts.doubled += 1;
        self.counts.complain(self.session, what);
    }

    fn unfinished(&mut self, what: &str) {
        self.counts.unfinished += 1;
        self.counts.complain(self.session, what);
    }
}

/// Every tool call with its results. The line is empty for a call that writes none.
fn pair(log: &[Value]) -> Vec<Call<'_>> {
    let mut results: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in log.iter().filter(|event| event["type"] == "agent.tool_result") {
        results.entry(event["tool_use_id"].as_str().unwrap_or_default()).or_default().push(event);
    }
    let calls = log.iter().filter(|event| event["type"] == "agent.tool_use");
    calls
        .map(|call| {
            let command = call["input"]["command"].as_str().unwrap_or_default();
            let line =
                command.strip_prefix("echo ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            Call {
                line,
                results: results.remove(call["id"].as_str().unwrap_or_default()).unwrap_or_default(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(is_error: bool) -> Vec<Value> {
        vec![
            json!({"id": "1", "type": "user.message", "processed_at": "2026-01-01T00:00:00Z"}),
            json!({"id": "2", "type": "agent.tool_use", "input": {"command": "echo t0 >> /workspace/effects"}}),
            json!({"id": "3", "type": "agent.tool_result", "tool_use_id": "2", "is_error": is_error,
                   "content": [{"type": "text", "text": "the outcome is unknown"}]}),
            json!({"id": "4", "type": "session.status_idle", "stop_reason": {"type": "end_turn"}}),
        ]
    }

    fn record() -> Record {
        Record {
            session: "s".to_owned(),
            acknowledged: vec!["1".to_owned()],
            streamed: vec!["2".to_owned(), "3".to_owned()],
            issued: BTreeSet::from(["t0".to_owned()]),
        }
    }

    fn counts(record: &Record, log: &[Value], effects: &[&str]) -> (u64, u64, u64, u64) {
        let counts = Mutex::new(Counts::default());
        let effects: Vec<String> = effects.iter().map(|line| (*line).to_owned()).collect();
        audit(record, log, &effects, &counts);
        let counts = counts.into_inner().unwrap();
        (counts.lost, counts.doubled, counts.unfinished, counts.ambiguous)
    }

    #[test]
    fn a_healthy_session_passes() {
        assert_eq!(counts(&record(), &log(false), &["t0"]), (0, 0, 0, 0));
    }

    #[test]
    fn a_missing_effect_is_lost_unless_the_model_was_told() {
        assert_eq!(counts(&record(), &log(false), &[]), (1, 0, 0, 0));
        assert_eq!(counts(&record(), &log(true), &[]), (0, 0, 0, 1));
        assert_eq!(counts(&record(), &log(true), &["t0"]), (0, 0, 0, 1));
    }

    #[test]
    fn an_effect_or_an_event_that_is_there_twice_is_found() {
        assert_eq!(counts(&record(), &log(false), &["t0", "t0"]), (0, 1, 0, 0));
        let mut doubled = log(false);
        doubled.insert(1, doubled[0].clone());
        assert_eq!(counts(&record(), &doubled, &["t0"]), (0, 1, 0, 0));
    }

    #[test]
    fn a_gap_in_the_stream_and_a_lost_message_are_found() {
        let gap = Record { streamed: vec!["1".to_owned(), "3".to_owned()], ..record() };
        assert_eq!(counts(&gap, &log(false), &["t0"]), (1, 0, 0, 0));
        let lost = Record { acknowledged: vec!["9".to_owned()], ..record() };
        assert_eq!(counts(&lost, &log(false), &["t0"]), (1, 0, 0, 0));
    }

    #[test]
    fn a_call_without_a_result_and_a_log_that_does_not_end_idle_are_unfinished() {
        let mut unfinished = log(false);
        unfinished.remove(2);
        unfinished.pop();
        let record = Record { streamed: Vec::new(), ..record() };
        assert_eq!(counts(&record, &unfinished, &["t0"]), (0, 0, 2, 0));
    }
}
