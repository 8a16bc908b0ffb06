//! A response whose body is still coming.

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio::time::timeout_at;
use url::Url;

use super::ClientError;
use super::Phase;
use super::Request;
use super::body::Decoder;
use super::request::Bounds;

/// A response. Its body is decompressed, and read within the bounds of the request.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those about a compression that has been undone.
    pub headers: HeaderMap,
    /// The URL that answered, after redirects.
    pub url: Url,
    host: String,
    body: Incoming,
    decoder: Decoder,
    /// Compressed bytes that have come and are not decompressed yet.
    compressed: Bytes,
    bytes_in: u64,
    bytes_out: u64,
    is_done: bool,
    bounds: Bounds,
    deadline: Option<Instant>,
    /// The request counts as under way until the response is dropped.
    _permit: OwnedSemaphorePermit,
}

impl Response {
    pub(super) fn new(
        request: Request,
        response: http::Response<Incoming>,
        permit: OwnedSemaphorePermit,
        deadline: Option<Instant>,
    ) -> Result<Self, ClientError> {
        let host = request.host_text();
        let (http::response::Parts { status, mut headers, .. }, body) = response.into_parts();
        let mut encoding = String::new();
        if let Some(value) = headers.get(header::CONTENT_ENCODING) {
            encoding = String::from_utf8_lossy(value.as_bytes()).into_owned();
        }
        let Some(decoder) = Decoder::new(&encoding) else {
            return Err(ClientError::Encoding { host, reason: format!("{encoding:?} was not asked for") });
        };
        if !matches!(decoder, Decoder::Identity) {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
        }
        Ok(Self {
            status,
            headers,
            url: request.url,
            host,
            body,
            decoder,
            compressed: Bytes::new(),
            bytes_in: 0,
            bytes_out: 0,
            is_done: false,
            bounds: request.bounds,
            deadline,
            _permit: permit,
        })
    }

    /// The next part of the body as soon as it is there; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            while !self.compressed.is_empty() {
                let decompressed = self.decoder.step(&mut self.compressed);
                let decompressed = decompressed.map_err(|error| self.undecodable(&error))?;
                if let Some(chunk) = self.count(decompressed)? {
                    return Ok(Some(chunk));
                }
            }
            if self.is_done {
                return Ok(None);
            }
            if let Some(bytes) = self.receive().await? {
                self.bytes_in += bytes.len() as u64;
                if self.bytes_in > self.bounds.response_bytes_max {
                    return Err(self.too_large());
                }
                self.compressed = bytes;
                continue;
            }
            self.is_done = true;
            // A response without a body may still name the encoding that one would have.
            if self.bytes_in > 0 {
                let rest = self.decoder.finish().map_err(|error| self.undecodable(&error))?;
                if let Some(chunk) = self.count(rest)? {
                    return Ok(Some(chunk));
                }
            }
        }
    }

    /// The whole body.
    pub async fn bytes(mut self) -> Result<Bytes, ClientError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The next bytes of the body as they come.
    async fn receive(&mut self) -> Result<Option<Bytes>, ClientError> {
        let idle_until = Instant::now() + self.bounds.idle_time;
        let (until, phase, after) = match (self.deadline, self.bounds.whole_time) {
            (Some(deadline), Some(whole)) if deadline < idle_until => (deadline, Phase::Whole, whole),
            _ => (idle_until, Phase::Idle, self.bounds.idle_time),
        };
        loop {
            match timeout_at(until, self.body.frame()).await {
                Err(_) => return Err(ClientError::TimedOut { host: self.host.clone(), phase, after }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(ClientError::Broken { host: self.host.clone(), reason: error.to_string() });
                }
                // Trailers are nobody's concern here.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }

    fn count(&mut self, bytes: Bytes) -> Result<Option<Bytes>, ClientError> {
        self.bytes_out += bytes.len() as u64;
        if self.bytes_out > self.bounds.response_bytes_max {
            return Err(self.too_large());
        }
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn too_large(&self) -> ClientError {
        ClientError::TooLarge { host: self.host.clone(), bytes_max: self.bounds.response_bytes_max }
    }

    fn undecodable(&self, error: &std::io::Error) -> ClientError {
        ClientError::Encoding { host: self.host.clone(), reason: error.to_string() }
    }
}
