//! Every way in which a provider fails, and what the brain is told.

use std::time::Duration;

use api::completion::Failure;
use api::completion::FailureKind;
use model::Models;
use serde_json::json;
use testkit::model_server::ModelServer;
use testkit::model_server_reply::Reply;

use crate::fixture::*;

fn told(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: format!("model provider upstream {message}"), retry_after_ms: None }
}

#[tokio::test]
async fn each_status_and_error_type_has_its_kind() {
    use FailureKind::Billing;
    use FailureKind::Overloaded;
    use FailureKind::RateLimited;
    use FailureKind::Rejected;
    use FailureKind::Unavailable;
    let server = ModelServer::start().await;
    let models = messages(&server);
    for (status, kind, message, expected) in [
        (400, "invalid_request_error", "max_tokens: too large", Rejected),
        (400, "billing_error", "pay first", Billing),
        (400, "invalid_request_error", "Your credit balance is too low", Billing),
        (401, "authentication_error", "invalid key", Rejected),
        (402, "billing_error", "pay first", Billing),
        (403, "permission_error", "not yours", Rejected),
        (404, "not_found_error", "model: x", Rejected),
        (408, "timeout_error", "too slow", Unavailable),
        (409, "conflict_error", "again", Unavailable),
        (413, "request_too_large", "too large", Rejected),
        (429, "rate_limit_error", "slow down", RateLimited),
        (500, "api_error", "internal", Unavailable),
        (500, "overloaded_error", "busy", Overloaded),
        (503, "api_error", "down", Unavailable),
        (529, "overloaded_error", "busy", Overloaded),
    ] {
        server.push(Reply::error(status, kind, message));
        let expected = told(expected, &format!("answered {status}: {kind}: {message} (request req_test)"));
        assert_eq!(failure(&models, &hello()).await, expected);
    }
}

#[tokio::test]
async fn a_transient_refusal_says_how_long_to_wait() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    let date = "Sun, 22 Nov 2026 10:00:00 GMT";
    let later = "Sun, 22 Nov 2026 10:00:07 GMT";
    for (status, headers, expected) in [
        (429, vec![("retry-after", "3")], Some(3_000)),
        (529, vec![("retry-after", later), ("date", date)], Some(7_000)),
        (503, vec![("retry-after-ms", "120"), ("retry-after", "1")], Some(120)),
        (400, vec![("retry-after", "3")], None),
    ] {
        let reply = Reply::error(status, "x", "y");
        server.push(headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value)));
        assert_eq!(failure(&models, &hello()).await.retry_after_ms, expected, "{status} {headers:?}");
    }
}

#[tokio::test]
async fn bodies_of_other_shapes_are_understood_and_pages_are_not_quoted() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    let json = "application/json";
    for (reply, message) in [
        (Reply::plain(500, json, r#"{"error":"out of memory"}"#), "answered 500: out of memory"),
        (Reply::plain(500, json, r#"{"detail":"bad\n\u001b[1mgateway"}"#), "answered 500: bad  [1mgateway"),
        (Reply::plain(502, "text/html", "<html>your prompt was: hello</html>"), "answered 502"),
        (Reply::plain(500, json, ""), "answered 500"),
    ] {
        server.push(reply);
        assert_eq!(failure(&models, &hello()).await, told(FailureKind::Unavailable, message));
    }
    server.push(Reply::plain(200, "text/html", "<html>log in</html>"));
    let message = "answered 200 with something that is not an event stream; is base_url right?";
    assert_eq!(failure(&models, &hello()).await, told(FailureKind::Rejected, message));
    server.push(Reply::plain(302, json, "").header("location", "http://127.0.0.1:1/"));
    assert_eq!(failure(&models, &hello()).await, told(FailureKind::Rejected, "answered 302"));
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_reply_is_mapped_by_its_type() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    for (kind, expected) in [
        ("overloaded_error", FailureKind::Overloaded),
        ("rate_limit_error", FailureKind::RateLimited),
        ("api_error", FailureKind::Unavailable),
        ("billing_error", FailureKind::Billing),
        ("invalid_request_error", FailureKind::Rejected),
        ("error_of_2031", FailureKind::Unavailable),
    ] {
        let error = json!({"type": "error", "error": {"type": kind, "message": "why"}});
        server.push(Reply::message().text("half").event(&error).stop("end_turn"));
        let message = format!("broke its reply off with an error: {kind}: why");
        assert_eq!(failure(&models, &hello()).await, told(expected, &message));
    }
}

#[tokio::test]
async fn a_reply_that_ends_or_breaks_anywhere_is_unavailable() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    let whole = Reply::message().text("a b").stop("end_turn");
    let body = whole.body();
    let end = body.windows(12).position(|window| window == b"message_stop").unwrap();
    for at in [0, 1, end / 2, end - 8] {
        server.push(whole.clone().break_at(at));
        let broken = failure(&models, &hello()).await;
        assert_eq!(broken.kind, FailureKind::Unavailable, "broken at {at}");
        assert!(
            broken.message.starts_with("read the reply of model provider upstream: "),
            "{}",
            broken.message
        );
        server.push(Reply::stream().raw(body[..at].to_vec()));
        let ended = failure(&models, &hello()).await;
        assert_eq!(ended, told(FailureKind::Unavailable, "ended its reply in the middle"), "ended at {at}");
    }
}

#[tokio::test]
async fn a_silent_provider_is_given_up_before_and_within_its_reply() {
    let server = ModelServer::start().await;
    let models = messages_with(&server, "timeouts = { between_contents_ms = 60 }");
    server.push(Reply::message().text("a").stall());
    let stalled = failure(&models, &hello()).await;
    assert_eq!(
        stalled,
        told(FailureKind::Unavailable, "was silent: its reply stalled for 60 ms (between_contents_ms)")
    );
    // The head is part of the first piece that is held back here.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let toml = format!(
        "[providers.upstream]\nkind = 'messages'\nbase_url = '{url}'\ntimeouts = {{ first_content_ms = 60 }}\n\
         [[routes]]\npattern = '*'\nprovider = 'upstream'\n"
    );
    let silent = failure(&Models::new(config(&toml)).unwrap(), &hello()).await;
    assert_eq!(silent, told(FailureKind::Unavailable, "was silent: no content for 60 ms (first_content_ms)"));
    server.abandoned(1).await;
}

#[tokio::test]
async fn a_slow_reply_that_keeps_coming_is_not_given_up() {
    let server = ModelServer::start().await;
    let models = messages_with(&server, "timeouts = { between_contents_ms = 400 }");
    let slow = (0..10).fold(Reply::message(), |reply, _| reply.delay(Duration::from_millis(60)).text("a"));
    server.push(slow.stop("end_turn"));
    assert_eq!(reply(&models, &hello()).await.stop_reason, "end_turn");
}

#[tokio::test]
async fn nobody_listening_is_unavailable_and_the_key_is_not_told() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    server.push(Reply::error(401, "authentication_error", &format!("no such key: {KEY}!")));
    let refused = failure(&models, &hello()).await;
    let message = "answered 401: authentication_error: no such key: [secret]! (request req_test)";
    assert_eq!(refused, told(FailureKind::Rejected, message));
    assert!(!format!("{models:?}").contains(KEY));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let toml = format!(
        "[providers.upstream]\nkind = 'messages'\nbase_url = '{url}'\napi_key = '{KEY}'\n\
         [[routes]]\npattern = '*'\nprovider = 'upstream'\n"
    );
    let refused = failure(&Models::new(config(&toml)).unwrap(), &hello()).await;
    assert_eq!(refused.kind, FailureKind::Unavailable);
    assert!(
        refused.message.starts_with("send a request to model provider upstream: "),
        "{}",
        refused.message
    );
    assert!(
        refused.message.contains("onnection refused") && !refused.message.contains(&url),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn replies_that_cannot_be_read_are_faults_of_transport() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    let input = json!({"type": "input_json_delta", "partial_json": "{}"});
    let nameless = json!({"type": "content_block_start", "index": 0, "content_block": {"text": "x"}});
    for (reply, message) in [
        (Reply::message().raw("data: {\n\n"), "an event is no JSON object"),
        (
            Reply::message().event(&json!({"type": "content_block_delta", "index": 4, "delta": input})),
            "a delta of type input_json_delta belongs to no content block",
        ),
        (Reply::message().event(&nameless), "a content block has no type"),
    ] {
        server.push(reply.stop("end_turn"));
        let message = format!("sent a reply that cannot be read: {message}");
        assert_eq!(failure(&models, &hello()).await, told(FailureKind::Unavailable, &message));
    }
}
