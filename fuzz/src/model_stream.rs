//! Streams of model servers: events, and the blocks that they add up to.

use serde_json::value::RawValue;

use crate::block::Block;
use crate::raw;
use crate::raw::Fields;
use crate::sse::Event;
use crate::sse::Malformed;
use crate::sse::Parser;
use crate::tools::Tools;

/// The first byte says how the others are cut: the events are the same however that is. A block stays JSON on one line, of
/// the type that it began with, whatever is added to it.
pub fn check(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let whole = events(bytes, bytes.len().max(1));
    assert_eq!(whole, events(bytes, usize::from(cut % 16) + 1), "the cuts show");
    let Ok(events) = whole else { return };
    let mut block: Option<Block> = None;
    for Event { name, data } in &events {
        assert!(!name.contains(['\n', '\r']) && !data.contains('\r'), "an event holds another line");
        let Ok(data) = serde_json::from_str::<&RawValue>(data) else { continue };
        match (&mut block, Fields::of(data)) {
            (Some(block), Some(delta)) => drop(block.apply(&delta)),
            (None, Some(_)) => block = Block::start(data),
            (Some(_) | None, None) => {}
        }
    }
    let Some(block) = block else { return };
    drop(block.first_text());
    let kind = block.kind.clone();
    if let Some(block) = block.finish(&Tools::of(&[])) {
        assert!(!block.get().contains(['\n', '\r']), "a block is more than a line");
        let fields = Fields::of(&block).expect("a block is an object");
        assert!(fields.get("type").is_some(), "{block} was a {kind}");
        for (name, value) in &fields.0 {
            let is_text = value.get().starts_with('"');
            assert!(!is_text || raw::is_proper_string(value.get()), "{name} of {block} is no text");
        }
    }
}

fn events(bytes: &[u8], piece: usize) -> Result<Vec<Event>, Malformed> {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    for piece in bytes.chunks(piece) {
        parser.push(piece, |event| events.push(event))?;
    }
    Ok(events)
}
