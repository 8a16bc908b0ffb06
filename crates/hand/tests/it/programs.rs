//! Programs that people use, within the walls: nothing that they need is refused.

use crate::walled::Ground;
use crate::walled::Maker;

#[test]
fn usual_programs_run() {
    let ground = Ground::new(Maker::Root);
    let walled = ground.start(|_| {});
    let mut client = walled.hand.connect();
    let mut ran = Vec::new();
    for (program, command, expected) in [
        ("bash", "echo $((6 * 7)); (sleep 0 & wait $!; echo $?)", "42\n0"),
        (
            "python3",
            "python3 -c 'import subprocess, threading, ssl, sqlite3, multiprocessing
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
t = threading.Thread(target=print, args=(1,)); t.start(); t.join()
print(subprocess.check_output([\"id\", \"-u\"], text=True), end=str())'",
            "1\n0",
        ),
        (
            "git",
            "git init -q r 2>&1 && cd r && echo a > f && git add f && git -c user.name=a -c user.email=b commit -qm m && git log --format=%s",
            "m",
        ),
        ("gcc", "cd /tmp && echo 'int main(void){return 42;}' > a.c && gcc a.c -o a && ./a; echo $?", "42"),
        (
            "node",
            "node -e 'require(\"fs\").promises.readFile(\"/etc/passwd\").then(text => console.log(text.length > 9))'",
            "true",
        ),
        ("tar", "cd /tmp && mkdir -p d/e && tar cf - d | tar tf -", "d/\nd/e/"),
        (
            "mv",
            "mkdir -p /tmp/x /root/y && echo a > /tmp/x/f && mv /tmp/x/f /root/y/g && ln /root/y/g /tmp/x/h && truncate -s 1 /tmp/x/h && cat /root/y/g",
            "a",
        ),
        ("setarch", "setarch -R true && echo fixed", "fixed"),
        (
            "strace",
            "strace -f -o /tmp/trace bash -c 'id -u' && grep -q execve /tmp/trace && echo traced",
            "0\ntraced",
        ),
        ("gdb", "gdb -batch -ex run --args /usr/bin/true 2>&1 | grep -c 'exited normally'", "1"),
    ] {
        if client.bash(&format!("command -v {program} || true")).is_empty() {
            continue;
        }
        ran.push(program);
        assert_eq!(client.bash(&format!("cd /root; {command}")).trim_end(), expected, "{program}");
    }
    assert!(ran.len() >= 4, "{ran:?}");
}

#[test]
fn sockets_in_the_file_system_and_between_processes_work() {
    let ground = Ground::new(Maker::Root);
    let walled = ground.start(|_| {});
    let mut client = walled.hand.connect();
    let talk = r#"
import os, signal, socket
for name in ("/tmp/socket", "\0abstract"):
    server = socket.socket(socket.AF_UNIX); server.bind(name); server.listen()
    if os.fork() == 0:
        own = socket.socket(socket.AF_UNIX); own.connect(name); own.send(b"said"); os._exit(0)
    assert server.accept()[0].recv(9) == b"said"
    os.wait()
child = os.fork()
if child == 0: signal.pause()
os.kill(child, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
import errno, stat
os.mkfifo("/tmp/fifo")
for kind in (stat.S_IFCHR, stat.S_IFBLK):
    try: os.mknod("/tmp/device", kind, os.makedev(0, 0)); print("made")
    except PermissionError: pass
print("done")
"#;
    assert_eq!(client.bash(&format!("python3 - <<'TALK'\n{talk}TALK")), "done");
}
