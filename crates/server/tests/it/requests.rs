//! What is wrong with a request before anybody looks at what it asks for, and what every answer carries.

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::BETA;
use crate::client::answer;
use crate::server::Server;

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let server = Server::start().await;
    let client = server.client().await;
    let (one, two) = (client.get("/v1/agents").await, client.get("/v1/nothing").await);
    let (one, two) = (one.header("request-id").unwrap(), two.header("request-id").unwrap());
    assert!(one.starts_with("req_") && two.starts_with("req_") && one != two, "{one} {two}");
}

#[tokio::test]
async fn an_unknown_route_is_told_so() {
    let server = Server::start().await;
    let client = server.client().await;
    assert_eq!(client.get("/v1/vaults").await.not_found(), "There is no GET /v1/vaults");
    assert_eq!(client.post("/", &json!({})).await.not_found(), "There is no POST /");
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let server = Server::start().await;
    let client = server.client().await;
    let refused = answer(client.usual("PUT", "/v1/agents")).await;
    refused.error(405, "invalid_request_error");
    let mut allowed: Vec<&str> = refused.header("allow").unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    for body in ["", "{", "[]", "null", "{\"name\":}", "{\"name\":\"\\ud800\"", "nonsense", "{} {}"] {
        client.post_text("/v1/agents", body).await.invalid();
    }
    client.post_text("/v1/agents", vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}']).await.invalid();
    assert_eq!(client.get("/v1/agents").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_body_that_is_too_deep_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    for depth in [100, 100_000] {
        let deep = format!("{{\"name\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        client.post_text("/v1/agents", deep).await.invalid();
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_its_length_is_announced_or_not() {
    let limits = server::Limits { body_bytes_max: 1000, ..server::Limits::default() };
    let server = Server::with(limits).await;
    let client = server.client().await;
    let body = json!({"name": "x".repeat(2000), "model": "scripted"}).to_string();
    client.post_text("/v1/agents", body.clone()).await.error(413, "request_too_large");

    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let (key, length) = (&client.key, body.len());
    let head = format!(
        "POST /v1/agents HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {key}\r\n{}: {}\r\n\
         transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n",
        BETA.0, BETA.1
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"request_too_large\""), "{answer}");
}

#[tokio::test]
async fn the_limit_of_a_body_is_32_mb() {
    let server = Server::start().await;
    let client = server.client().await;
    let padding = |bytes: usize| format!("{{\"name\":\"{}\"}}", "x".repeat(bytes - 11));
    let message = client.post_text("/v1/agents", padding(32 << 20)).await.invalid();
    assert!(!message.contains("exceeds"), "{message}");
    client.post_text("/v1/agents", padding((32 << 20) + 1)).await.error(413, "request_too_large");
}

#[tokio::test]
async fn json_is_read_whatever_its_content_type() {
    let server = Server::start().await;
    let client = server.client().await;
    let body = json!({"name": "Tester", "model": "scripted"}).to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"]
    {
        let request = client.usual("POST", "/v1/agents").header("content-type", content_type);
        answer(request.body(body.clone())).await.ok();
    }
    answer(client.usual("POST", "/v1/agents").body(body)).await.ok();
}

#[tokio::test]
async fn latin_1_is_read_and_other_character_sets_are_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let send = |content_type: &str, body: Vec<u8>| {
        answer(client.usual("POST", "/v1/agents").header("content-type", content_type).body(body))
    };
    let latin = b"{\"name\":\"Andr\xe9\",\"model\":\"scripted\"}".to_vec();
    let agent = send("application/json; charset=ISO-8859-1", latin.clone()).await.ok();
    assert_eq!(agent["name"], "Andr\u{e9}");
    let refused = send("application/json; charset=utf-16", latin).await;
    refused.invalid();
    assert_eq!(refused.json()["error"]["details"]["error_code"], "unsupported_charset");
    let request = client.usual("POST", "/v1/agents").header("content-encoding", "gzip").body("x");
    let refused = answer(request).await;
    refused.invalid();
    assert_eq!(refused.json()["error"]["details"]["error_code"], "request_body_encoding_unsupported");
}

#[tokio::test]
async fn unknown_query_parameters_are_named_and_beta_is_ignored() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let (id, agent) = (session["id"].as_str().unwrap(), session["agent"]["id"].as_str().unwrap());
    for path in [
        "/v1/agents".to_owned(),
        format!("/v1/agents/{agent}"),
        format!("/v1/agents/{agent}/versions"),
        "/v1/environments".to_owned(),
        "/v1/sessions".to_owned(),
        format!("/v1/sessions/{id}"),
        format!("/v1/sessions/{id}/events"),
        format!("/v1/sessions/{id}/threads"),
        "/v1/models".to_owned(),
    ] {
        client.get(&format!("{path}?beta=true")).await.ok();
        let message = client.get(&format!("{path}?nonsense=1")).await.invalid();
        assert_eq!(message, "nonsense: Extra inputs are not permitted", "{path}");
    }
    client.get(&format!("/v1/sessions/{id}/events/stream?nonsense=1")).await.invalid();
}

#[tokio::test]
async fn limits_and_cursors_of_lists_are_checked() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let events = format!("/v1/sessions/{}/events", session["id"].as_str().unwrap());
    for (path, max) in [
        ("/v1/agents", 100),
        ("/v1/environments", 100),
        ("/v1/sessions", 100),
        (&events, 1000),
        ("/v1/models", 1000),
    ] {
        client.get(&format!("{path}?limit={max}")).await.ok();
        for limit in ["0", "-1", "x", "1.5", &(max + 1).to_string(), "99999999999999999999"] {
            let message = client.get(&format!("{path}?limit={limit}")).await.invalid();
            assert!(message.starts_with("limit: "), "{message}");
        }
    }
    for path in ["/v1/agents", "/v1/environments", "/v1/sessions", &events] {
        for page in ["x", "%00", "e30", "%F0%9F%92%A9"] {
            client.get(&format!("{path}?page={page}")).await.invalid();
        }
    }
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() {
    let server = Server::start().await;
    let client = server.client().await;
    let answered = answer(client.usual("HEAD", "/v1/agents")).await;
    assert_eq!((answered.status, answered.text.as_str()), (200, ""));
}
