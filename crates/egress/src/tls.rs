//! TLS of connections that leave this host: the authorities that are trusted, and streams with or without TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use hyper_util::client::legacy::connect::Connected;
use hyper_util::client::legacy::connect::Connection;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use crate::policy::Host;

/// The name of HTTP/2 in the negotiation of TLS.
pub(crate) const HTTP2: &[u8] = b"h2";
/// The name of HTTP/1.1.
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// The cryptography of all TLS here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The authorities that are trusted: those of the host system, read at the first use, and further ones.
#[derive(Debug, Default)]
pub struct Roots {
    extra: Vec<CertificateDer<'static>>,
    loaded: OnceCell<Arc<RootCertStore>>,
}

impl Roots {
    /// The authorities of the host system and these.
    pub fn new(extra: Vec<CertificateDer<'static>>) -> Self {
        Self { extra, loaded: OnceCell::new() }
    }

    pub(crate) async fn load(&self) -> io::Result<Arc<RootCertStore>> {
        let load = || async {
            // Reads a folder of files.
            let system = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(system.await.map_err(io::Error::other)?.certs);
            roots.add_parsable_certificates(self.extra.iter().cloned());
            if roots.is_empty() {
                let remedy = "this host trusts no certificate authority: install its ca-certificates";
                return Err(io::Error::new(io::ErrorKind::NotFound, remedy));
            }
            Ok(Arc::new(roots))
        };
        self.loaded.get_or_try_init(load).await.cloned()
    }
}

/// How a client speaks TLS that offers these protocols.
pub(crate) fn client_config(roots: Arc<RootCertStore>, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the usual versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// Agrees on TLS with a host, whose certificate must be for its name.
pub(crate) async fn connect<S>(config: Arc<ClientConfig>, host: &Host, stream: S) -> io::Result<Stream>
where
    S: Io + 'static,
{
    let name = match host {
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(io::Error::other)?,
        Host::Address(address) => ServerName::IpAddress((*address).into()),
    };
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    Ok(Stream { io: Box::new(stream), is_http2 })
}

/// Bytes both ways.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A connection to a host, with or without TLS.
pub(crate) struct Stream {
    io: Box<dyn Io>,
    is_http2: bool,
}

impl Stream {
    /// A connection without TLS.
    pub(crate) fn plain(stream: impl Io + 'static) -> Self {
        Self { io: Box::new(stream), is_http2: false }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.is_http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
