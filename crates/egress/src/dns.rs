//! DNS messages: reading one question, writing one answer. Strict, total, without allocation that a client controls.
//!
//! Only names of hosts are answered, and only with an IPv4 address; everything else that DNS can carry is a way to talk
//! to the outside past the proxy. Names are read without compression: a question has nothing to point to.

use std::net::Ipv4Addr;

use crate::limits::QUERY_BYTES_MAX;

const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 255;
/// Records after the question that a query may have: EDNS, a signature, a cookie.
const EXTRA_RECORDS_MAX: u16 = 4;
const CLASS_IN: u16 = 1;
/// Seconds for which an answer is valid: the address may be given to another name later.
const TTL_SECONDS: u32 = 1;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAGS_OPCODE: u16 = 0x7800;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// Everything: a way to get at what is refused one by one.
    Any,
    /// Free text, and its relatives that carry arbitrary bytes.
    Text,
    /// All others, AAAA, HTTPS and SVCB among them: there are none.
    Other,
}

/// A well-formed query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name, in lower case and without a dot at its end; labels are joined by dots. May be no host name at all:
    /// bytes that no host name has are turned into `?`.
    pub name: String,
    /// What is asked for.
    pub kind: Kind,
    is_recursive: bool,
    id: u16,
    /// The question as it was asked, to be repeated in the answer.
    question: Vec<u8>,
}

/// Why a query is not answered as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Nothing is sent: it is no query, or too short to answer.
    Silence,
    /// An answer is due that says only what is wrong.
    Answer {
        /// The query's id.
        id: u16,
        /// The response code.
        code: Code,
    },
}

/// A response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// All is well, though there may be nothing to tell.
    NoError = 0,
    /// The query makes no sense.
    FormatError = 1,
    /// The name could not be looked up.
    ServerFailure = 2,
    /// There is no such name.
    NameError = 3,
    /// Something that this server does not do.
    NotImplemented = 4,
    /// Something that this server does not tell.
    Refused = 5,
}

/// Reads a query.
pub fn parse(message: &[u8]) -> Result<Query, Malformed> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let header = |at: usize| word(at).ok_or(Malformed::Silence);
    if message.len() < HEADER_BYTES {
        return Err(Malformed::Silence);
    }
    let (id, flags) = (header(0)?, header(2)?);
    if flags & FLAG_RESPONSE != 0 {
        return Err(Malformed::Silence);
    }
    let answer = |code| Malformed::Answer { id, code };
    if flags & FLAGS_OPCODE != 0 {
        return Err(answer(Code::NotImplemented));
    }
    let (questions, answers, authorities, extras) = (header(4)?, header(6)?, header(8)?, header(10)?);
    let is_odd = questions != 1 || answers != 0 || authorities != 0 || extras > EXTRA_RECORDS_MAX;
    if is_odd || flags & FLAG_TRUNCATED != 0 || message.len() > QUERY_BYTES_MAX {
        return Err(answer(Code::FormatError));
    }
    let malformed = answer(Code::FormatError);
    let (name, after_name) = read_name(message, HEADER_BYTES).ok_or(malformed)?;
    let kind = word(after_name).ok_or(malformed)?;
    let class = word(after_name + 2).ok_or(malformed)?;
    let end = after_name + 4;
    let mut at = end;
    for _ in 0..extras {
        at = skip_record(message, at).ok_or(malformed)?;
    }
    if at != message.len() {
        return Err(malformed);
    }
    if class != CLASS_IN {
        return Err(answer(Code::Refused));
    }
    let kind = match kind {
        1 => Kind::A,
        255 | 251 | 252 => Kind::Any,
        // TXT, NULL, HINFO, SPF and the types for private use.
        16 | 10 | 13 | 99 | 65280..=65534 => Kind::Text,
        _ => Kind::Other,
    };
    let is_recursive = flags & FLAG_RECURSION_DESIRED != 0;
    Ok(Query { name, kind, is_recursive, id, question: message[HEADER_BYTES..end].to_vec() })
}

/// Reads the labels of a name; returns it and where it ends.
fn read_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // The two high bits mark pointers and kinds of labels that nobody uses.
        if length > 63 || at + length - start > NAME_BYTES_MAX - 1 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in message.get(at..at + length)? {
            let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            name.push(if is_plain { char::from(byte.to_ascii_lowercase()) } else { '?' });
        }
        at += length;
    }
}

/// Skips a record after the question; its name must be the root, as that of EDNS is, or plain labels.
fn skip_record(message: &[u8], start: usize) -> Option<usize> {
    let (_, at) = read_name(message, start)?;
    let length = u16::from_be_bytes([*message.get(at + 8)?, *message.get(at + 9)?]);
    let end = at + 10 + usize::from(length);
    (end <= message.len()).then_some(end)
}

impl Query {
    /// An answer with an address, or with nothing but a code. Never longer than the question and sixteen bytes more than
    /// its header, so it always fits.
    pub fn answer(&self, code: Code, address: Option<Ipv4Addr>) -> Vec<u8> {
        let mut message = head(self.id, code, self.is_recursive, 1, u16::from(address.is_some()));
        message.extend_from_slice(&self.question);
        if let Some(address) = address {
            // The name is that of the question, by a pointer.
            message.extend_from_slice(&[0xc0, 0x0c]);
            message.extend_from_slice(&1_u16.to_be_bytes());
            message.extend_from_slice(&CLASS_IN.to_be_bytes());
            message.extend_from_slice(&TTL_SECONDS.to_be_bytes());
            message.extend_from_slice(&4_u16.to_be_bytes());
            message.extend_from_slice(&address.octets());
        }
        message
    }
}

/// The answer to a query that could not be read.
pub fn answer_malformed(id: u16, code: Code) -> Vec<u8> {
    head(id, code, false, 0, 0)
}

fn head(id: u16, code: Code, is_recursive: bool, questions: u16, answers: u16) -> Vec<u8> {
    let recursion = if is_recursive { FLAG_RECURSION_DESIRED } else { 0 };
    let flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | recursion | u16::from(code as u8);
    [id, flags, questions, answers, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}
