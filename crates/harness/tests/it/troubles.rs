//! What clients are told when there is no sandbox for a session: each failure once in a turn, and the turn goes on.

use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use serde_json::Value;
use serde_json::json;

use crate::yard::Yard;
use crate::yard::pip;

fn message(error: &Value) -> &str {
    error["error"]["message"].as_str().unwrap()
}

#[tokio::test]
async fn a_failed_build_is_an_event_of_the_session_once_in_each_turn_that_needs_it() {
    let yard = Yard::plain().await;
    {
        let mut seen = yard.works.seen.lock().unwrap();
        seen.status = 1;
        seen.log = "looking for a\nno such package: a".to_owned();
    }
    let session = yard.session(&pip("a==1")).await;
    yard.events(&session, "session.status_idle", 1).await;
    let errors = yard.events(&session, "session.error", 1).await;
    let told = message(&errors[0]);
    for part in
        ["there is no sandbox for this session", "pip failed with exit status 1", "no such package: a"]
    {
        assert!(told.contains(part), "{told}");
    }
    let expected = json!({"type": "unknown_error", "message": told, "retry_status": {"type": "retrying"}});
    assert_eq!(errors[0]["error"], expected);

    yard.say(&session, "both").await;
    let idle = yard.events(&session, "session.status_idle", 2).await;
    assert_eq!(idle[1]["stop_reason"]["type"], "end_turn", "the model is told and goes on");
    assert_eq!(yard.events(&session, "agent.tool_result", 3).await.len(), 3);
    let errors = yard.events(&session, "session.error", 2).await;
    assert_eq!(errors.len(), 2, "two calls that meet one failure tell it once");

    yard.works.seen.lock().unwrap().status = 0;
    yard.clock.advance_millis(61_000);
    yard.say(&session, "both").await;
    yard.events(&session, "session.status_idle", 3).await;
    assert_eq!(yard.result_of(&session, 4).await, ("done".to_owned(), false));
    assert_eq!(yard.events(&session, "session.error", 2).await.len(), 2);
}

#[tokio::test]
async fn an_image_that_is_not_here_is_an_event_of_the_session() {
    let yard = Yard::plain().await;
    let sandbox = SandboxSettings { image: Some("gone".to_owned()), ..SandboxSettings::default() };
    let session = yard.session(&SessionEnvironment { sandbox, ..SessionEnvironment::default() }).await;
    let errors = yard.events(&session, "session.error", 1).await;
    assert!(message(&errors[0]).contains("there is no image of that name on this server"), "{errors:?}");
    let (text, is_error) = yard.result(&session).await;
    assert!(is_error && text.starts_with("The call was not run: use the image gone"), "{text}");
}
