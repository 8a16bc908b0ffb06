//! The two conversations with the kernel's network that a sandbox needs: messages are written here, and the answers read.

use std::io;
use std::os::fd::AsFd;

use rustix::net::Protocol;
use rustix::net::SendFlags;

use super::sys;

/// The message is a request.
pub(super) const REQUEST: u16 = 1;
/// It is to be answered even if it succeeds.
pub(super) const ACKNOWLEDGE: u16 = 4;
/// What it names is made.
pub(super) const CREATE: u16 = 0x400;

const HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 4;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;
const ANSWER_BYTES_MAX: usize = 8192;

/// One message or several, to be sent as a whole.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    count: u32,
}

impl Messages {
    /// Adds a message: its kind, its flags, the fixed part of its body, and its attributes.
    pub(super) fn add(&mut self, kind: u16, flags: u16, fixed: &[u8], attributes: &[u8]) {
        self.count += 1;
        let length = u32::try_from(HEADER_BYTES + fixed.len() + attributes.len()).expect("a short message");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(fixed);
        self.bytes.extend(attributes);
        align(&mut self.bytes);
    }

    /// Sends all of them; fails if one of them does. The last one that asks for an answer has to be number `last`.
    pub(super) fn exchange(&self, protocol: Option<Protocol>, last: u32) -> io::Result<()> {
        let socket = sys::socket::netlink(protocol)?;
        rustix::net::send(&socket, &self.bytes, SendFlags::NOSIGNAL)?;
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        loop {
            // The kernel has done everything before the sending returned, so nothing has to be waited for.
            let length = sys::socket::receive_now(socket.as_fd(), &mut buffer)?;
            if is_done(&buffer[..length], last)? {
                return Ok(());
            }
        }
    }
}

/// An attribute.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ALIGNMENT + value.len()).expect("a short attribute");
    let mut bytes = Vec::with_capacity(usize::from(length) + ALIGNMENT);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    align(&mut bytes);
    bytes
}

/// An attribute that holds others.
pub(super) fn nested(kind: u16, inner: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, inner)
}

/// An attribute that holds a name.
pub(super) fn text(kind: u16, name: &str) -> Vec<u8> {
    attribute(kind, &[name.as_bytes(), &[0]].concat())
}

/// An attribute that holds a number in the order of bytes of the network, as packet filters want it.
pub(super) fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

/// Whether the answers hold the one to message `last`; an error when one of them is.
fn is_done(mut answers: &[u8], last: u32) -> io::Result<bool> {
    let mut is_done = false;
    while let Some((header, body)) = answers.split_at_checked(HEADER_BYTES) {
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
        };
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if kind == ERROR
            && let Some(code) = word(body, 0)
        {
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code.cast_signed().wrapping_neg()));
            }
            is_done |= word(header, 8) == Some(last);
        }
        let length = word(header, 0).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let length = length.max(HEADER_BYTES).next_multiple_of(ALIGNMENT);
        answers = answers.get(length..).unwrap_or_default();
    }
    Ok(is_done)
}
