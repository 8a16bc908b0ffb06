//! Clients that know no proxy: they ask DNS and connect.

use std::net::SocketAddr;

use egress::Policy;
use egress::decide::Rule;
use egress::usage_log::Verdict;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::stage::Stage;
use crate::stage::Table;
use crate::stage::WebHost;
use crate::stage::client_hello;
use crate::stage::echo_host;
use crate::stage::limited;
use crate::stage::pattern;
use crate::stage::read_all;
use crate::stage::read_head;
use crate::stage::record;
use crate::stage::route;

const ALERT: &str = "\u{15}\u{3}\u{3}\0\u{2}\u{2}1";

#[tokio::test]
async fn tls_to_an_allowed_name_goes_through_however_it_is_cut() {
    let mut tasks = JoinSet::new();
    let mut policy = limited(&["allowed.example"]);
    policy.routes = vec![route("allowed.example", 443, echo_host(&mut tasks).await)];
    let stage = Stage::new(policy);
    let whole = client_hello(Some("Allowed.EXAMPLE"), &[(0x2b, &[2, 3, 4])]);
    let message = &whole[5..];
    let (first, second) = message.split_at(20);
    for hello in [whole.clone(), [record(first), record(second)].concat()] {
        let mut stream = stage.connect_to("allowed.example", 443).await;
        for byte in hello.chunks(7) {
            stream.write_all(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut echoed = vec![0; hello.len()];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, hello);
    }
}

#[tokio::test]
async fn tls_to_a_name_that_is_not_allowed_gets_an_alert() {
    let stage = Stage::new(limited(&["allowed.example"]));
    let mut stream = stage.connect_to("blocked.example", 443).await;
    stream.write_all(&client_hello(Some("blocked.example"), &[])).await.unwrap();
    assert_eq!(read_all(&mut stream).await, ALERT);
    let entry = stage.decision(1).await;
    assert_eq!(
        (entry.verdict, entry.rule, entry.host.as_str()),
        (Verdict::Refused, Rule::HostNotAllowed, "blocked.example")
    );
}

#[tokio::test]
async fn tls_must_name_the_host_that_was_asked_for() {
    let mut tasks = JoinSet::new();
    let mut policy = limited(&["allowed.example", "other.example"]);
    policy.routes = vec![route("allowed.example", 443, echo_host(&mut tasks).await)];
    let stage = Stage::new(policy);
    let hellos = [
        client_hello(Some("other.example"), &[]),
        client_hello(None, &[]),
        client_hello(Some("allowed.example"), &[(0xffce, &[])]),
        client_hello(Some("10.0.0.1"), &[]),
    ];
    for hello in hellos {
        let mut stream = stage.connect_to("allowed.example", 443).await;
        stream.write_all(&hello).await.unwrap();
        assert_eq!(read_all(&mut stream).await, ALERT);
    }
    assert_eq!(stage.session.usage_log().totals().allowed, 0);
}

#[tokio::test]
async fn plain_http_is_answered_with_the_host_and_the_rule() {
    let stage = Stage::new(limited(&["allowed.example"]));
    let mut stream = stage.connect_to("blocked.example", 80).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["host"], &body["rule"]), (&"blocked.example".into(), &"host_not_allowed".into()));
}

#[tokio::test]
async fn every_request_of_a_connection_is_checked() {
    let mut tasks = JoinSet::new();
    let web = WebHost::new(&mut tasks).await;
    let mut policy = limited(&["allowed.example", "other.example"]);
    policy.routes = vec![route("allowed.example", 80, web.address)];
    let stage = Stage::new(policy);
    let mut stream = stage.connect_to("allowed.example", 80).await;
    let requests = "POST /a HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 0\r\n\r\n\
                    GET /b HTTP/1.1\r\nHost: allowed.example:80\r\n\r\n\
                    GET /c HTTP/1.1\r\nHost: other.example\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert!(answer.contains("host_mismatch"), "{answer}");
    assert_eq!(web.requests(), 2);
    for odd in [
        "\r\nGET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\0\u{1}\u{2}",
    ] {
        let mut stream = stage.connect_to("allowed.example", 80).await;
        stream.write_all(odd.as_bytes()).await.unwrap();
        assert!(read_all(&mut stream).await.contains("protocol_not_allowed"), "{odd:?}");
    }
    assert_eq!(web.requests(), 2);
}

#[tokio::test]
async fn a_redirect_to_an_internal_host_is_a_connection_of_its_own() {
    let mut tasks = JoinSet::new();
    let web = WebHost::new(&mut tasks).await;
    let mut policy = Policy::unrestricted();
    policy.routes = vec![route("public.example", 80, web.address)];
    let stage = Stage::with(policy, Table::new(&[("inside.example", &["169.254.169.254"])]));
    let mut stream = stage.connect_to("public.example", 80).await;
    stream.write_all(b"GET /moved HTTP/1.1\r\nHost: public.example\r\n\r\n").await.unwrap();
    assert!(read_head(&mut stream).await.contains("Location: http://inside.example/secret"));
    let mut stream = stage.connect_to("inside.example", 80).await;
    stream.write_all(b"GET /secret HTTP/1.1\r\nHost: inside.example\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.contains("address_refused") && answer.contains("169.254.169.254"), "{answer}");
}

#[tokio::test]
async fn addresses_that_nobody_asked_for_lead_nowhere() {
    let stage = Stage::new(limited(&["allowed.example"]));
    for address in ["198.18.77.7:443", "169.254.169.254:80", "1.1.1.1:443", "127.0.0.1:443"] {
        let mut stream = stage.connect_to_address(address.parse::<SocketAddr>().unwrap()).await;
        stream.write_all(&client_hello(Some("allowed.example"), &[])).await.unwrap();
        assert_eq!(read_all(&mut stream).await, ALERT, "{address}");
    }
    let stage = Stage::new(Policy::unrestricted());
    for (address, rule) in [("198.18.77.7:443", Rule::UnknownAddress), ("10.0.0.1:443", Rule::AddressRefused)]
    {
        let mut stream = stage.connect_to_address(address.parse::<SocketAddr>().unwrap()).await;
        stream.write_all(&client_hello(Some("allowed.example"), &[])).await.unwrap();
        assert_eq!(read_all(&mut stream).await, ALERT, "{address}");
        let recent = stage.session.usage_log().recent(1);
        assert_eq!(recent[0].rule, rule);
    }
}

#[tokio::test]
async fn a_blocked_name_is_refused_also_inside_a_connection_to_another() {
    let mut tasks = JoinSet::new();
    let echo = echo_host(&mut tasks).await;
    let mut policy = Policy::unrestricted();
    policy.blocked_hosts = vec![pattern("*.blocked.example")];
    policy.routes = vec![route("front.example", 443, echo), route("front.example", 7000, echo)];
    let stage = Stage::new(policy);
    let mut stream = stage.connect_to("front.example", 443).await;
    stream.write_all(&client_hello(Some("a.blocked.example"), &[])).await.unwrap();
    assert_eq!(read_all(&mut stream).await, ALERT);
    // Other protocols pass, also when it takes a while to see that they are others.
    let mut stream = stage.connect_to("front.example", 7000).await;
    stream.write_all(b"PING").await.unwrap();
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"PING");
}
