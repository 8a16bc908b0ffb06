//! SOCKS version 5: no authentication, CONNECT only. Strict, total, bounded.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// The first byte of every message.
pub const VERSION: u8 = 5;
const METHOD_NONE: u8 = 0;
const COMMAND_CONNECT: u8 = 1;

/// Whom a client wants to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A name or an address, as text.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    /// More bytes are needed.
    #[error("the message is not whole yet")]
    Incomplete,
    /// They can never become one.
    #[error("not SOCKS version 5")]
    Malformed,
    /// A command that is not offered.
    #[error("this proxy connects, and nothing else")]
    Command,
}

/// How a request ended, as a reply says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reply {
    /// The connection stands.
    Succeeded = 0,
    /// Something else went wrong.
    Failed = 1,
    /// The policy refuses it.
    NotAllowed = 2,
    /// The host cannot be reached.
    HostUnreachable = 4,
    /// The command is not offered.
    CommandNotSupported = 7,
}

/// Reads the list of methods of authentication: whether "none" is among them, and how long it is.
pub fn parse_greeting(bytes: &[u8]) -> Result<(bool, usize), SocksError> {
    if bytes.first().is_some_and(|version| *version != VERSION) {
        return Err(SocksError::Malformed);
    }
    let [_, count, rest @ ..] = bytes else { return Err(SocksError::Incomplete) };
    let count = usize::from(*count);
    let methods = rest.get(..count).ok_or(SocksError::Incomplete)?;
    Ok((methods.contains(&METHOD_NONE), 2 + count))
}

/// Which method was chosen.
pub fn greeting_reply(is_accepted: bool) -> [u8; 2] {
    [VERSION, if is_accepted { METHOD_NONE } else { 0xff }]
}

/// Reads a request and its length.
pub fn parse_request(bytes: &[u8]) -> Result<(Request, usize), SocksError> {
    if bytes.first().is_some_and(|version| *version != VERSION) {
        return Err(SocksError::Malformed);
    }
    let [_, command, reserved, kind, rest @ ..] = bytes else { return Err(SocksError::Incomplete) };
    if *command != COMMAND_CONNECT {
        return Err(SocksError::Command);
    }
    if *reserved != 0 {
        return Err(SocksError::Malformed);
    }
    let (host, length) = read_host(*kind, rest)?;
    let port = rest.get(length..length + 2).ok_or(SocksError::Incomplete)?;
    Ok((Request { host, port: u16::from_be_bytes([port[0], port[1]]) }, 4 + length + 2))
}

fn read_host(kind: u8, rest: &[u8]) -> Result<(String, usize), SocksError> {
    match kind {
        1 => {
            let octets: [u8; 4] = *rest.first_chunk().ok_or(SocksError::Incomplete)?;
            Ok((IpAddr::from(Ipv4Addr::from(octets)).to_string(), 4))
        }
        3 => {
            let length = usize::from(*rest.first().ok_or(SocksError::Incomplete)?);
            let name = rest.get(1..=length).ok_or(SocksError::Incomplete)?;
            let name = std::str::from_utf8(name).map_err(|_| SocksError::Malformed)?;
            if name.is_empty() {
                return Err(SocksError::Malformed);
            }
            Ok((name.to_owned(), 1 + length))
        }
        4 => {
            let octets: [u8; 16] = *rest.first_chunk().ok_or(SocksError::Incomplete)?;
            Ok((IpAddr::from(Ipv6Addr::from(octets)).to_string(), 16))
        }
        _ => Err(SocksError::Malformed),
    }
}

/// The answer to a request. The address that it carries means nothing to a client that connects.
pub fn request_reply(reply: Reply) -> [u8; 10] {
    [VERSION, reply as u8, 0, 1, 0, 0, 0, 0, 0, 0]
}
