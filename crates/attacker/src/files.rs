//! Files and sockets of the host by path, by mount, and by any detour.

use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::probe::judge;
use crate::sys::Errno;

/// Ways to the root of a file system that might be another one than ours.
const DETOURS: [&str; 12] = [
    "",
    "/proc/1/root",
    "/proc/1/cwd",
    "/proc/self/root",
    "/proc/self/cwd/../../../../../../../..",
    "/proc/thread-self/root/../..",
    "/../../../..",
    "/mnt/session/../../..",
    "/mnt/session/uploads/../../../../..",
    "/old_root",
    "/oldroot",
    "/.pivot_root",
];

/// Where daemons of a host listen, and where it keeps what nobody else should read.
const HOST_SOCKETS: [&str; 8] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/var/run/postgresql/.s.PGSQL.5432",
    "/tmp/.X11-unix/X0",
];
const HOST_FILES: [&str; 8] = [
    "/etc/shadow",
    "/etc/machine-id",
    "/etc/ssh/ssh_host_ed25519_key",
    "/root/.ssh/id_ed25519",
    "/root/.bash_history",
    "/var/lib/systemd/random-seed",
    "/run/secrets/kubernetes.io/serviceaccount/token",
    "/boot/vmlinuz",
];
const GONE: [i32; 6] =
    [libc::ENOENT, libc::ENOTDIR, libc::EACCES, libc::ECONNREFUSED, libc::EPERM, libc::ELOOP];

/// Rows 14, 33 and 46.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for detour in DETOURS {
        let name = if detour.is_empty() { "by its path".to_owned() } else { format!("under {detour}") };
        let attack = move |context: &Context| canaries(context, detour);
        probes.push(Probe::new(
            14,
            format!("read a file of the host {name}"),
            "ENOENT or another file",
            attack,
        ));
    }
    probes.push(Probe::new(14, "read a file of the host by mount sources", "ENOENT", by_mount));
    probes.push(Probe::new(14, "paths of the host in mountinfo", "no canary's folder", mount_paths));
    probes.push(Probe::new(14, "plant a file beside a canary", "ENOENT or the sandbox's own", plant));
    for path in HOST_FILES {
        let attack = move |_: &Context| absent(path);
        probes.push(Probe::new(14, format!("find {path}"), "ENOENT", attack));
    }
    for path in HOST_SOCKETS {
        let attack = move |_: &Context| judge(UnixStream::connect(path).map_err(Into::into), &GONE);
        probes.push(Probe::new(33, format!("connect to {path}"), "ENOENT", attack));
    }
    probes.push(Probe::new(33, "connect to a socket of the host by path", "ENOENT", sockets));
    probes.push(Probe::new(33, "connect to an abstract socket of the host", "ECONNREFUSED", abstract_stream));
    probes.push(Probe::new(33, "send to an abstract socket of the host", "ECONNREFUSED", abstract_datagram));
    probes.push(Probe::new(46, "write to the uploads", "EROFS", |_| {
        judge(std::fs::write("/mnt/session/uploads/escape", "x").map_err(Into::into), &[libc::EROFS])
    }));
    probes.push(Probe::new(6, "write to /usr", "EROFS", |_| {
        // In a root of the operator's own it lies in the sandbox's files; in the host's `/usr` it must not.
        match std::fs::write("/usr/bin/escape-planted", "x") {
            Ok(()) if is_own("/usr") => Outcome::Held("it goes to the sandbox's own files".to_owned()),
            result => judge(result.map_err(Into::into), &[libc::EROFS]),
        }
    }));
    probes
}

/// Whether a folder is part of the root's file system, which is the sandbox's own.
fn is_own(path: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &str| std::fs::metadata(path).map(|found| found.dev()).ok();
    device(path) == device("/")
}

fn canaries(context: &Context, detour: &str) -> Outcome {
    all(context.canaries.iter().map(|canary| (canary.clone(), read(context, &format!("{detour}{canary}")))))
}

fn read(context: &Context, path: &str) -> Outcome {
    match std::fs::read(path) {
        Ok(content) if context.is_betrayed_by(&content) => Outcome::Escaped(format!("{path} can be read")),
        Ok(_) => Outcome::Held("another file".to_owned()),
        Err(error) => Outcome::Held(Errno::from(error).to_string()),
    }
}

/// Each mount: where it is, and which folder of its file system it shows.
fn mounts() -> Vec<(String, String)> {
    let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = listed.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(3);
        let root = words.next()?.to_owned();
        Some((words.next()?.to_owned(), root))
    });
    mounts.collect()
}

fn by_mount(context: &Context) -> Outcome {
    let mut tries = Vec::new();
    for (place, root) in mounts() {
        for canary in &context.canaries {
            let tail = canary.strip_prefix(&root).unwrap_or(canary);
            for path in
                [format!("{place}/{tail}"), format!("{place}/..{canary}"), format!("{root}/../{tail}")]
            {
                let outcome = read(context, &path);
                tries.push((path, outcome));
            }
        }
    }
    all(tries)
}

/// Names of the host's folders do no harm by themselves; a path that leads to a canary does.
fn mount_paths(context: &Context) -> Outcome {
    all(mounts().into_iter().map(|(_, root)| {
        let holds =
            std::fs::read_dir(&root).ok().into_iter().flatten().flatten().any(|entry| {
                std::fs::read(entry.path()).is_ok_and(|content| context.is_betrayed_by(&content))
            });
        let outcome = if holds {
            Outcome::Escaped("it holds a canary".to_owned())
        } else {
            Outcome::Held("no canary".to_owned())
        };
        (root, outcome)
    }))
}

/// The outside looks afterwards whether the file is there.
fn plant(context: &Context) -> Outcome {
    all(context.canaries.iter().map(|canary| {
        let result = std::fs::write(format!("{canary}.planted"), "escape");
        let outcome = match result {
            Ok(()) if context.canaries.iter().any(|canary| read_is_betrayal(context, canary)) => {
                Outcome::Escaped("it was written".to_owned())
            }
            Ok(()) => Outcome::Held("the sandbox's own folder".to_owned()),
            Err(error) => Outcome::Held(Errno::from(error).to_string()),
        };
        (canary.clone(), outcome)
    }))
}

fn read_is_betrayal(context: &Context, path: &str) -> bool {
    std::fs::read(path).is_ok_and(|content| context.is_betrayed_by(&content))
}

fn absent(path: &str) -> Outcome {
    match std::fs::metadata(path) {
        Err(error) => Outcome::Held(Errno::from(error).to_string()),
        Ok(_) if is_own(path) => Outcome::Held("the sandbox's own".to_owned()),
        Ok(_) => Outcome::Escaped("it is there, and it is not the sandbox's".to_owned()),
    }
}

fn sockets(context: &Context) -> Outcome {
    all(context.sockets.iter().map(|path| (path.clone(), answer(context, UnixStream::connect(path)))))
}

fn abstract_stream(context: &Context) -> Outcome {
    match SocketAddr::from_abstract_name(&context.abstract_name) {
        Ok(address) => answer(context, UnixStream::connect_addr(&address)),
        Err(error) => Outcome::Skipped(error.to_string()),
    }
}

fn abstract_datagram(context: &Context) -> Outcome {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        let address = SocketAddr::from_abstract_name(format!("{}-datagrams", context.abstract_name))?;
        socket.send_to_addr(b"escape", &address)
    });
    judge(sent.map_err(Into::into), &GONE)
}

/// A connection counts when it is the host that answers: something of the sandbox may listen under the same name.
fn answer(context: &Context, connected: std::io::Result<UnixStream>) -> Outcome {
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) => return judge::<()>(Err(error.into()), &GONE),
    };
    let mut said = [0; 256];
    let count = stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .and_then(|()| stream.read(&mut said))
        .unwrap_or(0);
    if context.is_betrayed_by(&said[..count]) {
        Outcome::Escaped("the host answered".to_owned())
    } else {
        Outcome::Held("something else answered".to_owned())
    }
}
