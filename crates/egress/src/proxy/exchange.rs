//! One request and its response, passed on with an eye on where each ends.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::ReadHalf;
use tokio::net::tcp::WriteHalf;

use super::buffered;
use super::buffered::Buffered;
use super::link::Link;
use super::relay::End;
use crate::body::Body;
use crate::http;
use crate::http::HeadError;
use crate::http::Request;
use crate::http::Response;
use crate::limits::COPY_BYTES;
use crate::limits::HEAD_BYTES_MAX;
use crate::limits::IDLE_TIME_MAX;
use crate::session::Exhausted;

/// What comes after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Perhaps another request.
    Request,
    /// The end of the connection.
    Close,
    /// Another protocol, which the host has agreed to.
    Switch,
}

/// Passes on a request whose head has been taken off the client's buffer, and its response.
pub(super) async fn exchange(client: &mut Buffered, link: &mut Link, request: &Request) -> Result<Next, End> {
    let flow = &link.flow;
    let (mut client_reader, mut client_writer) = client.stream.split();
    let (mut link_reader, mut link_writer) = link.buffered.stream.split();
    let mut is_sent = false;
    let next = {
        let sending = async {
            flow.count_out(request.forwarded.len())?;
            link_writer.write_all(&request.forwarded).await?;
            let body = Body::new(request.framing);
            let count = |count| flow.count_out(count);
            pass(body, &mut client_reader, &mut client.buffer, &mut link_writer, count).await
        };
        let count = |count| flow.count_in(count);
        let receiving =
            receive(request, &mut link_reader, &mut link.buffered.buffer, &mut client_writer, count);
        tokio::pin!(sending, receiving);
        loop {
            tokio::select! {
                next = &mut receiving => break next,
                sent = &mut sending, if !is_sent => match sent {
                    Ok(()) => is_sent = true,
                    Err(End::Exhausted(exhausted)) => break Err(exhausted.into()),
                    // A host may refuse the body and say so; a client that has gone ends the connection.
                    Err(End::Broken(_)) => break receiving.await.map(|_| Next::Close),
                },
            }
        }
    };
    match next? {
        // The rest of the request would be taken for the next one.
        Next::Request if !is_sent || !request.keeps_alive => Ok(Next::Close),
        Next::Switch if !is_sent => Ok(Next::Close),
        next => Ok(next),
    }
}

/// Passes on interim responses and the final one.
async fn receive(
    request: &Request,
    reader: &mut ReadHalf<'_>,
    buffer: &mut Vec<u8>,
    writer: &mut WriteHalf<'_>,
    count: impl Fn(usize) -> Result<(), Exhausted>,
) -> Result<Next, End> {
    loop {
        let Response { status, framing, keeps_alive, length } =
            read_response(&request.method, reader, buffer).await?;
        count(length)?;
        writer.write_all(&buffer[..length]).await?;
        buffer.drain(..length);
        match status {
            101 if request.is_upgrade => return Ok(Next::Switch),
            101 => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
            100..200 => {}
            _ => {
                pass(Body::new(framing), reader, buffer, writer, count).await?;
                return Ok(if keeps_alive { Next::Request } else { Next::Close });
            }
        }
    }
}

async fn read_response(
    method: &str,
    reader: &mut ReadHalf<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Response, End> {
    loop {
        match http::parse_response(buffer, method) {
            Ok(response) => return Ok(response),
            Err(HeadError::Incomplete) if buffer.len() < HEAD_BYTES_MAX => {
                buffered::fill(reader, buffer, IDLE_TIME_MAX).await?;
            }
            Err(HeadError::Incomplete | HeadError::Malformed(_)) => {
                return Err(io::Error::from(io::ErrorKind::InvalidData).into());
            }
        }
    }
}

/// Passes on a body. What of the buffer is past its end stays there.
async fn pass(
    mut body: Body,
    reader: &mut ReadHalf<'_>,
    buffer: &mut Vec<u8>,
    writer: &mut WriteHalf<'_>,
    count: impl Fn(usize) -> Result<(), Exhausted>,
) -> Result<(), End> {
    loop {
        let length = body.advance(buffer).map_err(io::Error::other)?;
        if length > 0 {
            count(length)?;
            writer.write_all(&buffer[..length]).await?;
            buffer.drain(..length);
        }
        if body.is_done() {
            return Ok(());
        }
        buffer.reserve(COPY_BYTES);
        match buffered::fill(reader, buffer, IDLE_TIME_MAX).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && body.may_end() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How long a client may take to go on: it may rest between requests, but not within one.
pub(super) fn patience(buffer: &[u8], head_time_max: Duration) -> Duration {
    if buffer.is_empty() { IDLE_TIME_MAX } else { head_time_max }
}
