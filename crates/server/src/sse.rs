//! The framing of server-sent events.
//!
//! A frame is `id` (the entry's place in the log; absent from previews), `event` (the type) and `data` (the JSON). The
//! official clients drop a frame without an `event` line, and ignore comments.

use std::fmt::Write;

/// Appends one frame.
pub(crate) fn frame(out: &mut String, seq: Option<i64>, kind: &str, json: &str) {
    if let Some(seq) = seq {
        writeln!(out, "id: {seq}").expect("a string takes everything");
    }
    out.push_str("event: ");
    out.push_str(kind);
    out.push('\n');
    // A line break can stand between two tokens of the JSON, never inside a string: there it is escaped. The decoder
    // joins the lines with a break again.
    for line in json.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// Appends a comment, which tells proxies and clients that the stream is alive and says nothing else.
pub(crate) fn heartbeat(out: &mut String) {
    out.push_str(": heartbeat\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_id_its_type_and_its_json() {
        let mut out = String::new();
        frame(&mut out, Some(7), "agent.message", r#"{"type":"agent.message"}"#);
        frame(&mut out, None, "event_start", "{}");
        assert_eq!(
            out,
            "id: 7\nevent: agent.message\ndata: {\"type\":\"agent.message\"}\n\nevent: event_start\ndata: {}\n\n"
        );
    }

    #[test]
    fn json_over_several_lines_stays_one_frame() {
        let mut out = String::new();
        frame(&mut out, None, "x", "{\r\n \"a\":\n\n1}\n");
        assert_eq!(out, "event: x\ndata: {\ndata:  \"a\":\ndata: 1}\n\n");
    }
}
