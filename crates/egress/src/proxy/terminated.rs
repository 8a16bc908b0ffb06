//! TLS that ends here, because requests to its host may get secrets: the client sees a certificate of its session's
//! authority, the host is verified by the authorities of this system, and each request is decided about, gets its
//! secrets, and goes on. Bodies stream both ways. HTTP/1.1 and HTTP/2, as each side negotiates.

mod streams;
mod upstream;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http_body_util::Either;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::streams::ClientStream;
use self::upstream::Upstream;
use super::answer;
use super::buffered::Buffered;
use super::link::Link;
use super::relay::Activity;
use super::relay::End;
use super::requests;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::http::parse_authority;
use crate::limits::HEAD_BYTES_MAX;
use crate::limits::HEAD_TIME_MAX;
use crate::limits::HEADERS_MAX;
use crate::limits::IDLE_TIME_MAX;
use crate::policy::Host;
use crate::session::Session;
use crate::tasks::Executor;
use crate::tasks::Tasks;
use crate::tls;
use crate::usage_log::Protocol;

/// Headers that are about one connection only.
const HOP_BY_HOP: [header::HeaderName; 4] = [
    header::CONNECTION,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::HeaderName::from_static("keep-alive"),
];

type Body = Either<Incoming, Full<Bytes>>;

/// What the requests of one connection share.
struct Connection {
    session: Arc<Session>,
    target: Target,
    host: legacy::Client<Upstream, Incoming>,
    executor: Executor,
}

/// Serves a connection that begins with the hello of TLS, for a target that `rule` has allowed. `link` may stand already.
pub(super) async fn serve(
    session: &Arc<Session>,
    client: Buffered,
    target: &Target,
    rule: Rule,
    link: Option<Link>,
) -> Result<(), End> {
    let Host::Name(name) = &target.host else { return Err(requests::gone()) };
    let config = session.authority()?.server_config(name, session.settings().clock.now())?;
    let activity = Arc::new(Activity::new());
    let stream = ClientStream::new(client, Arc::clone(&activity));
    let accepted = timeout(HEAD_TIME_MAX, TlsAcceptor::from(config).accept(stream)).await;
    let stream = match accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => stream,
        Err(error) => {
            // A client that knows the host's own certificate, or was not started with the session's authority.
            let text =
                format!("the client ended TLS with host {name}: {error}; does it trust the authority?");
            let decision = Decision::fail(Rule::CertificateRejected, name, &text);
            session.note(target, None, Protocol::Tls, &decision);
            return Err(error.into());
        }
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
    let tasks = Tasks::default();
    // A client of HTTP/1.1 may change to another protocol, for which the host must speak HTTP/1.1 as well.
    let protocols: &[&[u8]] = if is_http2 { &[tls::HTTP2, tls::HTTP1] } else { &[tls::HTTP1] };
    let upstream = Upstream::new(session, target, rule, link, protocols);
    let host = legacy::Client::builder(tasks.executor())
        .timer(TokioTimer::new())
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .http1_max_headers(HEADERS_MAX)
        .http2_max_header_list_size(head_bytes_max())
        .build(upstream);
    let (session, target) = (Arc::clone(session), target.clone());
    let connection = Arc::new(Connection { session, target, host, executor: tasks.executor() });
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let io = TokioIo::new(stream);
    let serving = async {
        if is_http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(tasks.executor());
            builder.timer(TokioTimer::new()).max_header_list_size(head_bytes_max());
            builder.serve_connection(io, service).await
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
            builder.header_read_timeout(IDLE_TIME_MAX);
            builder.serve_connection(io, service).with_upgrades().await
        }
    };
    tokio::select! {
        served = serving => served.map_err(|error| End::Broken(io::Error::other(error))),
        () = activity.idle() => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

fn head_bytes_max() -> u32 {
    u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX)
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.forward(request).await {
            Ok(response) => response,
            Err(decision) => refusal(&decision),
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Decision> {
        let Host::Name(name) = &self.target.host else {
            return Err(Decision::refuse(Rule::InvalidHost, &self.target.host, "it is not a name"));
        };
        if let Err(decision) = self.check(&request) {
            self.session.note(&self.target, None, Protocol::Http, &decision);
            return Err(decision);
        }
        let upgrade = is_websocket(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("https://{name}:{}{path}", self.target.port);
        let invalid = |_| Decision::refuse(Rule::ProtocolNotAllowed, name, "the path is not a valid one");
        parts.uri = uri.parse::<Uri>().map_err(invalid)?;
        parts.version = Version::HTTP_11;
        strip(&mut parts.headers, upgrade.is_some());
        // As the host's own clients write it: without the usual port.
        parts.headers.remove(header::HOST);
        if let Some(grant) = self.session.grant() {
            grant.substitute(name, &mut parts.headers);
        }
        let sent = self.host.request(Request::from_parts(parts, body)).await;
        let mut response = sent.map_err(|error| upstream::decision(&self.target, &error))?;
        *response.version_mut() = Version::HTTP_11;
        let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let (true, Some(client)) = (is_switch, upgrade) {
            let host = hyper::upgrade::on(&mut response);
            hyper::rt::Executor::execute(&self.executor, async move {
                if let Ok((client, host)) = tokio::try_join!(client, host) {
                    let (mut client, mut host) = (TokioIo::new(client), TokioIo::new(host));
                    drop(tokio::io::copy_bidirectional(&mut client, &mut host).await);
                }
            });
        } else {
            strip(response.headers_mut(), false);
        }
        Ok(response.map(Either::Left))
    }

    /// Whether a request may go to the host: it must be for it, and the session may have used up its bytes or reach less
    /// than when the connection was made.
    fn check(&self, request: &Request<Incoming>) -> Result<(), Decision> {
        let target = &self.target;
        let decision = self.session.decide(&self.session.policy(), target);
        if !decision.allowed {
            return Err(decision);
        }
        let mismatch = |why: &str| Err(Decision::refuse(Rule::HostMismatch, &target.host, why));
        let named = request.uri().authority().map(http::uri::Authority::as_str);
        let mut hosts =
            request.headers().get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or("?"));
        let (header, second) = (hosts.next(), hosts.next());
        if second.is_some() || named.or(header).is_none() {
            return mismatch("the request must name one host");
        }
        for text in named.into_iter().chain(header) {
            let authority = parse_authority(text).ok();
            let host = authority.as_ref().and_then(|authority| Host::parse(&authority.host).ok());
            let port = authority.and_then(|authority| authority.port);
            if host.as_ref() != Some(&target.host) || port.is_some_and(|port| port != target.port) {
                return mismatch("a connection to it was used for a request to another host");
            }
        }
        Ok(())
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Removes what is about one connection only. A change to a web socket is about both.
fn strip(headers: &mut HeaderMap, is_upgrade: bool) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if is_upgrade {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(header::UPGRADE);
    }
}

/// What the client gets when its request does not go on.
fn refusal(decision: &Decision) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(answer::body(decision).into())));
    *response.status_mut() = answer::status(decision.rule);
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("x-journeyman-blocked", answer::host(decision)),
        ("x-journeyman-rule", decision.rule.to_string()),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
