//! Sandboxes of a spawner that is not root, or has no control groups.

use sandbox::Backend;
use sandbox::Error;
use sandbox::Mode;

use crate::ground::Ground;
use crate::ground::until;

/// Starts as many processes as it can, each of a user of its own, and tells how many there were.
const BOMB: &str = r"python3 -c '
import os, signal
children = []
for user in range(1, 1000):
    try:
        child = os.fork()
    except BlockingIOError:
        break
    if child == 0:
        os.setuid(user)
        signal.pause()
    children.append(child)
for child in children:
    os.kill(child, signal.SIGKILL)
print(len(children))'";

#[tokio::test]
async fn a_spawner_with_a_single_id_makes_sandboxes_with_the_same_walls() {
    walls_stand(Ground::of_nobody(), &[Mode::SingleId, Mode::SubordinateIds]).await;
}

#[tokio::test]
async fn a_spawner_with_subordinate_ids_makes_sandboxes_with_the_same_walls() {
    walls_stand(Ground::of_granted(), &[Mode::SubordinateIds]).await;
}

async fn walls_stand(ground: Ground, modes: &[Mode]) {
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    let mode = ground.backend.spawner().await.unwrap().status.mode;
    assert!(mode.is_some_and(|mode| modes.contains(&mode)), "{mode:?}");
    assert_eq!(hands.bash("id -u; hostname; stat -c %U / /workspace").await, "0\nsandbox\nroot\nroot");
    for command in [
        "mount -t tmpfs none /mnt",
        "umount -l /usr",
        "umount /proc/kcore",
        "unshare --user true",
        "unshare --net true",
        "touch /usr/bin/planted",
        "touch /mnt/session/uploads/planted",
        "echo 1 > /proc/sys/kernel/core_pattern",
        "ip link set lo down",
        "hostname other",
        "cat /proc/1/environ",
        "test -e /etc/shadow",
    ] {
        let outcome =
            hands.bash(&format!("( {command} ) >/dev/null 2>&1 && echo it works || echo refused")).await;
        assert_eq!(outcome, "refused", "{command}");
    }
    // Other users exist only where the host grants ids for them.
    let owner = match mode {
        Some(Mode::SubordinateIds) => "www-data",
        Some(Mode::Root | Mode::SingleId | Mode::Containers) | None => "refused",
    };
    let change =
        "cd /tmp && touch file && (chown www-data file 2>/dev/null && stat -c %U file || echo refused)";
    assert_eq!(hands.bash(change).await, owner);
    assert_eq!(hands.bash("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").await, "lo");
    // Root inside is not root of the namespace that everything was made in, so not even privileges would help. The map shows
    // the ids as they are there.
    let map =
        hands.bash("awk '{ print ($1 == $2) ? \"inner\" : \"outer\" }' /proc/self/uid_map | sort -u").await;
    assert_eq!(map, "inner");
    assert_eq!(hands.bash("cat /proc/sys/user/max_user_namespaces").await, "0");
}

#[tokio::test]
async fn all_users_of_a_sandbox_share_its_processes() {
    for ground in [Ground::of_granted(), Ground::without_groups()] {
        assert!(
            ground.backend.spawner().await.unwrap().status.missing.iter().any(|lack| lack.contains("pids"))
        );
        // The second one of root has the ids of the first, with another bound.
        for processes_max in [64, 200] {
            let mut spec = ground.spec();
            spec.limits.processes_max = processes_max;
            let hands = ground.provision(&spec).await;
            let count: u32 = hands.bash(BOMB).await.parse().unwrap();
            assert!((processes_max..processes_max + 64).contains(&count), "{count}");
            assert_eq!(hands.bash("echo alive").await, "alive");
            ground.backend.destroy(&spec.session, false).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_spawner_with_a_single_id_keeps_and_removes_files() {
    files_stay_and_go(Ground::of_nobody()).await;
}

#[tokio::test]
async fn a_spawner_with_subordinate_ids_keeps_and_removes_files() {
    files_stay_and_go(Ground::of_granted()).await;
}

async fn files_stay_and_go(ground: Ground) {
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    hands
        .bash("mkdir -p /workspace/shut/in && echo kept > /workspace/shut/in/file && chmod 0 /workspace/shut")
        .await;
    ground.backend.destroy(&spec.session, true).await.unwrap();
    assert!(matches!(hands.try_bash("true").await, Err(Error::Lost { .. })));
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("cat /workspace/shut/in/file").await, "kept");
    ground.backend.destroy(&spec.session, false).await.unwrap();
    until("the trash is empty", || {
        std::fs::read_dir(ground.data_dir().join("trash")).unwrap().next().is_none()
    })
    .await;
}
