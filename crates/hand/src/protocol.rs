//! What a server and a hand say to each other: frames over a stream socket, each a little-endian `u32` of length and
//! that many bytes of JSON.
//!
//! Invariants: a frame is at most [`FRAME_BYTES_MAX`]; the decoder gives the same frames however the bytes were cut; a
//! call's content blocks and input pass through as raw JSON, byte for byte. Over the control socket of the spawner go
//! the short messages in [`control`] instead, one per packet.

mod binary;
pub mod operation;

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use self::operation::Answer;
use self::operation::Operation;
use self::operation::Stream;

/// Largest frame either side accepts. The largest real one is a 20 MiB PDF in base64, 27 MiB.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

const HEADER_BYTES: usize = 4;

/// Messages of the control socket (`SOCK_SEQPACKET`): between the spawner and the hand, not the server.
pub mod control {
    /// Descriptor on which the hand finds its control socket.
    pub const FD: i32 = 3;
    /// Spawner to hand, with one descriptor attached: serve this stream socket too.
    pub const ADOPT: u8 = b'A';
    /// Spawner to hand: end every process and exit with 0.
    pub const QUIT: u8 = b'Q';
    /// Spawner to hand, followed by text for whoever called: the sandbox has written more than it may. End every process
    /// inside but this one; the running calls end with an error that says so.
    pub const FULL: u8 = b'F';
    /// Hand to spawner: the walls stand, calls are served from now on.
    pub const READY: u8 = b'R';
    /// Hand to spawner, followed by text: the walls could not be built; the hand exits.
    pub const FAILED: u8 = b'E';
}

/// What a server asks of a hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", try_from = "RequestFields")]
pub enum Request {
    /// Run a tool. A known id is answered with its state and never runs twice.
    Execute {
        /// The call, named by the server.
        id: String,
        /// The thread whose shell a `bash` call uses; calls of one thread's shell run in order.
        thread: String,
        /// Name of the tool.
        tool: String,
        /// The tool's input, a JSON object.
        input: Arc<RawValue>,
    },
    /// Perform an operation. Answered with [`Response::Answer`]; a known id of one that is kept, as a call's.
    Operate {
        /// The operation, named by the server. Calls and operations share their names.
        id: String,
        /// What to do.
        operation: Operation,
    },
    /// Ask what became of a call or an operation: answered with its state, then with its result as soon as there is one.
    Recall {
        /// The call.
        id: String,
    },
    /// End a call; its result says that it was interrupted.
    Cancel {
        /// The call.
        id: String,
    },
    /// The results of these calls are stored safely and may be forgotten.
    Acknowledge {
        /// The calls.
        ids: Vec<String>,
    },
    /// Save what every idle shell knows to the sandbox's files, and end it. One that works is left alone. Answered with
    /// [`Response::Rested`].
    Rest,
    /// Ask for a [`Response::Pong`].
    Ping,
}

/// What a hand tells a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", try_from = "ResponseFields")]
pub enum Response {
    /// A call has ended. Sent to every connection, and kept until it is acknowledged.
    Result {
        /// The call.
        id: String,
        /// Content blocks as they stand in the event.
        content: Vec<Arc<RawValue>>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// What came of an operation. Kept until it is acknowledged where [`Operation`] says so, and then sent to every
    /// connection.
    Answer {
        /// The operation.
        id: String,
        /// What came of it.
        answer: Answer,
    },
    /// A program has printed something. Sent to the connection that asked last for it.
    Output {
        /// The operation.
        id: String,
        /// Where it was printed.
        stream: Stream,
        /// What was printed.
        #[serde(with = "binary::bytes")]
        bytes: Vec<u8>,
    },
    /// Answer to [`Request::Recall`], and to [`Request::Execute`] of a known id. `finished` is followed by the result.
    State {
        /// The call.
        id: String,
        /// What is known of it.
        state: CallState,
    },
    /// Answer to [`Request::Rest`]: what could be saved is in the files.
    Rested,
    /// Answer to [`Request::Ping`].
    Pong,
}

/// What a hand knows of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// It runs or waits for its turn; the result will be pushed.
    Running,
    /// It has ended; the result follows.
    Finished,
    /// Never heard of it, or its result was acknowledged long ago.
    Unknown,
}

/// Why bytes are not a message.
#[expect(clippy::error_impl_error, reason = "read as `protocol::Error`")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The length in the header is over the bound.
    #[error("decode frame of {length} bytes, over {FRAME_BYTES_MAX}")]
    Oversize {
        /// Length that was announced.
        length: usize,
    },
    /// The frame does not hold a message.
    #[error("decode message")]
    Malformed(#[source] serde_json::Error),
    /// The message cannot be written as JSON.
    #[error("encode message")]
    Unencodable(#[source] serde_json::Error),
}

/// The frame that carries `message`.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let mut frame = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut frame, message).map_err(Error::Unencodable)?;
    let length = frame.len() - HEADER_BYTES;
    match u32::try_from(length) {
        Ok(header) if length <= FRAME_BYTES_MAX => {
            frame[..HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
        }
        Ok(_) | Err(_) => return Err(Error::Oversize { length }),
    }
    Ok(frame)
}

/// Cuts a stream of bytes back into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// How much of `buffer` was handed out already.
    taken: usize,
}

impl Decoder {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The body of the next complete frame. After an error the stream is of no more use.
    pub fn frame(&mut self) -> Result<Option<&[u8]>, Error> {
        let rest = &self.buffer[self.taken..];
        let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Error::Oversize { length });
        }
        if body.len() < length {
            return Ok(None);
        }
        let start = self.taken + HEADER_BYTES;
        self.taken = start + length;
        Ok(Some(&self.buffer[start..start + length]))
    }

    /// The next complete message.
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some(frame) = self.frame()? else { return Ok(None) };
        serde_json::from_slice(frame).map(Some).map_err(Error::Malformed)
    }
}

/// The fields of every request in one struct: raw JSON does not survive serde's own handling of tagged enums.
#[derive(Deserialize)]
struct RequestFields {
    op: String,
    id: Option<String>,
    thread: Option<String>,
    tool: Option<String>,
    input: Option<Arc<RawValue>>,
    operation: Option<Operation>,
    ids: Option<Vec<String>>,
}

impl TryFrom<RequestFields> for Request {
    type Error = String;

    fn try_from(fields: RequestFields) -> Result<Self, String> {
        let RequestFields { op, id, thread, tool, input, operation, ids } = fields;
        let request = match op.as_str() {
            "execute" => Self::Execute {
                id: required(id, "id")?,
                thread: required(thread, "thread")?,
                tool: required(tool, "tool")?,
                input: required(input, "input")?,
            },
            "operate" => {
                Self::Operate { id: required(id, "id")?, operation: required(operation, "operation")? }
            }
            "recall" => Self::Recall { id: required(id, "id")? },
            "cancel" => Self::Cancel { id: required(id, "id")? },
            "acknowledge" => Self::Acknowledge { ids: required(ids, "ids")? },
            "rest" => Self::Rest,
            "ping" => Self::Ping,
            unknown => return Err(format!("unknown op {unknown:?}")),
        };
        Ok(request)
    }
}

/// The fields of every response in one struct, as [`RequestFields`].
#[derive(Deserialize)]
struct ResponseFields {
    op: String,
    id: Option<String>,
    content: Option<Vec<Arc<RawValue>>>,
    is_error: Option<bool>,
    answer: Option<Answer>,
    stream: Option<Stream>,
    bytes: Option<binary::Bytes>,
    state: Option<CallState>,
}

impl TryFrom<ResponseFields> for Response {
    type Error = String;

    fn try_from(fields: ResponseFields) -> Result<Self, String> {
        let ResponseFields { op, id, content, is_error, answer, stream, bytes, state } = fields;
        let response = match op.as_str() {
            "result" => Self::Result {
                id: required(id, "id")?,
                content: required(content, "content")?,
                is_error: required(is_error, "is_error")?,
            },
            "answer" => Self::Answer { id: required(id, "id")?, answer: required(answer, "answer")? },
            "output" => Self::Output {
                id: required(id, "id")?,
                stream: required(stream, "stream")?,
                bytes: required(bytes, "bytes")?.0,
            },
            "state" => Self::State { id: required(id, "id")?, state: required(state, "state")? },
            "rested" => Self::Rested,
            "pong" => Self::Pong,
            unknown => return Err(format!("unknown op {unknown:?}")),
        };
        Ok(response)
    }
}

fn required<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("field {name} is missing"))
}
