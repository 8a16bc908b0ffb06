//! A process that packs or unpacks one layer, and ends.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use serde::Serialize;

use super::LayerSpec;
use super::Work;
use super::jail;
use super::pack::pack;
use super::stream::Receiver;
use super::stream::Sender;
use super::stream::Word;
use super::stream::tell;
use super::unpack::unpack;
use crate::control::receive;
use crate::control::report;
use crate::protocol::control;

/// Exit status when the walls do not stand; the spawner was told why.
const WALLS_FAILED: i32 = 3;

/// Shuts this process in with the folder, does the work on the stream that the spawner hands over, and ends: with 0 if all
/// went well.
#[expect(clippy::exit, reason = "this is the whole life of the process")]
pub fn run(control: BorrowedFd<'_>, spec: &LayerSpec) -> ! {
    let isolated = jail::enter(spec);
    let told = match &isolated {
        Ok(()) => report(control, Ok(())),
        Err(error) => report(control, Err(error)),
    };
    if isolated.is_err() || told.is_err() {
        std::process::exit(WALLS_FAILED);
    }
    let is_done = stream(control).is_some_and(|stream| match spec.work {
        Work::Pack => pack_onto(&stream),
        Work::Unpack { limits } => {
            let mut receiver = Receiver::new(&stream);
            let done = root()
                .and_then(|root| unpack(&root, &mut receiver, &limits).map_err(|error| describe(&error)));
            let is_told = say(&stream, done);
            receiver.drain();
            is_told
        }
    });
    std::process::exit(i32::from(!is_done))
}

fn pack_onto(stream: &UnixStream) -> bool {
    let mut sender = Sender::new(stream);
    let packed = root().and_then(|root| pack(&root, &mut sender).map_err(|error| describe(&error)));
    sender.finish().is_ok() && say(stream, packed)
}

/// Says how it went; true if it went well and was heard.
fn say<T: Serialize>(mut stream: &UnixStream, done: Result<T, String>) -> bool {
    let is_done = done.is_ok();
    let word = match done {
        Ok(done) => Word::Ok(done),
        Err(reason) => Word::Error(reason),
    };
    tell(&mut stream, &word).and_then(|()| stream.flush()).is_ok() && is_done
}

fn root() -> Result<File, String> {
    File::open("/").map_err(|error| format!("open the folder: {error}"))
}

/// The stream that the spawner hands over.
fn stream(control: BorrowedFd<'_>) -> Option<UnixStream> {
    let packet = receive(control).ok()?;
    match packet.bytes.first() {
        Some(&control::ADOPT) => packet.descriptor.map(UnixStream::from),
        Some(_) | None => None,
    }
}

/// An error with all its causes, which the other side has no other way to learn.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
