//! Incremental parser of server-sent events: bytes in any chunking go in, whole events come out.
//!
//! Follows the HTML standard: lines end with LF, CR or CRLF, a leading byte order mark and comments are ignored, the
//! lines of `data` are joined by LF, an event without data is none, and an event that the stream's end cuts off is
//! dropped. `id` and `retry` mean nothing here. Lines and events are bounded, so that a broken server cannot exhaust
//! memory.

use crate::limits::EVENT_BYTES_MAX;
use crate::limits::LINE_BYTES_MAX;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; empty when the stream gives none.
    pub(crate) name: String,
    /// Its data.
    pub(crate) data: String,
}

/// The stream is not one of events that we are willing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A line or an event is too large.
    #[error("read an event stream: an event is larger than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
}

/// The parser's state between two chunks.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The last byte was a CR, so that an LF now belongs to it.
    after_cr: bool,
    /// The first line has been seen, so that a byte order mark means nothing any more.
    started: bool,
    event: Event,
    has_data: bool,
    has_foreign_lines: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    /// Takes the next bytes and gives each event that they complete to `sink`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Event)) -> Result<(), Malformed> {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.line.is_empty() {
                self.take_line(&rest[..at], &mut sink)?;
            } else {
                self.extend_line(&rest[..at])?;
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut sink)?;
            }
            let ended_by_cr = rest[at] == b'\r';
            rest = &rest[at + 1..];
            if ended_by_cr {
                self.after_cr = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
        }
        self.extend_line(rest)
    }

    /// Whether lines came that no event stream has.
    pub(crate) fn has_foreign_lines(&self) -> bool {
        self.has_foreign_lines || !self.line.is_empty()
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], sink: &mut impl FnMut(Event)) -> Result<(), Malformed> {
        let marked = !self.started && line.starts_with(BYTE_ORDER_MARK);
        let line = if marked { &line[BYTE_ORDER_MARK.len()..] } else { line };
        self.started = true;
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                sink(event);
            }
            return Ok(());
        }
        // As the standard decodes a stream: bytes that are no text cost a character, not the reply.
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => self.add_data(value)?,
            // Comments have an empty field name.
            "" | "id" | "retry" => {}
            _ => self.has_foreign_lines = true,
        }
        Ok(())
    }

    fn add_data(&mut self, value: &str) -> Result<(), Malformed> {
        if self.event.data.len() + value.len() >= EVENT_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        if self.has_data {
            self.event.data.push('\n');
        }
        self.event.data.push_str(value);
        self.has_data = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Event>, Malformed> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk, |event| events.push(event))?;
        }
        Ok(events)
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn every_line_ending_comments_and_several_data_lines_are_understood() {
        let stream = "\u{feff}: hello\nevent: a\ndata: 1\n\ndata:2\rdata: 3\r\rid: 7\r\nevent:b\r\ndata\r\n\r\nevent: c\n\ndata: cut";
        let expected = vec![event("a", "1"), event("", "2\n3"), event("b", "")];
        assert_eq!(parse([stream.as_bytes()]), Ok(expected));
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let chunk = vec![b'x'; 1024 * 1024];
        assert_eq!(parse(std::iter::repeat_n(chunk.as_slice(), 17)), Err(Malformed::TooLarge));
        let line = [b"data: ".as_slice(), &chunk, b"\n"].concat();
        assert_eq!(parse(std::iter::repeat_n(line.as_slice(), 17)), Err(Malformed::TooLarge));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(parse([b"data: a\xffb\n\n".as_slice()]), Ok(vec![event("", "a\u{fffd}b")]));
    }

    /// Streams made of the pieces that matter, so that their boundaries meet often.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("\n"),
            Just("\r"),
            Just("\r\n"),
            Just("data: "),
            Just("data:"),
            Just("event: "),
            Just(":"),
            Just(" "),
            Just("\u{feff}"),
            Just("ü"),
            Just("🦀"),
            Just("{\"a\":1}"),
            Just("id: 1"),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(stream in stream(), cuts in proptest::collection::vec(0_usize..200, 0..20)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            prop_assert_eq!(parse(chunks), parse([stream.as_slice()]));
            prop_assert_eq!(parse(stream.chunks(1)), parse([stream.as_slice()]));
        }
    }
}
