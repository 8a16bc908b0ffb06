//! One HTTP/1.1 connection of the [model server](crate::model_server): reads requests, plays replies.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use bytes::Buf;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::model_server::Captured;
use crate::model_server::Shared;
use crate::model_server_reply::Part;
use crate::model_server_reply::Reply;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How a reply ended.
enum End {
    /// All bytes are out; the connection can be used again.
    Complete,
    /// The reply itself says that the connection breaks here.
    Broken,
    /// The client had gone first.
    Abandoned,
}

/// Serves requests until the connection ends.
pub(crate) async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    drop(stream.set_nodelay(true));
    let mut buffer = BytesMut::new();
    while let Ok(Some(request)) = read_request(&mut stream, &mut buffer).await {
        let reply = shared.answer(request);
        match play(&mut stream, reply).await {
            Ok(End::Complete) => {}
            Ok(End::Broken) => return,
            Ok(End::Abandoned) | Err(_) => return shared.count_abandoned(),
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Captured>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = buffer.split_to(head_end);
    buffer.advance(4);
    let mut lines = str::from_utf8(&head).map_err(|_| malformed())?.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().ok_or_else(malformed)?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let length: usize = length.parse().map_err(|_| malformed())?;
    if length > BODY_BYTES_MAX {
        return Err(malformed());
    }
    buffer.reserve(length.saturating_sub(buffer.len()));
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer.split_to(length).freeze();
    Ok(Some(Captured { method, path, headers, body }))
}

/// Writes the reply, part by part. Bytes between two pauses go out in one write, each piece as
/// an HTTP chunk of its own, which is how the client sees it.
async fn play(stream: &mut TcpStream, reply: Reply) -> io::Result<End> {
    let Reply { status, headers, parts, .. } = reply;
    let is_stream = headers.iter().all(|(name, _)| name != "content-length");
    let mut pending = head(status, &headers, is_stream);
    for part in parts {
        match part {
            Part::Bytes(bytes) if bytes.is_empty() => {}
            Part::Bytes(bytes) if is_stream => {
                pending.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                pending.extend_from_slice(&bytes);
                pending.extend_from_slice(b"\r\n");
            }
            Part::Bytes(bytes) => pending.extend_from_slice(&bytes),
            Part::Gate(gate) => {
                stream.write_all(&std::mem::take(&mut pending)).await?;
                tokio::select! {
                    () = gate.pass() => {}
                    () = gone(stream) => return Ok(End::Abandoned),
                }
            }
            Part::Delay(duration) => {
                stream.write_all(&std::mem::take(&mut pending)).await?;
                tokio::select! {
                    () = tokio::time::sleep(duration) => {}
                    () = gone(stream) => return Ok(End::Abandoned),
                }
            }
            Part::Stall => {
                stream.write_all(&pending).await?;
                gone(stream).await;
                return Ok(End::Abandoned);
            }
            Part::Break => {
                stream.write_all(&pending).await?;
                stream.shutdown().await?;
                return Ok(End::Broken);
            }
        }
    }
    if is_stream {
        pending.extend_from_slice(b"0\r\n\r\n");
    }
    stream.write_all(&pending).await?;
    Ok(End::Complete)
}

fn head(status: u16, headers: &[(String, String)], is_stream: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Status\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a string takes any text");
    }
    head.push_str(if is_stream { "transfer-encoding: chunked\r\n\r\n" } else { "\r\n" });
    head.into_bytes()
}

/// Waits until the client closes its side. It must not send anything meanwhile, which no client of ours does.
async fn gone(stream: &TcpStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0; 64]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
