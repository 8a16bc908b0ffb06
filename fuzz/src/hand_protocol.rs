//! The frames between a server and a hand.

use std::fmt::Debug;

use hand::protocol::Decoder;
use hand::protocol::Error;
use hand::protocol::FRAME_BYTES_MAX;
use hand::protocol::Request;
use hand::protocol::Response;
use hand::protocol::encode;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte says how the others are cut: the frames are the same however that is. What is a message survives being
/// sent again.
pub fn check(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let whole = frames(bytes, bytes.len().max(1));
    assert_eq!(whole, frames(bytes, usize::from(cut % 9) + 1), "the cuts show");
    let (frames, is_broken) = whole;
    let used: usize = frames.iter().map(|frame| 4 + frame.len()).sum();
    let rest = &bytes[used..];
    let announced = rest.first_chunk().map(|header| u32::from_le_bytes(*header) as usize);
    assert_eq!(is_broken, announced.is_some_and(|length| length > FRAME_BYTES_MAX));
    assert!(
        is_broken || announced.is_none_or(|length| rest.len() < 4 + length),
        "a whole frame was kept back"
    );
    for frame in frames.iter().map(Vec::as_slice).chain([bytes]) {
        round::<Request>(frame);
        round::<Response>(frame);
    }
}

/// The frames before the end or an error, and whether there was one.
fn frames(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

fn round<T: Serialize + DeserializeOwned + Debug>(frame: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(frame) else { return };
    let encoded = encode(&message).expect("what was read can be written");
    let mut decoder = Decoder::default();
    decoder.push(&encoded);
    let again: T = decoder.message().expect("it is well-formed").expect("it is whole");
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
    assert!(matches!(decoder.message::<T>(), Ok(None) | Err(Error::Oversize { .. })));
    assert_eq!(encode(&again).expect("it was written before"), encoded);
}
