//! The first message of a TLS client: which server it names. Strict, total, bounded.
//!
//! Nothing is decrypted and nothing is changed; the bytes go on as they came.

use crate::limits::HELLO_BYTES_MAX;

const RECORD_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const EXTENSION_SERVER_NAME: u16 = 0;
/// Encrypted client hello, and the draft before it that encrypted the name only.
const EXTENSIONS_ENCRYPTED: [u16; 2] = [0xfe0d, 0xffce];

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server name, as it stands there.
    pub server_name: Option<String>,
    /// Whether there is another, encrypted hello inside, which may name another server. Clients also send noise that
    /// looks the same.
    pub has_encrypted_hello: bool,
}

/// Why bytes are no client hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// More bytes are needed.
    #[error("the hello is not whole yet")]
    Incomplete,
    /// They can never become one.
    #[error("not a TLS client hello: {0}")]
    Malformed(&'static str),
}

/// Whether a connection that begins with this byte can be TLS.
pub fn is_tls(first: u8) -> bool {
    first == RECORD_HANDSHAKE
}

/// Reads the hello at the beginning of a connection; it may be cut into several records.
pub fn parse(bytes: &[u8]) -> Result<Hello, HelloError> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let fragment = take_record(&mut rest)?;
        message.extend_from_slice(fragment);
        if message.len() > HELLO_BYTES_MAX {
            return Err(HelloError::Malformed("it is too long"));
        }
        let [kind, high, middle, low, body @ ..] = message.as_slice() else { continue };
        if *kind != HANDSHAKE_CLIENT_HELLO {
            return Err(HelloError::Malformed("another message comes first"));
        }
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        if length > HELLO_BYTES_MAX {
            return Err(HelloError::Malformed("it is too long"));
        }
        if body.len() > length {
            return Err(HelloError::Malformed("something follows it in the same record"));
        }
        if body.len() == length {
            return read_hello(body).ok_or(HelloError::Malformed("its fields do not fit"))?;
        }
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], HelloError> {
    if rest.first().is_some_and(|kind| *kind != RECORD_HANDSHAKE) {
        return Err(HelloError::Malformed("a record is of another kind"));
    }
    if rest.get(1).is_some_and(|version| *version != 3) {
        return Err(HelloError::Malformed("a record has an unknown version"));
    }
    let [_, _, _, high, low, after @ ..] = rest else { return Err(HelloError::Incomplete) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length == 0 || length > RECORD_BYTES_MAX {
        return Err(HelloError::Malformed("a record is empty or too long"));
    }
    let fragment = after.get(..length).ok_or(HelloError::Incomplete)?;
    *rest = &after[length..];
    Ok(fragment)
}

/// Cuts off `count` bytes.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

fn take_word(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Cuts off a field that has its length in one byte before it.
fn take_short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(rest, 1)?[0];
    take(rest, usize::from(length))
}

/// Cuts off a field that has its length in two bytes before it.
fn take_long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_word(rest)?;
    take(rest, usize::from(length))
}

fn read_hello(body: &[u8]) -> Option<Result<Hello, HelloError>> {
    let mut rest = body;
    // Version and random bytes.
    take(&mut rest, 2 + 32)?;
    let session = take_short(&mut rest)?;
    let suites = take_long(&mut rest)?;
    let compressions = take_short(&mut rest)?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    let mut hello = Hello { server_name: None, has_encrypted_hello: false };
    if rest.is_empty() {
        return Some(Ok(hello));
    }
    let mut extensions = take_long(&mut rest)?;
    if !rest.is_empty() {
        return None;
    }
    let mut seen_name = false;
    while !extensions.is_empty() {
        let kind = take_word(&mut extensions)?;
        let data = take_long(&mut extensions)?;
        hello.has_encrypted_hello |= EXTENSIONS_ENCRYPTED.contains(&kind);
        if kind == EXTENSION_SERVER_NAME {
            if std::mem::replace(&mut seen_name, true) {
                return Some(Err(HelloError::Malformed("it names a server twice")));
            }
            hello.server_name = Some(read_server_name(data)?);
        }
    }
    Some(Ok(hello))
}

/// The one host name of the extension.
fn read_server_name(data: &[u8]) -> Option<String> {
    let mut rest = data;
    let mut list = take_long(&mut rest)?;
    let kind = take(&mut list, 1)?[0];
    let name = take_long(&mut list)?;
    let is_alone = rest.is_empty() && list.is_empty() && kind == 0;
    let is_plain = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    (is_alone && is_plain).then(|| String::from_utf8_lossy(name).into_owned())
}
