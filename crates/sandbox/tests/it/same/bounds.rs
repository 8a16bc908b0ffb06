//! What a sandbox may use, and what it does.

use std::time::Duration;

use sandbox::Usage;

use super::Subject;
use crate::ground::text;

/// A hog is killed, and the shell that started it is not.
pub(super) async fn a_memory_hog_dies_and_its_session_lives(on: &Subject<'_>) {
    let mut spec = on.spec();
    spec.limits.memory_bytes_max = 256 << 20;
    let hands = on.provision(&spec).await;
    hands.bash("export SHELL_STATE=kept").await;
    let hog = "perl -e '$x = \"x\" x (1 << 30); print length $x' 2>/dev/null; echo \"ended $?\"";
    assert_eq!(hands.bash(hog).await.lines().last(), Some("ended 137"));
    assert_eq!(hands.bash("echo $SHELL_STATE").await, "kept");
    on.backend.destroy(&spec.session, false).await.unwrap();
}

/// Processes without end are refused, then killed; the session goes on, and nothing of them is left.
pub(super) async fn a_fork_bomb_stays_in_its_sandbox(on: &Subject<'_>) {
    let mut spec = on.spec();
    spec.limits.processes_max = 64;
    let hands = on.provision(&spec).await;
    let (other, neighbour) = on.sandbox().await;
    let forks = "my @all; while (@all < 500) { my $pid = fork; if (!defined $pid) { print qq(refused\\n); last } \
                 if (!$pid) { sleep 1000; exit } push @all, $pid } kill 9, @all;";
    assert_eq!(hands.bash(&format!("perl -e '{forks}' 2>/dev/null")).await, "refused");
    assert_eq!(neighbour.bash("echo fine").await, "fine");
    let bomb = hands.tool(
        "bash",
        &serde_json::json!({ "command": "bomb() { bomb | bomb & }; bomb; wait", "timeout_ms": 1000 }),
    );
    // However it ends, it is a result and not the end of the sandbox.
    hands.sandbox.execute(&bomb).await.unwrap();
    let restart = hands.tool("bash", &serde_json::json!({ "restart": true }));
    hands.sandbox.execute(&restart).await.unwrap();
    on.backend.destroy(&spec.session, true).await.unwrap();
    // What is kept gets the bounds of today.
    spec.limits.processes_max = 256;
    let hands = on.provision(&spec).await;
    let many = "for n in {1..100}; do sleep 1000 & done; jobs -r | wc -l; kill $(jobs -p)";
    assert_eq!(hands.bash(many).await.lines().next(), Some("100"));
    for session in [spec.session, other] {
        on.backend.destroy(&session, false).await.unwrap();
    }
}

/// The file system in memory is a part of memory.
pub(super) async fn shared_memory_is_smaller_than_memory(on: &Subject<'_>) {
    let mut spec = on.spec();
    spec.limits.memory_bytes_max = 512 << 20;
    let hands = on.provision(&spec).await;
    let fill = "head -c 200M /dev/zero > /dev/shm/full 2>/dev/null; stat -c %s /dev/shm/full";
    assert_eq!(hands.bash(fill).await, (64 << 20).to_string());
    on.backend.destroy(&spec.session, false).await.unwrap();
}

/// What it uses is told, as far as the host counts it.
pub(super) async fn what_is_used_is_told(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    hands.bash("head -c 20M /dev/zero > /workspace/large; for n in {1..50000}; do :; done").await;
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        // Some hosts count what is on disk from time to time only.
        let usage = on.backend.usage(&session).await.unwrap().unwrap();
        let Usage { is_frozen, memory_bytes, processes, cpu_micros, oom_kills: _, disk_bytes, disk_files: _ } =
            usage;
        assert!(!is_frozen);
        assert!(memory_bytes.is_none_or(|bytes| bytes > 100_000), "{usage:?}");
        assert!(processes.is_none_or(|count| (2..20).contains(&count)), "{usage:?}");
        assert!(cpu_micros.is_none_or(|micros| micros > 1000), "{usage:?}");
        if disk_bytes.is_none_or(|bytes| bytes >= 20 << 20) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{usage:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    on.backend.destroy(&session, false).await.unwrap();
}

/// A single file that is larger than all of them may be is refused, and the call says so.
pub(super) async fn a_file_beyond_the_bound_is_refused(on: &Subject<'_>) {
    let mut spec = on.spec();
    spec.limits.disk_bytes_max = 30 << 20;
    let hands = on.provision(&spec).await;
    let call = hands.call("head -c 100M /dev/zero > /workspace/huge; echo \"ended $?\"");
    let outcome = hands.sandbox.execute(&call).await.unwrap();
    assert!(outcome.is_error || !text(&outcome).contains("ended 0"), "{}", text(&outcome));
    on.backend.destroy(&spec.session, false).await.unwrap();
}
