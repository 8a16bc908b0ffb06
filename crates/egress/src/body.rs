//! Where the body of an HTTP/1 message ends. Strict, total, without a copy of anything.

/// Longest line of a chunk's size, extensions included, and longest block of trailers.
const LINE_BYTES_MAX: usize = 4096;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// By a number of bytes.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection; responses only.
    UntilClose,
}

/// The chunks of a body are not written as they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of the body is not written as it must be")]
pub struct BodyError;

/// Follows a body through its bytes.
#[derive(Clone, Debug)]
pub struct Body {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Done,
    Left(u64),
    UntilClose,
    /// In the line with a chunk's size.
    Size(Size),
    /// In a chunk, with this much of it left.
    Chunk(u64),
    /// Before the line end after a chunk.
    ChunkEnd {
        has_return: bool,
    },
    /// After the last chunk, in trailers.
    Trailers {
        line: usize,
        total: usize,
        has_return: bool,
    },
}

#[derive(Clone, Debug, Default)]
struct Size {
    value: u64,
    digits: usize,
    length: usize,
    in_extension: bool,
    has_return: bool,
}

impl Body {
    /// The beginning of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Left(length),
            Framing::Chunked => State::Size(Size::default()),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Whether all of the body has been seen.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the end of the connection is a proper end of the body.
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// How many of these bytes still belong to the body.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Done => break,
                State::UntilClose => return Ok(bytes.len()),
                State::Left(left) => {
                    at += consume(left, rest.len());
                    if *left == 0 {
                        self.state = State::Done;
                    }
                }
                State::Chunk(left) => {
                    at += consume(left, rest.len());
                    if *left == 0 {
                        self.state = State::ChunkEnd { has_return: false };
                    }
                }
                State::Size(_) | State::ChunkEnd { .. } | State::Trailers { .. } => {
                    self.step(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// One byte outside the chunks themselves.
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        match &mut self.state {
            State::Size(size) => {
                if size.step(byte)? {
                    let value = size.value;
                    self.state = match value {
                        0 => State::Trailers { line: 0, total: 0, has_return: false },
                        value => State::Chunk(value),
                    };
                }
            }
            State::ChunkEnd { has_return } => match (byte, *has_return) {
                (b'\r', false) => *has_return = true,
                (b'\n', true) => self.state = State::Size(Size::default()),
                (_, _) => return Err(BodyError),
            },
            State::Trailers { line, total, has_return } => {
                *total += 1;
                if *total > LINE_BYTES_MAX {
                    return Err(BodyError);
                }
                match (byte, *has_return) {
                    (b'\r', false) => *has_return = true,
                    (b'\n', true) if *line == 0 => self.state = State::Done,
                    (b'\n', true) => {
                        *line = 0;
                        *has_return = false;
                    }
                    (b'\r' | b'\n', _) | (_, true) => return Err(BodyError),
                    (_, false) => *line += 1,
                }
            }
            State::Done | State::Left(_) | State::UntilClose | State::Chunk(_) => {}
        }
        Ok(())
    }
}

impl Size {
    /// Takes one byte of the line; true at its end.
    fn step(&mut self, byte: u8) -> Result<bool, BodyError> {
        self.length += 1;
        if self.length > LINE_BYTES_MAX {
            return Err(BodyError);
        }
        match (byte, self.has_return) {
            (b'\n', true) => return Ok(true),
            (b'\r', false) if self.digits > 0 => self.has_return = true,
            (_, true) | (b'\r' | b'\n', false) => return Err(BodyError),
            (_, false) if self.in_extension => {}
            (b';', false) if self.digits > 0 => self.in_extension = true,
            (digit, false) => {
                let value = char::from(digit).to_digit(16).ok_or(BodyError)?;
                // Fifteen digits are more than anybody sends and fit.
                self.digits += 1;
                if self.digits > 15 {
                    return Err(BodyError);
                }
                self.value = self.value << 4 | u64::from(value);
            }
        }
        Ok(false)
    }
}

fn consume(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    *left -= taken as u64;
    taken
}
