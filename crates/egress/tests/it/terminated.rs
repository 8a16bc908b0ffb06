//! TLS that ends in the proxy, so that requests get secrets that the sandbox does not hold.

use std::sync::Arc;

use bytes::Bytes;
use egress::Grant;
use egress::Policy;
use egress::Roots;
use egress::authority::Authority as SessionAuthority;
use egress::decide::Rule;
use egress::grant::Secret;
use egress::grant::Substitution;
use egress::usage_log::Verdict;
use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stage::Stage;
use crate::stage::Table;
use crate::stage::limited;
use crate::stage::pattern;
use crate::stage::route;
use crate::tls_host::Authority;
use crate::tls_host::TlsHost;

const PLACEHOLDER: &str = "placeholder-9c1f4be2";
const SECRET: &str = "the-real-secret";

fn substitution(host: &str) -> Substitution {
    Substitution { placeholder: PLACEHOLDER.into(), secret: Secret::new(SECRET), hosts: vec![pattern(host)] }
}

/// A session that may reach two hosts of an authority, of which one gets a secret.
struct Scene {
    stage: Stage,
    authority: Authority,
    secret_host: TlsHost,
    plain_host: TlsHost,
    tasks: JoinSet<()>,
}

impl Scene {
    async fn new(protocols: &[&str]) -> Self {
        Self::under(limited(&["secret.example", "plain.example"]), protocols).await
    }

    async fn under(mut policy: Policy, protocols: &[&str]) -> Self {
        let mut tasks = JoinSet::new();
        let authority = Authority::new();
        let secret_host = TlsHost::new(&mut tasks, authority.server("secret.example", protocols)).await;
        let plain_host = TlsHost::new(&mut tasks, authority.server("plain.example", protocols)).await;
        policy.routes = vec![
            route("secret.example", 443, secret_host.address),
            route("plain.example", 443, plain_host.address),
        ];
        let mut grant = Grant::from(policy);
        grant.substitutions = vec![substitution("secret.example")];
        let roots = Roots::new(vec![authority.certificate.clone()]);
        let stage = Stage::granted(Some(Arc::new(grant)), Table::default(), roots);
        Self { stage, authority, secret_host, plain_host, tasks }
    }

    /// The certificate of the session's authority, as the sandbox has it.
    fn session_certificate(&self) -> CertificateDer<'static> {
        let (folder, id) = (self.stage.folder.path(), self.stage.session.id());
        let authority = SessionAuthority::open(folder, id, api::time::Clock::system().now()).unwrap();
        CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()
    }

    /// TLS through the session to `name`, by a client that trusts one authority.
    async fn connect(
        &self,
        name: &'static str,
        trusted: CertificateDer<'static>,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.stage.connect_to(name, 443).await;
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
    }

    /// One request by HTTP/1.1 to the host with the secret, and its response as text.
    async fn ask(&mut self, request: &str) -> (u16, String) {
        let stream = self.connect("secret.example", self.session_certificate(), &[]).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move { drop(connection.await) });
        let mut lines = request.lines();
        let mut builder = Request::builder().uri(lines.next().unwrap());
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            builder = builder.header(name, value);
        }
        let response = sender.send_request(builder.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        text(response).await
    }
}

async fn text(response: hyper::Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn the_host_gets_the_secret_and_the_sandbox_never_has_it() {
    let mut scene = Scene::new(&["h2", "http/1.1"]).await;
    let request = format!(
        "/a?b={PLACEHOLDER}\nhost: secret.example\nauthorization: Bearer {PLACEHOLDER}\nx-two: {PLACEHOLDER}+{PLACEHOLDER}"
    );
    assert_eq!(scene.ask(&request).await.0, 200);
    let seen = scene.secret_host.seen.lock().unwrap().join("\n");
    assert!(seen.contains(&format!("\"Bearer {SECRET}\"")), "{seen}");
    assert!(seen.contains(&format!("\"{SECRET}+{SECRET}\"")), "{seen}");
    // Only headers: what stands in a URL ends up in logs.
    assert!(seen.contains(&format!("/a?b={PLACEHOLDER}")), "{seen}");
    let grant = format!("{:?}", scene.stage.session.grant());
    assert!(grant.contains(PLACEHOLDER) && !grant.contains(SECRET), "{grant}");
    for file in std::fs::read_dir(scene.stage.folder.path()).unwrap() {
        let content = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!content.contains(SECRET));
    }
}

#[tokio::test]
async fn tls_to_other_hosts_passes_unseen() {
    for policy in [limited(&["secret.example", "plain.example"]), Policy::unrestricted()] {
        let scene = Scene::under(policy, &["http/1.1"]).await;
        let stream = scene.connect("plain.example", scene.authority.certificate.clone(), &[]).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let request = Request::builder().header("host", "plain.example").header("x", PLACEHOLDER);
        let (response, _) = tokio::join!(
            async {
                let response =
                    sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
                drop(sender);
                text(response).await
            },
            connection
        );
        assert_eq!(response.0, 200);
        assert!(scene.plain_host.seen.lock().unwrap()[0].contains(PLACEHOLDER));
        // An authority is made only when it is needed.
        assert!(!scene.stage.folder.path().join("sesn_stage.ca").exists());
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_in_either_protocol() {
    for (client, host) in [("h2", "h2"), ("h2", "http/1.1"), ("http/1.1", "h2"), ("http/1.1", "http/1.1")] {
        // A host of HTTP/2 also speaks HTTP/1.1, which a client of HTTP/1.1 needs.
        let protocols: &[&str] = if host == "h2" { &["h2", "http/1.1"] } else { &["http/1.1"] };
        let mut scene = Scene::under(Policy::unrestricted(), protocols).await;
        let stream = scene.connect("secret.example", scene.session_certificate(), &[client]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(client.as_bytes()));
        let (parts, pieces) = mpsc::channel::<Bytes>(1);
        let pieces = futures(pieces);
        let request = Request::post("https://secret.example/echo").header("x-key", PLACEHOLDER);
        let response = if client == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            scene.tasks.spawn(async move { drop(connection.await) });
            let sending = sender.send_request(request.body(StreamBody::new(pieces)).unwrap());
            parts.send(Bytes::from_static(b"one")).await.unwrap();
            sending.await.unwrap()
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            scene.tasks.spawn(async move { drop(connection.await) });
            let request = request.uri("/echo").header("host", "secret.example:443");
            let sending = sender.send_request(request.body(StreamBody::new(pieces)).unwrap());
            parts.send(Bytes::from_static(b"one")).await.unwrap();
            sending.await.unwrap()
        };
        // The first part comes back before the second is sent.
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        parts.send(Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        drop(parts);
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
        let seen = scene.secret_host.seen.lock().unwrap();
        let version = if (client, host) == ("h2", "h2") { "HTTP/2.0" } else { "HTTP/1.1" };
        assert!(seen[0].contains(SECRET) && seen[0].contains(version), "{}", seen[0]);
    }
}

/// A body out of a channel.
fn futures(
    pieces: mpsc::Receiver<Bytes>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Unpin {
    Box::pin(futures_util::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok(Frame::data(piece)), pieces))
    }))
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_fails_cleanly() {
    let scene = Scene::new(&["http/1.1"]).await;
    let error = scene.connect("secret.example", scene.authority.certificate.clone(), &[]).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let entry = scene.stage.decision(1).await;
    assert_eq!((entry.verdict, entry.rule), (Verdict::Failed, Rule::CertificateRejected));
    assert_eq!(scene.secret_host.seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_host_that_is_not_what_it_says_gets_nothing() {
    // Its certificate is by an authority that this system does not trust.
    let mut scene = Scene::new(&["http/1.1"]).await;
    let mut policy = limited(&["secret.example"]);
    let impostor =
        TlsHost::new(&mut scene.tasks, Authority::new().server("secret.example", &["http/1.1"])).await;
    policy.routes = vec![route("secret.example", 443, impostor.address)];
    let mut grant = Grant::from(policy);
    grant.substitutions = vec![substitution("secret.example")];
    scene.stage.session.change(Some(Arc::new(grant)));
    let (status, body) = scene.ask(&format!("/\nhost: secret.example\nx: {PLACEHOLDER}")).await;
    assert_eq!(status, 502);
    assert!(body.contains("tls_failed") && body.contains("secret.example"), "{body}");
    assert_eq!(impostor.seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_request_to_another_host_is_refused_inside_the_connection() {
    let mut scene = Scene::under(Policy::unrestricted(), &["http/1.1"]).await;
    for request in [
        "/\nhost: plain.example",
        "/\nhost: secret.example:8443",
        "/\nhost: secret.example\nhost: plain.example",
        "https://plain.example/\nhost: secret.example",
    ] {
        let (status, body) = scene.ask(&format!("{request}\nx: {PLACEHOLDER}")).await;
        assert_eq!(status, 403, "{request}");
        assert!(body.contains("host_mismatch"), "{body}");
    }
    assert_eq!(scene.secret_host.seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_secret_that_is_taken_back_is_gone_for_new_requests() {
    let mut scene = Scene::new(&["http/1.1"]).await;
    let first = scene.session_certificate();
    scene.ask(&format!("/\nhost: secret.example\nx: {PLACEHOLDER}")).await;
    let mut grant = Grant::from(scene.stage.session.policy().as_ref().clone());
    grant.substitutions =
        vec![Substitution { secret: Secret::new("rotated"), ..substitution("secret.example") }];
    scene.stage.session.change(Some(Arc::new(grant)));
    scene.ask(&format!("/\nhost: secret.example\nx: {PLACEHOLDER}")).await;
    let seen = scene.secret_host.seen.lock().unwrap().clone();
    assert!(seen[0].contains(SECRET) && seen[1].contains("rotated") && !seen[1].contains(SECRET));
    // The authority outlives the process, and ends with the session.
    assert_eq!(first, scene.session_certificate());
    SessionAuthority::forget(scene.stage.folder.path(), scene.stage.session.id()).unwrap();
    assert_ne!(first, scene.session_certificate());
}

#[tokio::test]
async fn a_sandbox_is_told_to_trust_its_authority_besides_the_usual_ones() {
    let scene = Scene::new(&["http/1.1"]).await;
    let own = scene.session_certificate();
    let (folder, id) = (scene.stage.folder.path(), scene.stage.session.id());
    let authority = SessionAuthority::open(folder, id, api::time::Clock::system().now()).unwrap();
    let bundle = egress::authority::bundle(authority.certificate_pem());
    let listed: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes()).collect::<Result<_, _>>().unwrap();
    let mut expected = rustls_native_certs::load_native_certs().certs;
    expected.push(own);
    assert_eq!(listed, expected);
    let variables = egress::authority::variables("/etc/ca.pem");
    assert_eq!(variables["SSL_CERT_FILE"], "/etc/ca.pem");
    assert_eq!(variables["NODE_EXTRA_CA_CERTS"], "/etc/ca.pem");
}
