//! The client for addresses of users, against hosts on loopback. A refused address is never connected to.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use egress::Client;
use egress::OperatorRules;
use egress::Roots;
use egress::client::Bounds;
use egress::client::ClientError;
use egress::client::Options;
use egress::client::Phase;
use egress::client::Request;
use egress::decide::Rule;
use egress::policy::Route;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stage::Table;
use crate::stage::limited;
use crate::stage::pattern;
use crate::stage::read_head;
use crate::tls_host::Authority;
use crate::tls_host::TlsHost;

/// A host that gives a fixed answer to each path, closes the connection, and keeps the heads of the requests.
struct Answers {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Answers {
    async fn new(tasks: &mut JoinSet<()>, answers: &'static [(&'static str, &'static [u8])]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = read_head(&mut stream).await;
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                kept.lock().unwrap().push(head);
                let answer = answers.iter().find(|(own, _)| *own == path);
                drop(stream.write_all(answer.map_or(b"HTTP/1.1 404 x\r\n\r\n", |(_, answer)| answer)).await);
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Rules under which these names lead to hosts on loopback, by plain HTTP as well.
fn rules(hosts: &[(&str, SocketAddr)]) -> OperatorRules {
    let route = |(host, to): &(&str, SocketAddr)| Route { host: pattern(host), port: None, to: *to };
    OperatorRules {
        routes: hosts.iter().map(route).collect(),
        plain_http_hosts: hosts.iter().map(|(host, _)| pattern(host)).collect(),
        ..OperatorRules::default()
    }
}

fn get(url: &str) -> Request {
    Request::new(Method::GET, url).unwrap()
}

#[tokio::test]
async fn no_name_and_no_spelling_leads_to_a_private_address() {
    let inside: &[(&str, &[&str])] = &[
        ("private.example", &["10.1.2.3"]),
        ("metadata.example", &["169.254.169.254"]),
        ("half.example", &["93.184.215.14", "127.0.0.1"]),
        ("mapped.example", &["64:ff9b::7f00:1"]),
    ];
    let mut options = Options::new(OperatorRules::default());
    options.resolver = Arc::new(Table::new(inside));
    let client = Client::new(options);
    for (url, refused) in [
        ("https://private.example/", "10.1.2.3"),
        ("https://metadata.example/", "169.254.169.254"),
        ("https://half.example/", "127.0.0.1"),
        ("https://mapped.example/", "127.0.0.1"),
        ("https://127.0.0.1/", "127.0.0.1"),
        ("https://2130706433/", "127.0.0.1"),
        ("https://0x7f.1:8443/", "127.0.0.1"),
        ("https://[::1]/", "::1"),
        ("https://[::ffff:169.254.169.254]/", "169.254.169.254"),
    ] {
        match client.send(get(url)).await {
            Err(ClientError::Refused { decision, .. }) => {
                assert_eq!(decision.rule, Rule::AddressRefused, "{url}");
                assert!(decision.text.contains(refused), "{url}: {}", decision.text);
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    let error = client.send(get("https://localhost/")).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
    let error = client.send(get("https://nowhere.example/")).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { decision, .. } if decision.rule == Rule::NameNotFound),
        "{error}"
    );
}

#[test]
fn what_is_no_url_of_a_host_is_refused_at_once() {
    for url in
        ["ftp://a.example/", "https://user:secret@a.example/", "file:///etc/passwd", "a.example", "https://"]
    {
        let error = Request::new(Method::GET, url).unwrap_err();
        assert!(matches!(error, ClientError::InvalidUrl { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn plain_http_the_operators_block_and_the_sessions_policy_are_decided_first() {
    let mut tasks = JoinSet::new();
    let host = Answers::new(&mut tasks, &[("/", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]).await;
    let mut rules = rules(&[("a.example", host.address), ("b.example", host.address)]);
    rules.plain_http_hosts.truncate(1);
    rules.blocked_hosts = vec![pattern("blocked.example")];
    let client = Client::new(Options::new(rules));
    let error = client.send(get("http://b.example/")).await.unwrap_err();
    assert!(matches!(&error, ClientError::PlainHttp { host } if host == "b.example"), "{error}");
    let error = client.send(get("https://blocked.example/")).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { decision, .. } if decision.rule == Rule::BlockedHost),
        "{error}"
    );
    let session = Arc::new(limited(&["other.example"]));
    let error = client.send(get("http://a.example/").policy(session)).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { decision, .. } if decision.rule == Rule::HostNotAllowed),
        "{error}"
    );
    assert_eq!(host.heads(), Vec::<String>::new());
    let session = Arc::new(limited(&["a.example"]));
    let response = client.send(get("http://a.example/").policy(session)).await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), "ok");
}

#[tokio::test]
async fn a_redirect_is_a_request_of_its_own_and_secrets_stay_with_their_origin() {
    let mut tasks = JoinSet::new();
    let other =
        Answers::new(&mut tasks, &[("/end", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend")]).await;
    let host = Answers::new(
        &mut tasks,
        &[
            ("/same", b"HTTP/1.1 302 x\r\nLocation: /away\r\nContent-Length: 0\r\n\r\n"),
            ("/away", b"HTTP/1.1 307 x\r\nLocation: http://b.example/end#x\r\nContent-Length: 0\r\n\r\n"),
            ("/inside", b"HTTP/1.1 302 x\r\nLocation: https://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"),
            ("/plain", b"HTTP/1.1 302 x\r\nLocation: http://c.example/\r\nContent-Length: 0\r\n\r\n"),
            ("/file", b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
            ("/loop", b"HTTP/1.1 302 x\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n"),
        ],
    )
    .await;
    let client =
        Client::new(Options::new(rules(&[("a.example", host.address), ("b.example", other.address)])));
    let mut key = HeaderValue::from_static("secret-key");
    key.set_sensitive(true);
    let request = |method: Method, path: &str| {
        Request::new(method, &format!("http://a.example{path}"))
            .unwrap()
            .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret-token"))
            .header(HeaderName::from_static("x-key"), key.clone())
            .header(HeaderName::from_static("x-plain"), HeaderValue::from_static("kept"))
    };
    let response = client.send(request(Method::GET, "/same")).await.unwrap();
    assert_eq!(response.url.as_str(), "http://b.example/end");
    assert_eq!(response.bytes().await.unwrap(), "end");
    assert!(host.heads().iter().all(|head| head.contains("secret-token") && head.contains("secret-key")));
    let [head] = <[String; 1]>::try_from(other.heads()).unwrap();
    assert!(head.contains("x-plain: kept") && !head.contains("secret"), "{head}");
    for (path, expected) in
        [("/inside", "address"), ("/plain", "plain"), ("/file", "url"), ("/loop", "often")]
    {
        let kind = match client.send(request(Method::GET, path)).await {
            Err(ClientError::Refused { decision, .. }) if decision.rule == Rule::AddressRefused => "address",
            Err(ClientError::PlainHttp { .. }) => "plain",
            Err(ClientError::InvalidUrl { .. }) => "url",
            Err(ClientError::Redirect { reason, .. }) if reason.contains("often") => "often",
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(kind, expected, "{path}");
    }
    // A body may be a secret itself.
    let error = client.send(request(Method::POST, "/away").body("refresh_token=1")).await.unwrap_err();
    assert!(matches!(error, ClientError::Redirect { .. }), "{error}");
    let response = client.send(request(Method::POST, "/same").body("refresh_token=1")).await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), "end");
    assert!(other.heads()[1].starts_with("GET /end "));
}

#[tokio::test]
async fn the_size_of_a_response_is_bounded_as_it_comes_and_decompressed() {
    let mut tasks = JoinSet::new();
    let bomb = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 4 << 20]).unwrap();
        let body = encoder.finish().unwrap();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    let long =
        [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 300_000], b"\r\nContent-Length: 0\r\n\r\n"].concat();
    let answers: &'static [(&str, &[u8])] = Box::leak(Box::new([
        ("/plain", &b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"[..]),
        ("/bomb", bomb.leak()),
        ("/torn", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"),
        ("/other", b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"),
        ("/short", b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello"),
        ("/long", long.leak()),
    ]));
    let host = Answers::new(&mut tasks, answers).await;
    let client = Client::new(Options::new(rules(&[("a.example", host.address)])));
    let fetch = async |path: &str, bytes_max: u64| {
        let bounds = Bounds { response_bytes_max: bytes_max, ..Bounds::default() };
        client.send(get(&format!("http://a.example{path}")).bounds(bounds)).await?.bytes().await
    };
    assert_eq!(fetch("/plain", 11).await.unwrap(), "hello world");
    assert!(matches!(fetch("/plain", 10).await, Err(ClientError::TooLarge { bytes_max: 10, .. })));
    assert_eq!(fetch("/bomb", 4 << 20).await.unwrap(), vec![0; 4 << 20]);
    assert!(matches!(fetch("/bomb", (4 << 20) - 1).await, Err(ClientError::TooLarge { .. })));
    assert!(matches!(fetch("/torn", 100).await, Err(ClientError::Encoding { .. })));
    assert!(matches!(fetch("/other", 100).await, Err(ClientError::Encoding { .. })));
    assert!(matches!(fetch("/short", 100).await, Err(ClientError::Broken { .. })));
    assert!(matches!(fetch("/long", 100).await, Err(ClientError::Broken { .. })));
}

/// A host that takes connections, and each of them in the test's hands.
async fn silent_host() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream
}

#[tokio::test]
async fn a_stream_is_read_as_it_comes_and_may_only_rest_for_so_long() {
    let (listener, address) = silent_host().await;
    let client = Client::new(Options::new(rules(&[("a.example", address)])));
    let bounds = Bounds { idle_time: Duration::from_millis(200), ..Bounds::stream() };
    let request = get("http://a.example/events").bounds(bounds);
    let (response, mut stream) = tokio::join!(client.send(request), async {
        let mut stream = accept(&listener).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ndata: one\n\n").await.unwrap();
        stream
    });
    let mut response = response.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: one\n\n");
    stream.write_all(b"data: two\n\n").await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: two\n\n");
    let error = response.chunk().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { phase: Phase::Idle, .. }), "{error}");
}

#[tokio::test]
async fn time_is_bounded_in_every_phase() {
    let (_listener, address) = silent_host().await;
    let mut options = Options::new(rules(&[("a.example", address)]));
    options.connect_time = Duration::from_millis(50);
    let client = Client::new(options);
    let short = Duration::from_millis(50);
    for (url, bounds, expected) in [
        // Nobody answers the hello of TLS.
        ("https://a.example/", Bounds::default(), Phase::Connect),
        ("http://a.example/", Bounds { first_byte_time: short, ..Bounds::default() }, Phase::FirstByte),
        ("http://a.example/", Bounds { whole_time: Some(short), ..Bounds::default() }, Phase::Whole),
    ] {
        match client.send(get(url).bounds(bounds)).await {
            Err(ClientError::TimedOut { host, phase, .. }) => {
                assert_eq!((host.as_str(), phase), ("a.example", expected));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn one_host_gets_only_so_many_requests_at_once_and_in_a_second() {
    let (listener, address) = silent_host().await;
    let mut options = Options::new(rules(&[("a.example", address), ("b.example", address)]));
    options.host_limits.concurrent_max = 1;
    options.host_limits.per_second_max = 1;
    options.host_limits.burst_max = 3;
    options.host_limits.wait_max = Duration::from_millis(50);
    let client = Client::new(options);
    let answer = async || {
        let mut stream = accept(&listener).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await.unwrap();
        stream
    };
    let (first, _stream) = tokio::join!(client.send(get("http://a.example/")), answer());
    let first = first.unwrap();
    let busy = client.send(get("http://a.example/")).await.unwrap_err();
    assert!(matches!(&busy, ClientError::Busy { reason, .. } if reason.contains("under way")), "{busy}");
    let (other, _other) = tokio::join!(client.send(get("http://b.example/")), answer());
    other.unwrap();
    drop(first);
    let (third, _third) = tokio::join!(client.send(get("http://a.example/")), answer());
    drop(third.unwrap());
    let busy = client.send(get("http://a.example/")).await.unwrap_err();
    assert!(matches!(&busy, ClientError::Busy { reason, .. } if reason.contains("a second")), "{busy}");
}

#[tokio::test]
async fn tls_is_verified_and_speaks_the_newest_protocol_that_both_know() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    for (protocols, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1")] {
        let host = TlsHost::new(&mut tasks, authority.server("a.example", protocols)).await;
        let rules = rules(&[("a.example", host.address), ("b.example", host.address)]);
        let mut options = Options::new(rules.clone());
        options.roots = Arc::new(Roots::new(vec![authority.certificate.clone()]));
        let client = Client::new(options);
        for _ in 0..2 {
            let response = client.send(get("https://a.example/x?y")).await.unwrap();
            let text = String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap();
            assert!(text.contains(version) && text.contains("/x?y"), "{text}");
        }
        let error = client.send(get("https://b.example/")).await.unwrap_err();
        assert!(matches!(&error, ClientError::Tls { host, .. } if host == "b.example"), "{error}");
        let strange = Client::new(Options::new(rules));
        let error = strange.send(get("https://a.example/")).await.unwrap_err();
        assert!(matches!(&error, ClientError::Tls { host, .. } if host == "a.example"), "{error}");
        assert_eq!(host.seen.lock().unwrap().len(), 2);
    }
}
