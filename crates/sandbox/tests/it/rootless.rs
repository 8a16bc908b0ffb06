//! Sandboxes of a spawner that is not root.

use sandbox::Backend;
use sandbox::Error;
use sandbox::Mode;

use crate::ground::Ground;
use crate::ground::until;

#[tokio::test]
async fn an_unprivileged_spawner_makes_sandboxes_with_the_same_walls() {
    let ground = Ground::of_nobody();
    let spec = ground.spec();
    let hands = ground.provision(&spec).await;
    let mode = ground.backend.spawner().await.unwrap().status.mode;
    assert!(matches!(mode, Some(Mode::SingleId | Mode::SubordinateIds)), "{mode:?}");
    println!("mode {mode:?}");
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
}

#[tokio::test]
async fn an_unprivileged_spawner_keeps_and_removes_files() {
    let ground = Ground::of_nobody();
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
