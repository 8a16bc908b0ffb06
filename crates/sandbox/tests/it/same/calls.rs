//! Calls and their results.

use sandbox::Error;
use sandbox::Recall;

use super::Subject;
use crate::ground::text;

/// Asked for as often as one likes, at once and later, a call runs once.
pub(super) async fn a_call_runs_once_per_id(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    let call = hands.call("sleep 0.1; echo line >> /workspace/lines; wc -l < /workspace/lines");
    let (one, two) = tokio::join!(hands.sandbox.execute(&call), hands.sandbox.execute(&call));
    let three = hands.sandbox.execute(&call).await;
    for outcome in [one, two, three] {
        assert_eq!(text(&outcome.unwrap()), "1");
    }
    // A result stays until somebody says that it is in the log.
    assert!(matches!(hands.sandbox.recall(&call.id).await.unwrap(), Recall::Finished(_)));
    hands.sandbox.acknowledge(std::slice::from_ref(&call.id)).await.unwrap();
    assert!(matches!(hands.sandbox.recall(&call.id).await.unwrap(), Recall::Unknown));
    on.backend.destroy(&session, false).await.unwrap();
}

/// Whoever waits for a call that is ended hears of it, and the shell goes on.
pub(super) async fn a_call_that_is_cancelled_ends_with_a_result(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    hands.bash("cd /workspace").await;
    let call = hands.call("sleep 1000");
    let (outcome, cancelled) = tokio::join!(hands.sandbox.execute(&call), hands.sandbox.cancel(&call.id));
    cancelled.unwrap();
    assert!(outcome.unwrap().is_error);
    assert!(matches!(hands.sandbox.recall(&hands.event()).await.unwrap(), Recall::Unknown));
    hands.sandbox.cancel(&hands.event()).await.unwrap();
    // The shell was ended with it, and says so behind what it prints first.
    assert!(hands.bash("pwd").await.starts_with("/workspace"));
    on.backend.destroy(&session, false).await.unwrap();
}

/// The file tools work on the files that the shell sees, and not through links.
pub(super) async fn file_tools_work_on_the_files_of_the_sandbox(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    let write =
        hands.tool("write", &serde_json::json!({ "file_path": "/workspace/a.txt", "content": "hello" }));
    let outcome = hands.sandbox.execute(&write).await.unwrap();
    assert!(!outcome.is_error, "{}", text(&outcome));
    assert_eq!(hands.bash("cat /workspace/a.txt; ln -s /etc/shadow /workspace/link").await, "hello");
    let read = hands.tool("read", &serde_json::json!({ "file_path": "/workspace/link" }));
    assert!(hands.sandbox.execute(&read).await.unwrap().is_error);
    on.backend.destroy(&session, false).await.unwrap();
}

/// What is too large is refused before it is sent.
pub(super) async fn a_large_call_passes_and_an_oversized_one_is_refused(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    let write = |bytes: usize| {
        let content = "x".repeat(bytes);
        hands.tool("write", &serde_json::json!({ "file_path": "/workspace/large", "content": content }))
    };
    assert!(!hands.sandbox.execute(&write(8 << 20)).await.unwrap().is_error);
    assert_eq!(hands.bash("stat -c %s /workspace/large").await, (8 << 20).to_string());
    assert!(matches!(hands.sandbox.execute(&write(65 << 20)).await, Err(Error::TooLarge { .. })));
    assert_eq!(hands.bash("echo still here").await, "still here");
    on.backend.destroy(&session, false).await.unwrap();
}

/// First calls that come at once all get their results.
pub(super) async fn many_first_calls_at_once_get_their_results(on: &Subject<'_>) {
    let spec = on.spec();
    let call = |number: usize| {
        let spec = &spec;
        async move { on.provision(spec).await.bash(&format!("sleep 0.1; echo {number}")).await }
    };
    // More than the connections that a hand keeps.
    let said = futures_util::future::join_all((0..24).map(call)).await;
    assert_eq!(said, (0..24).map(|number| number.to_string()).collect::<Vec<_>>());
    on.backend.destroy(&spec.session, false).await.unwrap();
}
