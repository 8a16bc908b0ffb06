//! A small blocking HTTP/1.1 client for loopback: one kept-alive connection, JSON bodies, server-sent events.
//!
//! The load generator shares the machine with the server it measures, so it spends as little as it can: one thread
//! and one socket per client, no runtime, no TLS.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;

const BETA: &str = "managed-agents-2026-04-01";
/// Nothing on loopback takes longer; what does is a hang to report.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// One client: an address, a key and a connection.
pub(crate) struct Client {
    address: SocketAddr,
    key: String,
    connection: Option<BufReader<TcpStream>>,
}

/// A response with its whole body.
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The body of a 200 as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        if self.status != 200 {
            bail!("the server answered {}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        serde_json::from_slice(&self.body).context("read a response as JSON")
    }
}

impl Client {
    /// A client that connects when it is first used.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Self {
        Self { address, key: key.to_owned(), connection: None }
    }

    /// GET.
    pub(crate) fn get(&mut self, path: &str) -> Result<Response> {
        self.send("GET", path, None)?;
        self.receive()
    }

    /// POST with a JSON body.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Result<Response> {
        self.send("POST", path, Some(body))?;
        self.receive()
    }

    /// Writes a request; [`Client::receive`] reads its response. A failure closes the connection.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Option<&str>) -> Result<()> {
        let request = self.render(method, path, body, "");
        let written = self.connection()?.get_mut().write_all(request.as_bytes());
        if written.is_err() {
            self.connection = None;
        }
        written.with_context(|| format!("send {method} {path}"))
    }

    /// Reads the response of the last request.
    pub(crate) fn receive(&mut self) -> Result<Response> {
        let mut connection = self.connection.take().context("no request was sent")?;
        let head = Head::read(&mut connection)?;
        let mut body = Vec::new();
        match head.length {
            Some(length) => {
                body.resize(length, 0);
                connection.read_exact(&mut body).context("read a body")?;
            }
            None if head.is_chunked => {
                Chunks { inner: &mut connection, left: 0, is_over: false }
                    .read_to_end(&mut body)
                    .context("read a chunked body")?;
            }
            None => bail!("a response has neither a length nor chunks"),
        }
        if !head.closes {
            self.connection = Some(connection);
        }
        Ok(Response { status: head.status, body })
    }

    /// Opens a stream of server-sent events on a connection of its own.
    pub(crate) fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<Events> {
        let resume = last_event_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let mut connection = connect(self.address)?;
        connection
            .get_mut()
            .write_all(self.render("GET", path, None, &resume).as_bytes())
            .with_context(|| format!("send GET {path}"))?;
        let head = Head::read(&mut connection)?;
        if head.status != 200 || !head.is_chunked {
            bail!("the stream {path} answered {}", head.status);
        }
        Ok(Events { lines: BufReader::new(Chunks { inner: connection, left: 0, is_over: false }) })
    }

    fn connection(&mut self) -> Result<&mut BufReader<TcpStream>> {
        if self.connection.is_none() {
            self.connection = Some(connect(self.address)?);
        }
        self.connection.as_mut().context("the connection was just made")
    }

    fn render(&self, method: &str, path: &str, body: Option<&str>, extra: &str) -> String {
        let body = body.unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nx-api-key: {}\r\nanthropic-version: 2023-06-01\r\n\
             anthropic-beta: {BETA}\r\n{extra}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            self.key,
            body.len(),
        )
    }
}

/// One server-sent event.
pub(crate) struct Event {
    /// Its `id:`, to resume after it.
    pub(crate) id: Option<String>,
    /// Its `data:`.
    pub(crate) data: String,
}

impl Event {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.data).with_context(|| format!("read an event as JSON: {}", self.data))
    }
}

/// An open stream.
pub(crate) struct Events {
    lines: BufReader<Chunks<BufReader<TcpStream>>>,
}

impl Events {
    /// The next event; `None` when the server closed the stream. Comments are passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Event>> {
        let mut id = None;
        let mut data: Option<String> = None;
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).context("read a stream")? == 0 {
                return Ok(None);
            }
            let text = line.trim_end_matches(['\r', '\n']);
            if let Some(value) = text.strip_prefix("data:") {
                let data = data.get_or_insert_default();
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value.strip_prefix(' ').unwrap_or(value));
            } else if let Some(value) = text.strip_prefix("id:") {
                id = Some(value.trim_start().to_owned());
            } else if text.is_empty()
                && let Some(data) = data.take()
            {
                return Ok(Some(Event { id, data }));
            }
        }
    }
}

struct Head {
    status: u16,
    length: Option<usize>,
    is_chunked: bool,
    closes: bool,
}

impl Head {
    fn read(connection: &mut impl BufRead) -> Result<Self> {
        let mut line = String::new();
        if connection.read_line(&mut line).context("read a status line")? == 0 {
            bail!("the server closed the connection");
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut head = Self {
            status: status.with_context(|| format!("no status in {line:?}"))?,
            length: None,
            is_chunked: false,
            closes: false,
        };
        loop {
            line.clear();
            if connection.read_line(&mut line).context("read a header")? == 0 {
                bail!("the server closed the connection within the headers");
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = Some(value.parse().context("read a content-length")?),
                "transfer-encoding" => head.is_chunked = value.eq_ignore_ascii_case("chunked"),
                "connection" => head.closes = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(head)
    }
}

/// Takes the chunked transfer coding off a body.
struct Chunks<R> {
    inner: R,
    left: usize,
    is_over: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.is_over || buffer.is_empty() {
            return Ok(0);
        }
        let mut line = String::new();
        if self.left == 0 {
            if self.inner.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let size = line.trim_end().split(';').next().unwrap_or_default();
            self.left = usize::from_str_radix(size, 16).map_err(std::io::Error::other)?;
            if self.left == 0 {
                self.is_over = true;
                line.clear();
                self.inner.read_line(&mut line)?;
                return Ok(0);
            }
        }
        let wanted = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        if self.left == 0 {
            line.clear();
            self.inner.read_line(&mut line)?;
        }
        Ok(read)
    }
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("set up a connection")?;
    stream.set_read_timeout(Some(READ_TIMEOUT)).context("set up a connection")?;
    Ok(BufReader::new(stream))
}
