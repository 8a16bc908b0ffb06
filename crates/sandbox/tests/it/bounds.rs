//! What a sandbox may use.

use sandbox::Backend;
use sandbox::Error;

use crate::ground::Ground;

/// How many processes of the host are in a process namespace.
fn processes_in(namespace: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let links = processes.filter_map(|entry| std::fs::read_link(entry.path().join("ns/pid")).ok());
    links.filter(|link| link.as_os_str() == namespace).count()
}

#[tokio::test]
async fn a_memory_hog_dies_and_its_session_lives() {
    let ground = Ground::new();
    let mut spec = ground.spec();
    spec.limits.memory_bytes_max = 256 << 20;
    let hands = ground.provision(&spec).await;
    hands.bash("export SHELL_STATE=kept").await;
    let hog = "python3 -c 'x = bytearray(1 << 30); print(len(x))' 2>/dev/null; echo \"ended $?\"";
    assert_eq!(hands.bash(hog).await.lines().last(), Some("ended 137"));
    assert_eq!(hands.bash("echo $SHELL_STATE").await, "kept");
}

#[tokio::test]
async fn a_fork_bomb_stays_in_its_sandbox() {
    let ground = Ground::new();
    let mut spec = ground.spec();
    spec.limits.processes_max = 64;
    let hands = ground.provision(&spec).await;
    let (_, other) = ground.sandbox().await;
    let bomb = "import os, signal\nn = 0\nfor _ in range(500):\n    try:\n        if os.fork() == 0:\n            signal.pause()\n        n += 1\n    except BlockingIOError:\n        break\nprint('refused' if n < 64 else n)\n";
    let said = hands.bash(&format!("python3 - <<'BOMB'\n{bomb}BOMB")).await;
    assert_eq!(said.lines().next(), Some("refused"));
    assert_eq!(other.bash("echo fine").await, "fine");
    let namespace = hands.bash("readlink /proc/self/ns/pid").await;
    assert!(processes_in(&namespace) > 50);
    ground.backend.destroy(&spec.session, false).await.unwrap();
    assert_eq!(processes_in(&namespace), 0);
    assert_eq!(other.bash("echo fine").await, "fine");
}

#[tokio::test]
async fn shared_memory_is_smaller_than_memory() {
    let ground = Ground::new();
    let mut spec = ground.spec();
    spec.limits.memory_bytes_max = 512 << 20;
    let hands = ground.provision(&spec).await;
    let fill = "head -c 200M /dev/zero > /dev/shm/full 2>/dev/null; stat -c %s /dev/shm/full";
    assert_eq!(hands.bash(fill).await, (64 << 20).to_string());
}

#[tokio::test]
async fn a_hog_in_shared_memory_or_in_pipes_leaves_its_session_alive() {
    let ground = Ground::new();
    let mut spec = ground.spec();
    spec.limits.memory_bytes_max = 256 << 20;
    let hands = ground.provision(&spec).await;
    hands.bash("export SHELL_STATE=kept").await;
    let shared = "for n in 1 2 3; do head -c 300M /dev/zero > /dev/shm/$n 2>/dev/null; done; \
                  python3 -c 'x = bytearray(1 << 30)' 2>/dev/null; echo \"ended $?\"; rm /dev/shm/*";
    assert_eq!(hands.bash(shared).await.lines().last(), Some("ended 137"));
    let pipes = "import fcntl, os\nends = []\nwhile True:\n    try:\n        r, w = os.pipe()\n        \
                 fcntl.fcntl(w, 1031, 1 << 20)\n        os.set_blocking(w, False)\n        os.write(w, b'x' * (1 << 20))\n        \
                 ends.append((r, w))\n    except OSError:\n        break\n";
    hands.bash(&format!("python3 - <<'HOG' 2>/dev/null || true\n{pipes}HOG")).await;
    assert_eq!(hands.bash("echo $SHELL_STATE").await, "kept");
}

#[tokio::test]
async fn a_shell_that_forks_without_end_leaves_its_session_alive() {
    let ground = Ground::new();
    let mut spec = ground.spec();
    spec.limits.processes_max = 64;
    let hands = ground.provision(&spec).await;
    let namespace = hands.bash("readlink /proc/self/ns/pid").await;
    let bomb = hands.tool(
        "bash",
        &serde_json::json!({ "command": "bomb() { bomb | bomb & }; bomb; wait", "timeout_ms": 1000 }),
    );
    // However it ends, it is a result and not the end of the sandbox.
    hands.sandbox.execute(&bomb).await.unwrap();
    let restart = hands.tool("bash", &serde_json::json!({ "restart": true }));
    hands.sandbox.execute(&restart).await.unwrap();
    ground.backend.destroy(&spec.session, true).await.unwrap();
    assert_eq!(processes_in(&namespace), 0);
    assert_eq!(ground.provision(&spec).await.bash("echo fine").await, "fine");
}

#[tokio::test]
async fn no_more_sandboxes_than_allowed_are_alive() {
    let mut ground = Ground::new();
    ground.restarted(|config| config.alive_max = 2);
    let (first, _) = ground.sandbox().await;
    ground.sandbox().await;
    let third = ground.spec();
    let refused = ground.backend.provision(&third).await.err();
    assert!(matches!(refused, Some(Error::Full { limit: 2 })), "{refused:?}");
    ground.backend.destroy(&first, true).await.unwrap();
    ground.provision(&third).await.bash("true").await;
}

#[tokio::test]
async fn a_large_call_passes_and_an_oversized_one_is_refused() {
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    let large = "x".repeat(8 << 20);
    let write =
        hands.tool("write", &serde_json::json!({ "file_path": "/workspace/large", "content": large }));
    assert!(!hands.sandbox.execute(&write).await.unwrap().is_error);
    assert_eq!(hands.bash("stat -c %s /workspace/large").await, (8 << 20).to_string());
    let oversized = "x".repeat(65 << 20);
    let write =
        hands.tool("write", &serde_json::json!({ "file_path": "/workspace/large", "content": oversized }));
    let refused = hands.sandbox.execute(&write).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert_eq!(hands.bash("echo still here").await, "still here");
}
