//! Clients that know the proxy.

use std::sync::Arc;

use egress::decide::Rule;
use egress::policy::RequestRule;
use egress::usage_log::Protocol;
use egress::usage_log::Verdict;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stage::Stage;
use crate::stage::WebHost;
use crate::stage::client_hello;
use crate::stage::echo_host;
use crate::stage::limited;
use crate::stage::pattern;
use crate::stage::read_all;
use crate::stage::read_head;
use crate::stage::route;

async fn connect(stage: &Stage, authority: &str) -> (TcpStream, String) {
    let mut stream = stage.connect().await;
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (stream, head)
}

/// A stage with `allowed.example` on the web's ports, leading to an echo on 443 and a web server on 80.
async fn stage(tasks: &mut JoinSet<()>) -> (Stage, WebHost) {
    let web = WebHost::new(tasks).await;
    let mut policy = limited(&["allowed.example", "other.example"]);
    policy.routes = vec![
        route("allowed.example", 443, echo_host(tasks).await),
        route("allowed.example", 80, web.address),
        route("other.example", 80, web.address),
    ];
    (Stage::new(policy), web)
}

#[tokio::test]
async fn a_tunnel_to_an_allowed_host_passes_bytes_both_ways() {
    let mut tasks = JoinSet::new();
    let (stage, _) = stage(&mut tasks).await;
    let (mut stream, head) = connect(&stage, "allowed.example:443").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut sent = client_hello(Some("allowed.example"), &[]);
    sent.resize(300_000, 9);
    let expected = sent.len();
    let (mut reader, mut writer) = stream.split();
    let mut received = Vec::new();
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let ((), count) = tokio::join!(writing, reader.read_to_end(&mut received));
    assert_eq!((count.unwrap(), received == sent), (expected, true));
    let entry = stage.decision(1).await;
    assert_eq!(
        (entry.verdict, entry.rule, entry.host.as_str()),
        (Verdict::Allowed, Rule::AllowedHosts, "allowed.example")
    );
    while stage.session.connections() > 0 {
        tokio::task::yield_now().await;
    }
    let entry = stage.decision(1).await;
    assert_eq!((entry.bytes_out, entry.bytes_in), (expected as u64, expected as u64));
    assert_eq!(entry.protocol, Protocol::Tls);
}

#[tokio::test]
async fn a_tunnel_to_another_host_is_refused_by_name_and_rule() {
    let stage = Stage::new(limited(&["allowed.example"]));
    let table = [
        ("blocked.example:443", "blocked.example", "host_not_allowed"),
        ("allowed.example:22", "allowed.example", "port_not_allowed"),
        ("169.254.169.254:80", "169.254.169.254", "address_literal"),
        ("2852039166:80", "169.254.169.254", "address_literal"),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1", "address_literal"),
        ("sub.allowed.example:443", "sub.allowed.example", "host_not_allowed"),
    ];
    for (authority, host, rule) in table {
        let (mut stream, head) = connect(&stage, authority).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{authority}: {head}");
        assert!(head.contains(&format!("x-journeyman-blocked: {host}\r\n")), "{head}");
        let body: serde_json::Value = serde_json::from_str(&read_all(&mut stream).await).unwrap();
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], "permission_error");
        assert!(body["error"]["message"].as_str().unwrap().starts_with(&format!("blocked host {host}: ")));
        assert_eq!((body["host"].as_str(), body["rule"].as_str()), (Some(host), Some(rule)));
    }
    assert_eq!(stage.session.usage_log().totals().refused, 6);
    assert!(stage.resolver.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn requests_with_a_url_are_forwarded_and_kept_alive() {
    let mut tasks = JoinSet::new();
    let (stage, web) = stage(&mut tasks).await;
    let answer = stage
        .ask(
            b"GET http://allowed.example/one HTTP/1.1\r\nHost: allowed.example\r\nProxy-Authorization: x\r\n\r\n\
              POST http://other.example/chunks HTTP/1.1\r\nHost: other.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
              GET http://allowed.example HTTP/1.1\r\nHost: allowed.example\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.contains("GET /one HTTP/1.1"), "{answer}");
    assert!(answer.contains("3\r\nabc\r\n0\r\n\r\n"), "{answer}");
    assert!(answer.ends_with("GET / HTTP/1.1"), "{answer}");
    let seen = web.seen.lock().unwrap().join("");
    assert!(!seen.to_lowercase().contains("proxy"), "{seen}");
    assert_eq!(stage.session.usage_log().totals().allowed, 3);
}

#[tokio::test]
async fn a_second_request_for_another_host_is_refused() {
    let mut tasks = JoinSet::new();
    let (stage, web) = stage(&mut tasks).await;
    let answer = stage
        .ask(
            b"GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n\
              GET http://blocked.example/ HTTP/1.1\r\nHost: blocked.example\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        answer.contains("HTTP/1.1 403 Forbidden") && answer.contains("blocked host blocked.example"),
        "{answer}"
    );
    assert_eq!(web.requests(), 1);
}

#[tokio::test]
async fn requests_inside_a_tunnel_must_be_for_its_host() {
    let mut tasks = JoinSet::new();
    let (stage, web) = stage(&mut tasks).await;
    let (mut stream, _) = connect(&stage, "allowed.example:80").await;
    let requests =
        "GET /a HTTP/1.1\r\nHost: allowed.example\r\n\r\nGET /b HTTP/1.1\r\nHost: other.example\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("host_mismatch"), "{answer}");
    assert_eq!(web.requests(), 1);
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let mut tasks = JoinSet::new();
    let (stage, web) = stage(&mut tasks).await;
    let requests = [
        "GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\nHost: other.example\r\n\r\n",
        "GET http://allowed.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n",
        "GET http://allowed.example:81/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        "GET http://allowed.example/ HTTP/1.1\r\n\r\n",
        "POST http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: +0\r\n\r\n",
        "POST http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\nX: a\r\n b\r\n\r\n",
        "GET http://allowed.example/ HTTP/1.1\r\nHost : allowed.example\r\n\r\n",
        "GET http://allowed.example/ HTTP/1.1\nHost: allowed.example\r\n\r\n",
        "GET http://user@allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        "GET https://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "CONNECT allowed.example HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
    ];
    for request in requests {
        let answer = stage.ask(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn a_web_socket_goes_on_only_after_the_host_agrees() {
    let mut tasks = JoinSet::new();
    let (stage, web) = stage(&mut tasks).await;
    let (mut stream, _) = connect(&stage, "allowed.example:80").await;
    let upgrade = |to: &str| {
        format!("GET / HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade\r\nUpgrade: {to}\r\n\r\n")
    };
    stream.write_all(upgrade("websocket").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    stream.write_all(b"frames").await.unwrap();
    let mut frames = [0; 6];
    stream.read_exact(&mut frames).await.unwrap();
    assert_eq!(&frames, b"frames");
    // Another protocol could carry requests for other hosts, so the host is not asked for it.
    let (mut stream, _) = connect(&stage, "allowed.example:80").await;
    stream.write_all(upgrade("h2c").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert!(!web.seen.lock().unwrap()[1].contains("h2c"));
}

#[tokio::test]
async fn tls_in_a_tunnel_must_name_its_host() {
    let mut tasks = JoinSet::new();
    let (stage, _) = stage(&mut tasks).await;
    let hellos = [
        (client_hello(Some("other.example"), &[]), Rule::HostMismatch),
        (client_hello(None, &[]), Rule::ServerNameMissing),
        (client_hello(Some("allowed.example"), &[(0xfe0d, &[0; 40])]), Rule::EncryptedHello),
        (crate::stage::record(&[2, 0, 0, 0]), Rule::ProtocolNotAllowed),
    ];
    for (place, (hello, rule)) in hellos.into_iter().enumerate() {
        let (mut stream, _) = connect(&stage, "allowed.example:443").await;
        stream.write_all(&hello).await.unwrap();
        let mut alert = Vec::new();
        stream.read_to_end(&mut alert).await.unwrap();
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 49], "{rule:?}");
        assert_eq!(stage.decision(2 * place + 2).await.rule, rule);
    }
}

#[tokio::test]
async fn socks_reaches_allowed_names_and_no_others() {
    let mut tasks = JoinSet::new();
    let (stage, _) = stage(&mut tasks).await;
    for (name, code) in [("allowed.example", 0), ("blocked.example", 2), ("10.0.0.1", 2)] {
        let mut stream = stage.connect().await;
        stream.write_all(&[5, 1, 0]).await.unwrap();
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await.unwrap();
        assert_eq!(chosen, [5, 0]);
        let length = u8::try_from(name.len()).unwrap();
        let request = [&[5, 1, 0, 3, length], name.as_bytes(), &443_u16.to_be_bytes()].concat();
        stream.write_all(&request).await.unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[1], code, "{name}");
        if code == 0 {
            let hello = client_hello(Some(name), &[]);
            stream.write_all(&hello).await.unwrap();
            let mut echoed = vec![0; hello.len()];
            stream.read_exact(&mut echoed).await.unwrap();
            assert_eq!(echoed, hello);
        }
    }
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_told_from_one_that_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let mut policy = limited(&["down.example", "unknown.example"]);
    policy.routes = vec![route("down.example", 443, closed)];
    let stage = Stage::new(policy);
    let (_, head) = connect(&stage, "down.example:443").await;
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-journeyman-rule: unreachable"), "{head}");
    let (_, head) = connect(&stage, "unknown.example:443").await;
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("x-journeyman-rule: name_not_found"),
        "{head}"
    );
    assert_eq!(stage.session.usage_log().totals().failed, 2);
}

#[tokio::test]
async fn a_host_with_rules_takes_only_the_requests_that_they_permit() {
    let mut tasks = JoinSet::new();
    let web = WebHost::new(&mut tasks).await;
    let mut policy = limited(&["allowed.example"]);
    policy.routes =
        vec![route("allowed.example", 80, web.address), route("allowed.example", 443, web.address)];
    policy.requests = vec![RequestRule {
        host: pattern("allowed.example"),
        methods: vec!["GET".into()],
        paths: vec!["/v1/*".into()],
    }];
    let stage = Stage::new(policy);
    let get = |path: &str| {
        format!(
            "GET http://allowed.example{path} HTTP/1.1\r\nHost: allowed.example\r\nConnection: close\r\n\r\n"
        )
    };
    assert!(stage.ask(get("/v1/a").as_bytes()).await.starts_with("HTTP/1.1 200 "));
    let answer = stage.ask(get("/v2/a").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("request_not_allowed"), "{answer}");
    let (mut stream, _) = connect(&stage, "allowed.example:443").await;
    stream.write_all(&client_hello(Some("allowed.example"), &[])).await.unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 49]);
}

#[tokio::test]
async fn a_changed_policy_holds_for_the_next_request() {
    let mut tasks = JoinSet::new();
    let (stage, _) = stage(&mut tasks).await;
    let mut stream = stage.connect().await;
    let request = b"GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
    stream.write_all(request).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut body = [0; 14];
    stream.read_exact(&mut body).await.unwrap();
    stage.session.change(Some(Arc::new(limited(&[]).into())));
    stream.write_all(request).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 403 "));
}
