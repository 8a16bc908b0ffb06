//! Making, ending, losing and making again.

use std::path::Path;

use api::ids::SessionId;
use sandbox::Backend;
use sandbox::Error;

use crate::ground::Ground;
use crate::ground::children;
use crate::ground::exists;
use crate::ground::kill;
use crate::ground::until;
use crate::traces::groups;

#[tokio::test]
async fn what_a_session_writes_outlives_its_sandbox() {
    let ground = Ground::new();
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    hands.bash("echo kept > /workspace/file; echo too > /etc/added; rm /etc/shells; install -m 4755 /usr/bin/true /root/s").await;
    ground.backend.destroy(&spec.session, true).await.unwrap();
    assert!(matches!(hands.try_bash("true").await, Err(Error::Lost { .. })));
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("cat /workspace/file /etc/added; test ! -e /etc/shells").await, "kept\ntoo");
    ground.backend.destroy(&spec.session, false).await.unwrap();
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("ls -A /workspace | wc -l").await, "0");
}

#[tokio::test]
async fn a_hostile_former_life_does_not_reach_the_host() {
    let ground = Ground::new();
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    hands.bash("true").await;
    ground.backend.destroy(&spec.session, true).await.unwrap();
    // As a restored copy might be: every place that is mounted on leads out of the sandbox.
    let upper = ground.upper(&spec.session);
    let outside = ground.data_dir().join("outside");
    std::fs::create_dir(&outside).unwrap();
    for name in ["proc", "dev", "sys", "tmp", "usr", "mnt"] {
        // What the overlay keeps there already would have been there in a copy too.
        drop(std::fs::remove_dir_all(upper.join(name)));
        std::os::unix::fs::symlink(&outside, upper.join(name)).unwrap();
    }
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("stat -c %F /proc /dev /sys /tmp /usr /mnt | sort -u").await, "directory");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn a_killed_hand_is_lost_and_can_be_made_again() {
    let ground = Ground::new();
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    hands.bash("echo before > /workspace/file").await;
    let pids = ground.hand_pids().await;
    let call = hands.call("sleep 1000");
    let (lost, ()) = tokio::join!(hands.sandbox.execute(&call), async { pids.into_iter().for_each(kill) });
    assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("cat /workspace/file").await, "before");
    let recalled = hands.sandbox.recall(&call.id).await.unwrap();
    assert!(matches!(recalled, sandbox::Recall::Unknown), "{recalled:?}");
}

#[tokio::test]
async fn sandboxes_die_with_their_spawner_and_a_new_one_is_started() {
    let ground = Ground::new();
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    let (_, other) = ground.sandbox().await;
    hands.bash("echo before > /workspace/file").await;
    let spawner = ground.backend.spawner().await.unwrap().pid;
    let pids = ground.hand_pids().await;
    kill(spawner);
    until("the hands are gone", || pids.iter().all(|pid| !exists(*pid))).await;
    assert!(matches!(hands.try_bash("true").await, Err(Error::Lost { .. })));
    assert!(matches!(other.try_bash("true").await, Err(Error::Lost { .. })));
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("cat /workspace/file").await, "before");
    assert_ne!(ground.backend.spawner().await.unwrap().pid, spawner);
}

#[tokio::test]
async fn two_hundred_lives_leave_nothing_behind() {
    let ground = Ground::new();
    let spawner = ground.backend.spawner().await.unwrap().pid;
    let mut alive: Vec<SessionId> = Vec::new();
    // The first ones leave their user namespaces to those that follow: more of them than will ever run at once.
    for _ in 0..10 {
        alive.push(ground.sandbox().await.0);
    }
    for session in alive.drain(..) {
        ground.backend.destroy(&session, false).await.unwrap();
    }
    until("the trash is empty", || is_empty(ground.data_dir(), "trash")).await;
    let before = Traces::of(spawner, ground.data_dir());
    for round in 0..200 {
        let (session, hands) = ground.sandbox().await;
        if round % 20 == 0 {
            assert_eq!(
                hands.bash("mkdir -p /a/b && echo x > /a/b/c && chmod 0 /a/b /a && echo ok").await,
                "ok"
            );
        }
        alive.push(session);
        if alive.len() == 5 {
            for session in alive.drain(..) {
                ground.backend.destroy(&session, false).await.unwrap();
            }
        }
    }
    assert_eq!(ground.backend.list().await.unwrap(), Vec::new());
    until("nothing is left", || {
        Traces::of(spawner, ground.data_dir()) == before
            && is_empty(ground.data_dir(), "sandboxes")
            && is_empty(ground.data_dir(), "trash")
    })
    .await;
}

#[tokio::test]
async fn folders_of_any_depth_are_removed() {
    let ground = Ground::new();
    let (session, hands) = ground.sandbox().await;
    let deep = "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    open('f', 'w').close()\n    os.chdir('d')\n";
    hands.bash(&format!("python3 - <<'DEEP'\n{deep}DEEP")).await;
    ground.backend.destroy(&session, false).await.unwrap();
    until("the trash is empty", || is_empty(ground.data_dir(), "trash")).await;
}

#[tokio::test]
async fn a_spawner_without_a_server_ends_by_itself() {
    let mut ground = Ground::new();
    ground.restarted(|config| {
        *config.arguments.last_mut().unwrap() = "1".into();
    });
    let (_, hands) = ground.sandbox().await;
    hands.bash("true").await;
    let spawner = ground.backend.spawner().await.unwrap().pid;
    let pids = ground.hand_pids().await;
    // The server goes away.
    ground.restarted(|_| {});
    until("spawner and hand are gone", || !exists(spawner) && pids.iter().all(|pid| !exists(*pid))).await;
    assert!(!ground.data_dir().join("spawner.sock").exists());
}

#[tokio::test]
async fn a_data_folder_has_one_spawner_however_many_ask_at_once() {
    let ground = Ground::new();
    let others: Vec<_> = (0..4).map(|_| sandbox::Embedded::new(ground.config.clone())).collect();
    let (a, b, c, d) =
        tokio::join!(others[0].spawner(), others[1].spawner(), others[2].spawner(), others[3].spawner());
    let pids: Vec<i32> = [a, b, c, d].map(|info| info.unwrap().pid).into();
    assert_eq!(pids, vec![pids[0]; 4]);
}

#[tokio::test]
async fn a_data_folder_may_have_a_long_path() {
    let mut ground = Ground::new();
    let long = ground.data_dir().join("long".repeat(30)).join("longer".repeat(20));
    std::fs::create_dir_all(&long).unwrap();
    let argument = ground.config.arguments.iter().position(|one| one == ground.data_dir()).unwrap();
    ground.restarted(|config| {
        config.arguments[argument] = long.clone().into();
        config.data_dir = long;
    });
    let (_, hands) = ground.sandbox().await;
    assert_eq!(hands.bash("echo here").await, "here");
}

/// What a spawner's sandboxes could leave on the host.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    mounts: usize,
    groups: usize,
    processes: usize,
    fds: usize,
}

impl Traces {
    fn of(spawner: i32, data_dir: &Path) -> Self {
        let mounts = std::fs::read_to_string(format!("/proc/{spawner}/mountinfo")).unwrap().lines().count();
        let fds = std::fs::read_dir(format!("/proc/{spawner}/fd")).unwrap().count();
        Self { mounts, groups: groups(data_dir), processes: children(spawner).len(), fds }
    }
}

fn is_empty(data_dir: &Path, name: &str) -> bool {
    std::fs::read_dir(data_dir.join(name)).unwrap().next().is_none()
}

#[tokio::test]
async fn many_first_calls_at_once_all_get_their_results() {
    let ground = Ground::new();
    let spec = ground.spec();
    let call = |number: usize| {
        let (ground, spec) = (&ground, &spec);
        async move {
            let hands = ground.provision(spec).await;
            hands.bash(&format!("sleep 0.1; echo {number}")).await
        }
    };
    // More than the connections that a hand keeps.
    let said = futures_util::future::join_all((0..24).map(call)).await;
    assert_eq!(said, (0..24).map(|number| number.to_string()).collect::<Vec<_>>());
}
