//! What an operator sees.

use crate::client::answer;
use crate::server::Server;

#[tokio::test]
async fn health_needs_no_key() {
    let server = Server::start().await;
    let client = server.client().await;
    for path in ["/healthz", "/readyz"] {
        let answered = answer(client.request("GET", path)).await;
        assert_eq!((answered.status, answered.text.as_str()), (200, "ok\n"), "{path}");
    }
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_never_by_path() {
    let server = Server::start().await;
    let client = server.client().await;
    let agent = client.agent().await;
    client.get(&format!("/v1/agents/{agent}")).await.ok();
    client.get("/somewhere/else").await.not_found();
    let page = answer(client.request("GET", "/metrics")).await;
    assert_eq!(page.status, 200);
    let counted = "journeyman_http_requests_total{method=\"GET\",route=\"/v1/agents/{id}\",status=\"200\"}";
    assert!(page.text.contains(counted), "{}", page.text);
    assert!(page.text.contains("route=\"unknown\",status=\"404\""), "{}", page.text);
    assert!(page.text.contains("journeyman_http_request_seconds_bucket{"), "{}", page.text);
    assert!(page.text.contains("journeyman_sessions_running "), "{}", page.text);
    assert!(!page.text.contains(&agent) && !page.text.contains("/somewhere"), "{}", page.text);
}
