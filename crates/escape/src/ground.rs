//! The host's side: canaries that must not be touched, listeners that must not be reached, and a look at both afterwards.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::friend::FRIEND;
use crate::report::Finding;
use crate::report::Verdict;

/// What a start of a sandbox touches, and the name of what stands for it in the hostile folder.
pub(crate) const PLACES: [(&str, &str); 14] = [
    ("/etc/resolv.conf", "resolv.conf"),
    ("/etc/hosts", "hosts"),
    ("/etc/hostname", "hostname"),
    ("/tmp", "tmp"),
    ("/dev", "dev"),
    ("/proc", "proc"),
    ("/sys", "sys"),
    ("/mnt/session/uploads", "uploads"),
    ("/mnt/session/outputs", "outputs"),
    ("/workspace", "workspace"),
    ("/root", "root"),
    ("/usr", "usr"),
    ("/var", "var"),
    ("/home", "home"),
];
/// Of those, the ones that stand for a file.
const FILES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];

/// The ground of one run.
pub(crate) struct Ground {
    /// Everything that this run makes; removed at its end.
    pub(crate) folder: PathBuf,
    /// The text of every canary.
    pub(crate) token: String,
    /// A file that holds it.
    pub(crate) canary: PathBuf,
    /// A folder that links of a former life lead to.
    pub(crate) hostile: PathBuf,
    /// Loopback of the host.
    port: TcpListener,
    named: UnixListener,
    abstract_named: UnixListener,
    abstract_datagrams: UnixDatagram,
    before: BTreeMap<PathBuf, Seen>,
}

/// What is remembered of a file.
#[derive(PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    content: Vec<u8>,
}

impl Ground {
    /// Makes a folder with canaries below `data`, and listeners. Everybody may read and write the canaries: nothing but
    /// the walls is to protect them.
    pub(crate) fn make(data: &Path) -> Result<Self> {
        let mut random = [0; 12];
        getrandom::fill(&mut random).expect("the operating system always has random bytes once it is up");
        let name = random.iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
        let folder = data.join(format!("escape-{name}"));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let folder = folder.canonicalize().context("find the folder of this run")?;
        let (host, hostile) = (folder.join("host"), folder.join("host/hostile"));
        let token = format!("canary-{name}");
        let make = || -> std::io::Result<()> {
            std::fs::create_dir_all(&hostile)?;
            for (_, name) in PLACES {
                let place = hostile.join(name);
                if FILES.contains(&name) {
                    std::fs::write(place, &token)?;
                } else {
                    std::fs::create_dir(&place)?;
                    std::fs::write(place.join("canary"), &token)?;
                }
            }
            std::fs::write(hostile.join("canary"), &token)?;
            std::fs::write(host.join("canary"), &token)?;
            open_to_all(&host)
        };
        make().context("make the canaries")?;
        let abstract_name = |end: &str| SocketAddr::from_abstract_name(format!("journeyman-{name}{end}"));
        let listen = || -> std::io::Result<_> {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let named = UnixListener::bind(host.join("socket"))?;
            let abstract_named = UnixListener::bind_addr(&abstract_name("")?)?;
            let abstract_datagrams = UnixDatagram::bind_addr(&abstract_name("-datagrams")?)?;
            port.set_nonblocking(true)?;
            named.set_nonblocking(true)?;
            abstract_named.set_nonblocking(true)?;
            abstract_datagrams.set_nonblocking(true)?;
            Ok((port, named, abstract_named, abstract_datagrams))
        };
        let (port, named, abstract_named, abstract_datagrams) =
            listen().context("listen where nobody may come")?;
        let canary = host.join("canary");
        let mut ground = Self {
            folder,
            token,
            canary,
            hostile,
            port,
            named,
            abstract_named,
            abstract_datagrams,
            before: BTreeMap::new(),
        };
        ground.before = ground.look();
        Ok(ground)
    }

    /// What the attacker is told, so that it knows what to look for.
    pub(crate) fn facts(&self) -> Result<Vec<String>> {
        let host = self.canary.parent().unwrap_or(&self.folder);
        let port = self.port()?;
        let user = std::fs::metadata("/proc/self").context("learn who runs this")?.uid();
        let mut facts = vec![
            format!("user={user}"),
            format!("friend={FRIEND}"),
            format!("greeting={}", self.greeting()),
            format!("token={}", self.token),
            format!("canary={}", self.canary.display()),
            format!("canary={}", self.hostile.join("canary").display()),
            format!("socket={}", host.join("socket").display()),
            format!("port={port}"),
            format!("abstract={}", self.token.replace("canary-", "journeyman-")),
            format!("process={}", std::process::id()),
        ];
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            if let Ok(namespace) = std::fs::read_link(format!("/proc/self/ns/{kind}")) {
                facts.push(format!("namespace={}", namespace.display()));
            }
        }
        Ok(facts)
    }

    /// The port of the host's loopback where nobody may come.
    pub(crate) fn port(&self) -> Result<u16> {
        Ok(self.port.local_addr().context("read the port of the trap")?.port())
    }

    /// The data folder of the servers of this run.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What the host says that sandboxes may reach.
    pub(crate) fn greeting(&self) -> String {
        self.token.replace("canary-", "greeting-")
    }

    /// Looks from outside: whether files are as they were, and whether somebody came to a listener.
    pub(crate) fn inspect(&self) -> Vec<Finding> {
        let now = self.look();
        let changed = |path: &&PathBuf| now.get(*path) != self.before.get(*path);
        let paths = self.before.keys().chain(now.keys().filter(|path| !self.before.contains_key(*path)));
        let changed: Vec<String> = paths.filter(changed).map(|path| path.display().to_string()).collect();
        let files = match changed.as_slice() {
            [] => (Verdict::Held, format!("{} files and folders as before", self.before.len())),
            changed => (Verdict::Escaped, format!("changed: {}", changed.join(", "))),
        };
        let came = [
            (27, "the host's port, seen from outside", self.port.accept().map(drop)),
            (33, "the host's socket, seen from outside", self.named.accept().map(drop)),
            (33, "the host's abstract socket, seen from outside", self.abstract_named.accept().map(drop)),
            (
                33,
                "datagrams to the host, seen from outside",
                self.abstract_datagrams.recv(&mut [0; 16]).map(drop),
            ),
        ];
        let mut findings = vec![Finding::new(14, "files of the host, seen from outside", "untouched", files)];
        findings.extend(came.map(|(row, name, result)| {
            let verdict = match result {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    (Verdict::Held, "nobody came".to_owned())
                }
                Err(error) => (Verdict::Escaped, format!("unclear: {error}")),
                Ok(()) => (Verdict::Escaped, "somebody came".to_owned()),
            };
            Finding::new(row, name, "nobody came", verdict)
        }));
        findings
    }

    /// Puts links into the files of a session that has no sandbox now: what a checkpoint could bring that was made by
    /// somebody else. Where the files belong to another user, only what the attacker did inside counts. Tells which.
    pub(crate) fn plant(&self, session: &str) -> Vec<&'static str> {
        let upper = self.data().join("sandboxes").join(session).join("upper");
        let mut planted = Vec::new();
        for (place, name) in PLACES {
            let path = upper.join(place.trim_start_matches('/'));
            let plant = || -> std::io::Result<()> {
                match path.symlink_metadata() {
                    Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path)?,
                    Ok(_) => std::fs::remove_file(&path)?,
                    Err(_) => std::fs::create_dir_all(path.parent().unwrap_or(&upper))?,
                }
                symlink(self.hostile.join(name), &path)
            };
            if upper.is_dir() && plant().is_ok() {
                planted.push(place);
            }
        }
        planted
    }

    /// Removes everything that this run made.
    pub(crate) fn remove(self) -> Result<()> {
        let removed = std::fs::remove_dir_all(&self.folder).or_else(|_| {
            // The kernel keeps folders in a sandbox's files that nobody may read.
            open_folders(&self.folder)?;
            std::fs::remove_dir_all(&self.folder)
        });
        removed.with_context(|| format!("remove {}", self.folder.display()))
    }

    fn look(&self) -> BTreeMap<PathBuf, Seen> {
        let mut seen = BTreeMap::new();
        let mut open = vec![self.canary.parent().unwrap_or(&self.folder).to_owned()];
        while let Some(path) = open.pop() {
            let Ok(found) = path.symlink_metadata() else { continue };
            let content = if found.is_file() { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
            if found.is_dir() {
                let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                open.extend(entries.map(|entry| entry.path()));
            }
            seen.insert(path, Seen { mode: found.mode(), owner: (found.uid(), found.gid()), content });
        }
        seen
    }
}

/// Lets the owner into every folder below.
fn open_folders(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

fn open_to_all(path: &Path) -> std::io::Result<()> {
    let mode = if path.is_dir() { 0o777 } else { 0o666 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            open_to_all(&entry?.path())?;
        }
    }
    Ok(())
}
