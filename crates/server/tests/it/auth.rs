//! Keys, workspaces and the beta header.

use api::time::Clock;
use serde_json::json;

use crate::client::BETA;
use crate::client::answer;
use crate::server::Server;

#[tokio::test]
async fn a_request_without_a_key_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    for path in ["/v1/agents", "/v1/sessions", "/v1/environments", "/v1/models"] {
        let refused = answer(client.request("GET", path).header(BETA.0, BETA.1)).await;
        assert_eq!(refused.error(401, "authentication_error"), "x-api-key header is required");
        assert_eq!(refused.header("anthropic-workspace-id"), None);
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let request = client.request("GET", "/v1/agents").header(BETA.0, BETA.1);
    let refused = answer(request.header("x-api-key", "sk-other")).await;
    assert_eq!(refused.error(401, "authentication_error"), "invalid x-api-key");
    let request = client.request("GET", "/v1/agents").header(BETA.0, BETA.1);
    let refused = answer(request.header("authorization", "Basic abc")).await;
    refused.error(401, "authentication_error");
}

#[tokio::test]
async fn a_key_may_come_as_a_bearer_token() {
    let server = Server::start().await;
    let client = server.client().await;
    let request = client.request("GET", "/v1/agents").header(BETA.0, BETA.1);
    answer(request.bearer_auth(&client.key)).await.ok();
}

#[tokio::test]
async fn a_revoked_key_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    // Not used before: a key that was is believed for some seconds.
    let id = server.store.list_keys().await.unwrap().remove(0).id;
    server.store.revoke_key(&id, Clock::system().now()).await.unwrap();
    client.get("/v1/agents").await.error(401, "authentication_error");
}

#[tokio::test]
async fn the_workspace_is_told_and_a_wrong_one_refused() {
    let server = Server::start().await;
    let workspace = server.ids.make();
    let client = server.client_of(&workspace).await;
    let answered = client.get("/v1/agents").await;
    assert_eq!(answered.header("anthropic-workspace-id"), Some(workspace.as_str()));
    let named = client.usual("GET", "/v1/agents").header("anthropic-workspace-id", workspace.as_str());
    answer(named).await.ok();
    let other = client.usual("GET", "/v1/agents").header("anthropic-workspace-id", "wrkspc_other");
    answer(other).await.error(403, "permission_error");
}

#[tokio::test]
async fn without_the_beta_header_a_route_does_not_exist() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = client.session().await["id"].as_str().unwrap().to_owned();
    let bare = |method: &str, path: &str| client.request(method, path).header("x-api-key", &client.key);
    for (method, path) in [
        ("GET", "/v1/agents".to_owned()),
        ("POST", "/v1/agents".to_owned()),
        ("POST", "/v1/environments".to_owned()),
        ("GET", format!("/v1/sessions/{id}")),
        ("GET", format!("/v1/sessions/{id}/events/stream")),
        ("GET", format!("/v1/sessions/{id}/threads")),
    ] {
        let message = answer(bare(method, &path)).await.not_found();
        assert!(message.contains("`anthropic-beta: managed-agents-2026-04-01`"), "{message}");
    }
    let other = bare("GET", "/v1/agents").header(BETA.0, "skills-2025-10-02");
    answer(other).await.not_found();
    let both = bare("GET", "/v1/agents").header(BETA.0, "skills-2025-10-02,managed-agents-2026-04-01");
    answer(both).await.ok();
}

#[tokio::test]
async fn an_unknown_beta_is_refused_in_the_documented_words() {
    let server = Server::start().await;
    let client = server.client().await;
    let request = client.request("GET", "/v1/agents").header("x-api-key", &client.key);
    let refused = answer(request.header(BETA.0, "managed-agents-2026-04-01,invalid-beta-name")).await;
    assert_eq!(
        refused.invalid(),
        "Unexpected value(s) `invalid-beta-name` for the `anthropic-beta` header. Please consult our documentation \
         at platform.claude.com/docs or try again without the header."
    );
}

#[tokio::test]
async fn what_another_workspace_has_is_answered_like_what_does_not_exist() {
    let server = Server::start().await;
    let (ours, theirs) = (server.client().await, server.client().await);
    let session = theirs.session().await;
    let text = |pointer: &str| session.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let pairs = [
        (text("/agent/id"), server.ids.make::<api::ids::kind::Agent>().to_string(), "agents"),
        (
            text("/environment_id"),
            server.ids.make::<api::ids::kind::Environment>().to_string(),
            "environments",
        ),
        (text("/id"), server.ids.make::<api::ids::kind::Session>().to_string(), "sessions"),
    ];
    let thread = server.ids.make::<api::ids::kind::Thread>();
    let routes = [
        ("GET", "agents", String::new()),
        ("POST", "agents", String::new()),
        ("GET", "agents", "?version=1".into()),
        ("GET", "agents", "/versions".into()),
        ("POST", "agents", "/archive".into()),
        ("GET", "environments", String::new()),
        ("POST", "environments", String::new()),
        ("POST", "environments", "/archive".into()),
        ("DELETE", "environments", String::new()),
        ("GET", "sessions", String::new()),
        ("POST", "sessions", String::new()),
        ("POST", "sessions", "/archive".into()),
        ("DELETE", "sessions", String::new()),
        ("GET", "sessions", "/events".into()),
        ("GET", "sessions", "/events/stream".into()),
        ("GET", "sessions", "/threads".into()),
        ("GET", "sessions", format!("/threads/{thread}")),
        ("GET", "sessions", format!("/threads/{thread}/events")),
        ("GET", "sessions", format!("/threads/{thread}/stream")),
        ("POST", "sessions", format!("/threads/{thread}/archive")),
    ];
    for (method, noun, rest) in routes {
        let (foreign, unknown, _) = pairs.iter().find(|(_, _, kind)| *kind == noun).unwrap();
        let ask =
            async |id: &str| answer(ours.usual(method, &format!("/v1/{noun}/{id}{rest}")).body("{}")).await;
        let (foreign_answer, unknown_answer) = (ask(foreign).await, ask(unknown).await);
        unknown_answer.not_found();
        assert_eq!(
            foreign_answer.comparable(foreign),
            unknown_answer.comparable(unknown),
            "{method} {noun}{rest}"
        );
    }
    theirs.get(&format!("/v1/sessions/{}", text("/id"))).await.ok();
}

#[tokio::test]
async fn what_another_workspace_has_cannot_be_used_in_a_session() {
    let server = Server::start().await;
    let (ours, theirs) = (server.client().await, server.client().await);
    let (agent, environment) = (theirs.agent().await, theirs.environment().await);
    let create = async |agent: &str, environment: &str| {
        ours.post("/v1/sessions", &json!({"agent": agent, "environment_id": environment})).await
    };
    let unknown = server.ids.make::<api::ids::kind::Agent>();
    let ours_environment = ours.environment().await;
    let foreign_agent = create(&agent, &ours_environment).await;
    foreign_agent.not_found();
    let unknown_agent = create(unknown.as_str(), &ours_environment).await;
    assert_eq!(foreign_agent.comparable(&agent), unknown_agent.comparable(unknown.as_str()));
    let unknown = server.ids.make::<api::ids::kind::Environment>();
    let ours_agent = ours.agent().await;
    let foreign_environment = create(&ours_agent, &environment).await;
    foreign_environment.not_found();
    let unknown_environment = create(&ours_agent, unknown.as_str()).await;
    assert_eq!(
        foreign_environment.comparable(&environment),
        unknown_environment.comparable(unknown.as_str())
    );
}

#[tokio::test]
async fn lists_show_only_what_is_of_the_workspace() {
    let server = Server::start().await;
    let (ours, theirs) = (server.client().await, server.client().await);
    theirs.session().await;
    for path in ["/v1/agents", "/v1/environments", "/v1/sessions"] {
        assert_eq!(ours.get(path).await.ok()["data"], json!([]), "{path}");
        assert_eq!(theirs.get(path).await.ok()["data"].as_array().unwrap().len(), 1, "{path}");
    }
}
