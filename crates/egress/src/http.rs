//! Heads of HTTP/1 messages. Strict, total, bounded.
//!
//! A proxy and the server behind it must not disagree about where a request ends or whom it is for. So what is passed on is
//! written anew from what was understood here, and whatever can be understood in two ways is refused.

use crate::body::Framing;
use crate::limits::HEAD_BYTES_MAX;
use crate::limits::HEADERS_MAX;

/// How HTTP/2 begins when a client knows beforehand that the server speaks it.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How every response begins.
const RESPONSE_START: &[u8] = b"HTTP/1.";

/// Headers that are about one connection only.
const HOP_BY_HOP: [&str; 4] = ["connection", "keep-alive", "proxy-connection", "proxy-authorization"];

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More bytes are needed.
    #[error("the head is not whole yet")]
    Incomplete,
    /// They can never become one.
    #[error("{0}")]
    Malformed(&'static str),
}

use HeadError::Malformed;

/// A host and perhaps a port, as they stand in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host, not yet normalised; IPv6 in brackets.
    pub host: String,
    /// The port, when one is given.
    pub port: Option<u16>,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `CONNECT host:port`.
    Connect(Authority),
    /// A URL with a host; only `http`.
    Absolute(Authority),
    /// A path, or `*`.
    Origin,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// What the request is for.
    pub form: Form,
    /// Path and query, or `*`.
    pub target: String,
    /// The one `Host` header.
    pub host: Option<Authority>,
    /// How the body ends.
    pub framing: Framing,
    /// Whether another request may follow.
    pub keeps_alive: bool,
    /// Whether the client wants to go on with a web socket.
    pub is_upgrade: bool,
    /// The head as it goes to the server.
    pub forwarded: Vec<u8>,
    /// Bytes of the head as it came.
    pub length: usize,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether another response may follow.
    pub keeps_alive: bool,
    /// Bytes of the head.
    pub length: usize,
}

/// The bytes of a whole head, as text lines end.
fn whole_head(bytes: &[u8]) -> Result<&[u8], HeadError> {
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let Some(at) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
        let is_full = bytes.len() >= HEAD_BYTES_MAX;
        return Err(if is_full { Malformed("the head is too long") } else { HeadError::Incomplete });
    };
    let head = &window[..at + 4];
    let mut last = 0;
    for byte in head {
        let is_bare = (*byte == b'\n') != (last == b'\r');
        if is_bare || *byte == 0 {
            return Err(Malformed("a line of the head does not end as it must"));
        }
        last = *byte;
    }
    Ok(head)
}

/// Reads the head of a request at the beginning of some bytes.
pub fn parse_request(bytes: &[u8]) -> Result<Request, HeadError> {
    let begins_badly = bytes.first().is_some_and(|first| !first.is_ascii_alphabetic());
    if begins_badly {
        return Err(Malformed("it does not begin as a request does"));
    }
    if bytes.starts_with(&HTTP2_PREFACE[..16]) {
        return Err(Malformed("HTTP/2 without TLS is not offered"));
    }
    let head = whole_head(bytes)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) | Err(_) => return Err(Malformed("the head is not one of HTTP/1")),
    }
    let method = request.method.ok_or(Malformed("the method is missing"))?;
    let target = request.path.ok_or(Malformed("the target is missing"))?;
    let is_modern = request.version == Some(1);
    let fields = Fields::read(request.headers, is_modern)?;
    let host = one(request.headers, "host", "there are two Host headers")?;
    let host = host.map(parse_authority).transpose()?;
    if is_modern && host.is_none() {
        return Err(Malformed("the Host header is missing"));
    }
    let (form, target) = parse_target(method, target)?;
    if let Form::Absolute(authority) = &form
        && host.as_ref().is_some_and(|host| !agrees(host, authority))
    {
        return Err(Malformed("the Host header names another host than the URL"));
    }
    if let (Form::Connect(_), Framing::Length(_) | Framing::Chunked) = (&form, fields.framing) {
        return Err(Malformed("CONNECT has no body"));
    }
    let is_upgrade = fields.is_upgrade && is_modern;
    let outline = Outline { is_modern, is_upgrade, keeps_alive: fields.keeps_alive };
    let mut forwarded = write_head(method, &target, outline, request.headers);
    if let (Form::Absolute(_), None) = (&form, &host) {
        // An old client may leave it out; a server would answer for whichever host it likes.
        name_host(&mut forwarded, &form);
    }
    Ok(Request {
        method: method.to_owned(),
        form,
        target,
        host,
        framing: fields.framing,
        keeps_alive: fields.keeps_alive,
        is_upgrade,
        forwarded,
        length: head.len(),
    })
}

/// Reads the head of a response at the beginning of some bytes. `method` is that of the request.
pub fn parse_response(bytes: &[u8], method: &str) -> Result<Response, HeadError> {
    // Only servers may pass over empty lines before a message: this head goes on as it is.
    if bytes.iter().zip(RESPONSE_START).any(|(byte, wanted)| byte != wanted) {
        return Err(Malformed("it does not begin as a response does"));
    }
    let head = whole_head(bytes)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) | Err(_) => return Err(Malformed("the head of the response is not one of HTTP/1")),
    }
    let status = response.code.ok_or(Malformed("the status is missing"))?;
    let fields = Fields::read(response.headers, response.version == Some(1))?;
    let has_body = !(method == "HEAD" || (100..200).contains(&status) || status == 204 || status == 304);
    let framing = match fields.framing {
        _ if !has_body => Framing::None,
        Framing::None if !fields.has_length => Framing::UntilClose,
        Framing::None | Framing::Length(_) | Framing::Chunked | Framing::UntilClose => fields.framing,
    };
    let keeps_alive = fields.keeps_alive && framing != Framing::UntilClose;
    Ok(Response { status, framing, keeps_alive, length: head.len() })
}

/// What the headers say about the message as a whole.
struct Fields {
    framing: Framing,
    has_length: bool,
    keeps_alive: bool,
    is_upgrade: bool,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>], is_modern: bool) -> Result<Self, HeadError> {
        let length = one(headers, "content-length", "there are two Content-Length headers")?;
        let coding = one(headers, "transfer-encoding", "there are two Transfer-Encoding headers")?;
        let framing = match (length, coding) {
            (Some(_), Some(_)) => return Err(Malformed("both Content-Length and Transfer-Encoding")),
            (None, None) => Framing::None,
            (Some(length), None) => match parse_length(length)? {
                0 => Framing::None,
                length => Framing::Length(length),
            },
            (None, Some(coding)) if is_modern && coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
            (None, Some(_)) => return Err(Malformed("a Transfer-Encoding other than chunked")),
        };
        let connection: Vec<&str> = all(headers, "connection").flat_map(|value| value.split(',')).collect();
        let says = |word: &str| connection.iter().any(|own| plain_trim(own).eq_ignore_ascii_case(word));
        let upgrade = one(headers, "upgrade", "there are two Upgrade headers")?;
        let is_upgrade = says("upgrade") && upgrade.is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
        let keeps_alive = if is_modern { !says("close") } else { says("keep-alive") };
        Ok(Self { framing, has_length: length.is_some(), keeps_alive, is_upgrade })
    }
}

/// The values of a header. One that is no text becomes a value that fits nothing. Only blanks and tabs are no part of a
/// value: the next reader takes other white space of Unicode for one, and must not understand something else.
fn all<'a>(headers: &'a [httparse::Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let wanted = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    wanted.map(|header| std::str::from_utf8(header.value).map_or("\u{fffd}", plain_trim))
}

fn plain_trim(value: &str) -> &str {
    value.trim_matches([' ', '\t'])
}

fn one<'a>(
    headers: &'a [httparse::Header<'_>],
    name: &'a str,
    twice: &'static str,
) -> Result<Option<&'a str>, HeadError> {
    let mut values = all(headers, name);
    let first = values.next();
    if values.next().is_some() { Err(Malformed(twice)) } else { Ok(first) }
}

fn parse_length(text: &str) -> Result<u64, HeadError> {
    let is_plain = !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain);
    number.ok_or(Malformed("the Content-Length is not a number"))
}

fn parse_target(method: &str, target: &str) -> Result<(Form, String), HeadError> {
    if method == "CONNECT" {
        let authority = parse_authority(target)?;
        if authority.port.is_none() {
            return Err(Malformed("CONNECT needs a host and a port"));
        }
        return Ok((Form::Connect(authority), target.to_owned()));
    }
    if target.starts_with('/') || target == "*" {
        return Ok((Form::Origin, target.to_owned()));
    }
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let Some(scheme) = scheme else { return Err(Malformed("the URL is neither a path nor one of http")) };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((Form::Absolute(parse_authority(authority)?), path))
}

/// Reads `host`, `host:port` or `[v6]:port`. Nothing that names a user.
pub fn parse_authority(text: &str) -> Result<Authority, HeadError> {
    let wrong = Malformed("the host is not written as it must be");
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
        Some(_) | None => (text, None),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let has_odd = |char: char| char.is_whitespace() || char.is_control() || "@/\\?#,<>\"".contains(char);
    if host.is_empty() || host.contains(has_odd) || (host.contains(':') && !is_bracketed) {
        return Err(wrong);
    }
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().map_err(|_| wrong)?)
        }
        Some(_) => return Err(wrong),
        None => None,
    };
    Ok(Authority { host: host.to_owned(), port })
}

/// Whether a `Host` header means what the URL means.
fn agrees(host: &Authority, url: &Authority) -> bool {
    let is_same_host = host.host.eq_ignore_ascii_case(&url.host);
    is_same_host && host.port.unwrap_or(80) == url.port.unwrap_or(80)
}

/// What a head says beyond its headers.
#[derive(Clone, Copy)]
struct Outline {
    is_modern: bool,
    is_upgrade: bool,
    keeps_alive: bool,
}

/// Writes the head that goes to the server: without what is meant for a proxy, without any upgrade but one to a web socket,
/// and with a `Connection` header of our own, because that can make a server drop any other header.
fn write_head(method: &str, target: &str, outline: Outline, headers: &[httparse::Header<'_>]) -> Vec<u8> {
    let Outline { is_modern, is_upgrade, keeps_alive } = outline;
    let version = if is_modern { "1.1" } else { "1.0" };
    let mut head = format!("{method} {target} HTTP/{version}\r\n").into_bytes();
    for header in headers {
        let is = |name: &&str| header.name.eq_ignore_ascii_case(name);
        let is_for_upgrade = ["upgrade", "http2-settings"].iter().any(is);
        if HOP_BY_HOP.iter().any(is) || (is_for_upgrade && !is_upgrade) {
            continue;
        }
        head.extend_from_slice(header.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    let connection: &[u8] = match (is_upgrade, keeps_alive, is_modern) {
        (true, _, _) => b"Connection: Upgrade\r\n",
        (false, false, true) => b"Connection: close\r\n",
        (false, true, false) => b"Connection: keep-alive\r\n",
        (false, true, true) | (false, false, false) => b"",
    };
    head.extend_from_slice(connection);
    head.extend_from_slice(b"\r\n");
    head
}

/// Adds the host of a URL to a head that names none.
fn name_host(head: &mut Vec<u8>, form: &Form) {
    let Form::Absolute(Authority { host, port }) = form else { return };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    head.truncate(head.len() - 2);
    head.extend_from_slice(format!("Host: {host}{port}\r\n\r\n").as_bytes());
}
