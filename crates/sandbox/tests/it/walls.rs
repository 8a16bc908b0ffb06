//! What a sandbox shows and what it hides.

use sandbox::Base;
use sandbox::Root;

use crate::ground::Ground;

#[tokio::test]
async fn a_sandbox_is_a_machine_of_its_own() {
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    assert_eq!(
        hands.bash("id -u; id -g; hostname; pwd; echo $HOME").await,
        "0\n0\nsandbox\n/workspace\n/root"
    );
    let listed = hands.bash("ls /").await;
    for name in ["bin", "dev", "etc", "home", "lib", "mnt", "proc", "root", "tmp", "usr", "var", "workspace"]
    {
        assert!(listed.lines().any(|one| one == name), "{name} in {listed}");
    }
    assert_eq!(
        hands.bash("cat /etc/hostname; getent passwd root").await,
        "sandbox\nroot:x:0:0:root:/root:/bin/bash"
    );
    assert_eq!(
        hands.bash("stat -c '%U %a' / /tmp /workspace /root").await,
        "root 755\nroot 1777\nroot 755\nroot 700"
    );
    assert_eq!(hands.bash("echo a > /dev/null; head -c 3 /dev/zero | wc -c; ls /dev/pts").await, "3\nptmx");
}

#[tokio::test]
async fn the_host_is_not_visible() {
    let ground = Ground::new();
    let canary = ground.data_dir().parent().unwrap().join("canary");
    std::fs::write(&canary, "secret").unwrap();
    let (_, hands) = ground.sandbox().await;
    let canary = canary.display();
    assert_eq!(hands.bash(&format!("test -e {canary} || echo absent")).await, "absent");
    assert_eq!(hands.bash(&format!("test -e /proc/1/root{canary} || echo absent")).await, "absent");
    assert_eq!(hands.bash("ls -A /root /home /opt /srv | grep -v -e : -e '^$' | wc -l").await, "0");
    assert_eq!(hands.bash("test -e /etc/shadow -o -e /etc/machine-id || echo absent").await, "absent");
}

#[tokio::test]
async fn the_first_process_gives_nothing_away() {
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    for file in ["environ", "mem", "maps", "auxv", "root/", "cwd/", "fd/", "exe"] {
        let said = hands.bash(&format!("ls /proc/1/{file} > /dev/null && cat /proc/1/{file}; true")).await;
        assert!(said.contains("denied") && said.lines().count() == 1, "{file}: {said}");
    }
    assert_eq!(hands.bash("tr '\\0' ' ' < /proc/1/cmdline").await, "hand ");
    // The shell has been given three descriptors and whatever its driver needs, but no way to the outside.
    let fds = hands.bash("ls -l /proc/self/fd").await;
    assert!(!fds.contains("memfd") && !fds.contains("socket"), "{fds}");
}

#[tokio::test]
async fn no_new_walls_can_be_made_or_taken_down() {
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    for command in [
        "mount -t tmpfs none /mnt",
        "mount --bind / /mnt",
        "umount /proc",
        "umount -l /usr",
        "mount -o remount,rw /usr",
        "unshare --user true",
        "unshare --mount true",
        "unshare --net true",
        "unshare --pid --fork true",
        "nsenter --target 1 --mount true",
        "touch /usr/bin/planted",
        "touch /mnt/session/uploads/planted",
        "hostname other",
        "echo 1 > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "mknod /tmp/disk b 8 0",
        "mknod /tmp/mem c 1 1",
        "cat /proc/kcore | head -c 1 | grep -q .",
        "dmesg",
        "date -s 2000-01-01",
        "chroot / mount -t tmpfs none /mnt",
        "ip link set lo down",
        "kill -KILL 1 && sleep 0.05 && test ! -e /proc/1",
    ] {
        let outcome =
            hands.bash(&format!("( {command} ) >/dev/null 2>&1 && echo it works || echo refused")).await;
        assert_eq!(outcome, "refused", "{command}");
    }
    assert_eq!(
        hands.bash("grep -e NoNewPrivs -e Seccomp: /proc/self/status | tr -d '\\t'").await,
        "NoNewPrivs:1\nSeccomp:2"
    );
    let capabilities = hands.bash("grep -e CapBnd -e CapEff /proc/self/status | cut -f2 | sort -u").await;
    assert_eq!(capabilities, "00000000000404fb");
}

#[tokio::test]
async fn forbidden_calls_answer_as_the_table_says() {
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    // number, arguments -> errno; numbers of x86_64 and arm64 differ below 424.
    let probe = r"
import ctypes, os, platform, socket
c = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
def call(n, *a):
    ctypes.set_errno(0)
    r = c.syscall(n, *a)
    return ctypes.get_errno() if r == -1 else 0
print('io_uring_setup', call(425, 1, 0))
print('clone3', call(435, 0, 0))
print('open_tree', call(428, -100, b'/', 1))
print('setns', call(308 if x86 else 268, 0, 0))
print('bpf', call(321 if x86 else 280, 0, 0, 0))
print('keyctl', call(250 if x86 else 219, 0, 0))
print('clone_newuser', call(56 if x86 else 220, 0x10000000, 0))
print('open_tree_attr', call(467, -100, b'/', 1, 0, 0))
print('x32_getpid', call(0x40000000 + 39) if x86 else 38)
for name in ('AF_VSOCK', 'AF_PACKET', 'AF_ALG', 'AF_KEY'):
    try:
        socket.socket(getattr(socket, name, 15), socket.SOCK_RAW); print(name, 0)
    except OSError as e: print(name, e.errno)
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9); print('audit', 0)
except OSError as e: print('audit', e.errno)
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
print('route', 0)
";
    let said = hands.bash(&format!("python3 - <<'PROBE'\n{probe}\nPROBE")).await;
    let expected = "io_uring_setup 38\nclone3 38\nopen_tree 1\nsetns 1\nbpf 1\nkeyctl 1\nclone_newuser 1\n\
        open_tree_attr 38\nx32_getpid 38\nAF_VSOCK 97\nAF_PACKET 97\nAF_ALG 97\nAF_KEY 97\naudit 97\nroute 0";
    assert_eq!(said, expected);
}

#[tokio::test]
async fn there_is_no_network_but_the_loopback_device() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    assert_eq!(hands.bash("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").await, "lo");
    let connect = |address: &str, port: u16| {
        format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo shut")
    };
    assert_eq!(hands.bash(&connect("127.0.0.1", port)).await, "shut");
    assert_eq!(hands.bash(&connect("10.0.0.1", 80)).await, "shut");
    // Servers of the sandbox's own are reachable, on any port.
    let own = "python3 -c 'import socket,time\ns=socket.create_server((\"127.0.0.1\",80))\nc=socket.create_connection((\"127.0.0.1\",80))\nprint(\"open\")'";
    assert_eq!(hands.bash(own).await, "open");
}

#[tokio::test]
async fn uploads_are_shown_and_cannot_be_changed() {
    let ground = Ground::new();
    let (session, hands) = ground.sandbox().await;
    let uploads = ground.data_dir().join("sandboxes").join(session.as_str()).join("uploads");
    std::fs::write(uploads.join("given.txt"), "from outside").unwrap();
    assert_eq!(hands.bash("cat /mnt/session/uploads/given.txt").await, "from outside");
    assert_eq!(hands.bash("stat -c %U /mnt/session/uploads/given.txt").await, "root");
    let write = "echo x > /mnt/session/uploads/given.txt || rm /mnt/session/uploads/given.txt";
    assert_eq!(hands.bash(&format!("({write}) 2>/dev/null || echo refused")).await, "refused");
    assert_eq!(
        hands.bash("echo x > /mnt/session/outputs/result && cat /mnt/session/outputs/result").await,
        "x"
    );
}

#[tokio::test]
async fn another_root_file_system_can_be_given() {
    let ground = Ground::new();
    let root = ground.data_dir().join("a root: with, odd name");
    // The smallest one that works: a shell and what it needs, taken from the host.
    let script = format!(
        "set -e; mkdir -p '{0}/etc' '{0}/tmp'; ln -s /nowhere '{0}/dev'; ln -s ../../../etc '{0}/mnt'; \
         for file in /bin/bash /bin/cat $(ldd /bin/bash /bin/cat | grep -o '/[^ :]*' | sort -u); do \
           mkdir -p \"{0}$(dirname $file)\"; cp -L $file \"{0}$file\"; done; \
         echo theirs > '{0}/etc/marker'; ln -sfn /etc/passwd '{0}/etc/hosts'",
        root.display()
    );
    let made = std::process::Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(made.success());
    let mut spec = ground.spec();
    spec.root = Root { base: Base::Directory(root.clone()), layers: Vec::new() };
    let before = std::fs::read("/etc/passwd").unwrap();
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("cat /etc/marker; echo mine > /etc/marker; cat /etc/marker").await, "theirs\nmine");
    assert_eq!(hands.bash("cat /etc/hostname; test -c /dev/null && echo device").await, "sandbox\ndevice");
    assert!(hands.bash("cat /etc/hosts").await.contains("sandbox"));
    assert_eq!(std::fs::read_to_string(root.join("etc/marker")).unwrap(), "theirs\n");
    assert_eq!(std::fs::read("/etc/passwd").unwrap(), before);
}
