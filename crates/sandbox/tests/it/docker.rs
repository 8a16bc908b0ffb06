//! Sandboxes in containers, with an engine that the test starts: the daemon in a folder of its own, without any network,
//! and an image of a few programs of this host.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use api::ids::Ids;
use api::time::Clock;
use sandbox::Backend;
use sandbox::Base;
use sandbox::Error;
use sandbox::Folder;
use sandbox::Mode;
use sandbox::Recall;
use sandbox::Root;
use sandbox::Spec;
use sandbox::docker::Config;
use sandbox::docker::Docker;
use testkit::engine::Engine;

use crate::ground::Hands;
use crate::ground::children;
use crate::ground::is_egress;
use crate::ground::kill;
use crate::ground::until;
use crate::mounts;
use crate::network;
use crate::same;
use crate::same::Subject;

/// An engine with an image. Ends with everything in it when it is dropped.
struct Dock {
    engine: Engine,
    config: Config,
    ids: Ids,
}

impl Dock {
    /// `None`, with the reason printed, where there can be no engine.
    fn start() -> Option<Self> {
        let engine = Engine::start().unwrap()?;
        let config = Config {
            socket: engine.socket(),
            data_dir: engine.folder().join("data"),
            image: "small".to_owned(),
            alive_max: 4,
            program: env!("CARGO_BIN_EXE_sandbox-spawner").into(),
            runtime: None,
        };
        let dock = Self { engine, config, ids: Ids::new(Clock::system()) };
        dock.import();
        Some(dock)
    }

    fn config(&self) -> &Config {
        &self.config
    }

    /// A back end, as of a server that was just started.
    fn backend(&self) -> Docker {
        Docker::new(self.config.clone())
    }

    fn on<'a>(&'a self, backend: &'a Docker) -> Subject<'a> {
        let Config { data_dir, alive_max, .. } = &self.config;
        Subject { backend, ids: &self.ids, data_dir, alive_max: *alive_max }
    }

    /// Makes the image: a shell, perl, and the programs that the tests use.
    fn import(&self) {
        let (root, archive) = (self.engine.folder().join("root"), self.engine.folder().join("root.tar"));
        let script = format!(
            "set -e; mkdir -p '{0}/tmp' '{0}/etc' '{0}/var'; chmod 1777 '{0}/tmp'; \
             for name in bash cat chmod chown cut grep head id ln ls mkdir mkfifo mv perl pwd readlink rm rmdir sed seq sleep sort stat tail touch tr true wc; do \
               program=$(type -P $name); for file in $program $(ldd $program | grep -o '/[^ :]*' | sort -u); do \
                 mkdir -p \"{0}$(dirname $file)\"; cp -L $file \"{0}$file\"; done; done; \
             mkdir -p '{0}/bin'; test -e '{0}/bin/bash' || cp -L /bin/bash '{0}/bin/bash'; \
             for folder in /usr/lib/*/perl-base; do mkdir -p \"{0}$folder\"; cp -r $folder/. \"{0}$folder\"; done; \
             echo 'root:x:0:0:root:/root:/bin/bash' > '{0}/etc/passwd'; tar -C '{0}' -cf '{1}' .",
            root.display(),
            archive.display(),
        );
        let made = Command::new("bash").args(["-c", &script]).stdout(Stdio::null()).status().unwrap();
        assert!(made.success());
        self.engine.import(&archive, "small").unwrap();
    }

    fn ask(&self, arguments: &[&str]) -> String {
        self.engine.ask(arguments)
    }

    /// The first process of a session's container.
    fn first_process(&self, spec: &Spec) -> i32 {
        let name = format!("journeyman-{}", spec.session);
        self.ask(&["inspect", "--format", "{{.State.Pid}}", &name]).parse().unwrap()
    }
}

/// What lies in a folder and below, but for folders.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// That nothing is left of containers, neither in the engine nor here.
fn assert_nothing_is_left(dock: &Dock) {
    assert_eq!(dock.ask(&["ps", "--all", "--quiet"]), "");
    assert_eq!(dock.ask(&["images", "--all", "--format", "{{.Repository}}"]), "small");
    assert_eq!(
        files_in(&dock.config().data_dir.join("docker")),
        vec![dock.config().data_dir.join("docker/hand")]
    );
}

#[tokio::test]
async fn containers_live_as_sandboxes_do() {
    let Some(dock) = Dock::start() else { return };
    let (backend, other) = (dock.backend(), dock.backend());
    let on = dock.on(&backend);
    let start = Instant::now();
    let (session, hands) = on.sandbox().await;
    assert_eq!(
        hands.bash("echo hello; id -u; cat /etc/hostname; pwd").await,
        "hello\n0\nsandbox\n/workspace"
    );
    println!("cold start with a first call: {:?}", start.elapsed());
    backend.destroy(&session, false).await.unwrap();
    same::lives(&on, &dock.on(&other)).await;
    assert_nothing_is_left(&dock);
}

#[tokio::test]
async fn containers_work_as_sandboxes_do() {
    let Some(dock) = Dock::start() else { return };
    same::work(&dock.on(&dock.backend())).await;
    assert_nothing_is_left(&dock);
}

#[tokio::test]
async fn containers_stand_on_layers_and_reach_what_they_may_as_sandboxes_do() {
    let Some(dock) = Dock::start() else { return };
    same::surroundings(&dock.on(&dock.backend())).await;
    assert_nothing_is_left(&dock);
}

/// The operator gives the image another content.
#[tokio::test]
async fn what_was_installed_over_another_image_is_not_there() {
    let Some(dock) = Dock::start() else { return };
    let backend = dock.backend();
    let on = dock.on(&backend);
    let layer = "c3".repeat(32).parse().unwrap();
    let make = async |text: &str| {
        let maker = Spec { makes_layer: true, ..on.spec() };
        on.provision(&maker).await.bash(&format!("echo {text} > /installed")).await;
        backend.destroy(&maker.session, true).await.unwrap();
        backend.commit(&maker.session, &layer).await.unwrap();
        assert_eq!(backend.layers().await.unwrap(), vec![layer.clone()]);
        let spec = Spec { root: Root { base: Base::Host, layers: vec![layer.clone()] }, ..on.spec() };
        assert_eq!(on.provision(&spec).await.bash("cat /installed").await, text);
        spec
    };
    let old = make("old").await;
    dock.import();
    assert_eq!(backend.layers().await.unwrap(), Vec::new());
    let new = make("new").await;
    // Who stands on the former one still does; when nobody does any more, it goes.
    assert_eq!(on.provision(&old).await.bash("cat /installed").await, "old");
    for spec in [old, new] {
        backend.destroy(&spec.session, false).await.unwrap();
    }
    backend.remove_layer(&layer).await.unwrap();
    assert!(!dock.ask(&["images", "--all", "--format", "{{.Repository}}"]).contains("journeyman"));
    assert_eq!(dock.ask(&["images", "--all", "--quiet", "--filter", "label=journeyman.layer"]), "");
}

#[tokio::test]
async fn what_an_engine_can_do_is_told() {
    let Some(dock) = Dock::start() else { return };
    let backend = dock.backend();
    assert_eq!(backend.status(), None);
    let status = backend.look().await;
    assert_eq!((status.mode, backend.status().as_ref()), (Some(Mode::Containers), Some(&status)));
    assert_eq!(backend.report().mode, Some(Mode::Containers));
    println!("{status}");
    let lacks = |config: Config, what: &str| {
        let report = Docker::new(config).report();
        assert_eq!(report.mode, None);
        let found = report.primitives.iter().find(|primitive| primitive.name == what).unwrap();
        assert!(!found.present, "{found:?}");
    };
    lacks(Config { image: "absent".to_owned(), ..dock.config.clone() }, "image of containers");
    lacks(Config { runtime: Some("absent".to_owned()), ..dock.config.clone() }, "runtime of containers");
    lacks(Config { socket: "/nowhere".into(), ..dock.config.clone() }, "container engine");
}

#[tokio::test]
async fn a_container_that_ends_is_lost_and_started_again() {
    let Some(dock) = Dock::start() else { return };
    let backend = dock.backend();
    let on = dock.on(&backend);
    let spec = on.spec();
    assert!(backend.adopt(&spec.session).await.unwrap().sandbox.is_none());
    let hands = on.provision(&spec).await;
    hands.bash("echo before > /workspace/file").await;
    let pid = dock.first_process(&spec);
    let call = hands.call("sleep 1000");
    let (lost, ()) = tokio::join!(hands.sandbox.execute(&call), async { kill(pid) });
    assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
    let hands = on.provision(&spec).await;
    assert_eq!(hands.bash("cat /workspace/file").await, "before");
    assert!(matches!(hands.sandbox.recall(&call.id).await.unwrap(), Recall::Unknown));
    backend.destroy(&spec.session, true).await.unwrap();
    let adopted = backend.adopt(&spec.session).await.unwrap();
    assert!(adopted.sandbox.is_none() && adopted.sole_since.is_some());
    // What cannot be done is said, and nothing is made for it.
    let layered = Spec { root: Root { base: Base::Empty, layers: Vec::new() }, ..on.spec() };
    assert!(matches!(backend.provision(&layered).await.err(), Some(Error::Unsupported { .. })));
    assert_eq!(backend.kept().await.unwrap(), vec![spec.session]);
}

#[tokio::test]
async fn a_container_reaches_what_its_session_may_and_no_more() {
    let Some(dock) = Dock::start() else { return };
    let backend = dock.backend();
    let on = dock.on(&backend);
    let address = network::server().await;
    let spec = Spec { network: Some(Arc::new(network::limited_to("one.test", address))), ..on.spec() };
    let hands = on.provision(&spec).await;
    assert!(hands.bash(&network::ask("one.test", 80)).await.ends_with("hello"));
    let said = hands.bash(&network::ask("two.test", 80)).await;
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("two.test"), "{said}");
    let capabilities = hands.bash("grep -e CapBnd -e CapEff /proc/self/status | cut -f2 | sort -u").await;
    assert_eq!(capabilities, "00000000000404fb");
    // The door is taken away, and there is another one.
    let door = || children(std::process::id().cast_signed()).into_iter().find(|pid| is_egress(*pid));
    let first = door().unwrap();
    kill(first);
    until("another one runs", || door().is_some_and(|pid| pid != first)).await;
    assert!(hands.bash(&network::ask("one.test", 80)).await.ends_with("hello"));
    // The next server lets it out as before, and then as it is told.
    drop((hands, backend));
    let backend = dock.backend();
    let adopted = backend.adopt(&spec.session).await.unwrap().sandbox.expect("it runs");
    let hands = Hands::new(adopted, &dock.ids);
    assert!(hands.bash(&network::ask("one.test", 80)).await.ends_with("hello"));
    let changed = Spec { network: Some(Arc::new(network::limited_to("two.test", address))), ..spec.clone() };
    backend.provision(&changed).await.unwrap();
    assert!(hands.bash(&network::ask("two.test", 80)).await.ends_with("hello"));
    assert!(hands.bash(&network::ask("one.test", 80)).await.starts_with("HTTP/1.1 403"));
    // And in its next life.
    backend.destroy(&spec.session, true).await.unwrap();
    let hands = dock.on(&backend).provision(&changed).await;
    assert!(hands.bash(&network::ask("two.test", 80)).await.ends_with("hello"));
}

#[tokio::test]
async fn a_container_has_walls_of_its_own_and_a_door_that_opens_to_the_hand_alone() {
    let Some(dock) = Dock::start() else { return };
    let backend = dock.backend();
    let on = dock.on(&backend);
    let spec = on.spec();
    let hands = on.provision(&spec).await;
    let status = hands
        .bash("grep -e NoNewPrivs -e Seccomp: -e CapBnd -e CapEff /proc/self/status | tr -d '\\t'")
        .await;
    assert_eq!(status, "CapEff:00000000000404fb\nCapBnd:00000000000404fb\nNoNewPrivs:1\nSeccomp:2");
    assert_eq!(hands.bash("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").await, "lo");
    let told = "cat /proc/kallsyms /proc/cmdline /proc/slabinfo /proc/vmallocinfo 2>/dev/null | wc -c; ls -A /sys/kernel | wc -w";
    assert_eq!(
        hands.bash(told).await.split_whitespace().collect::<Vec<_>>(),
        ["0", "0"],
        "nothing of the host"
    );
    for command in [
        "touch /dev/journeyman-door/planted",
        "rmdir /dev/journeyman-door",
        "mv /dev/journeyman-door /dev/elsewhere",
        "mv /dev/journeyman-hand /dev/elsewhere",
        "chmod 700 /dev/journeyman-hand",
        "touch /mnt/session/uploads/planted",
        "cat /proc/1/mem",
        "readlink /proc/1/fd/0",
        "kill -KILL 1 && sleep 0.05 && test ! -e /proc/1",
        "perl -e 'syscall(165, \"none\", \"/mnt\", \"tmpfs\", 0, 0) == 0 or exit 1'",
        "perl -e 'syscall(272, 0x10000000) == 0 or exit 1'",
        "perl -e 'syscall(425, 1, 0) == 0 or exit 1'",
    ] {
        let said =
            hands.bash(&format!("( {command} ) >/dev/null 2>&1 && echo it works || echo refused")).await;
        assert_eq!(said, "refused", "{command}");
    }
    uploads_come_and_go(&backend, &spec, &hands).await;
    // Nobody waits at the door, so nothing is there.
    assert_eq!(hands.bash("ls /dev/journeyman-door | wc -l").await, "0");
    intrude(&dock, &on, &spec).await;
    come_back(&on, &spec).await;
}

/// Files are shown while the container runs; folders of their own are refused.
async fn uploads_come_and_go(backend: &Docker, spec: &Spec, hands: &Hands) {
    mounts::put(backend, spec, &Folder::Uploads, "a/file", b"given\n").await.unwrap();
    assert_eq!(
        hands.bash("cd /mnt/session/uploads; cat a/file; stat -c '%u %a' a/file").await,
        "given\n0 644"
    );
    let path = "a/file".parse().unwrap();
    backend.remove_file(&spec.session, &Folder::Uploads, &path).await.unwrap();
    assert_eq!(hands.bash("ls -A /mnt/session/uploads | wc -l").await, "0");
    let mount = mounts::read_only("/mnt/shown");
    let refused = backend.mount(&spec.session, &mount).await.unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
    let with_mount = Spec { mounts: vec![mount], ..spec.clone() };
    let refused = backend.provision(&with_mount).await.err().unwrap();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
}

/// A process inside comes to every socket that appears, before and beside the hand.
async fn intrude(dock: &Dock, on: &Subject<'_>, spec: &Spec) {
    let hands = on.provision(spec).await;
    let script = r#"
use strict; use Socket; use IO::Handle;
print "ready\n"; STDOUT->flush;
my ($met, $heard) = (0, 0);
for (my $turns = 0; $turns < 3_000_000 && !-e '/workspace/stop'; $turns++) {
    for my $path (glob '/dev/journeyman-door/*.sock') {
        socket(my $caller, AF_UNIX, SOCK_STREAM, 0);
        connect($caller, sockaddr_un($path)) or next;
        $met = 1;
        syswrite $caller, pack('V', 26) . '{"serving":{"protocol":3}}';
        $heard++ if sysread $caller, my $word, 1;
    }
}
open my $file, '>', '/workspace/said'; print $file "met:$met heard:$heard\n"; close $file;
"#;
    let write =
        hands.tool("write", &serde_json::json!({ "file_path": "/workspace/intruder", "content": script }));
    assert!(!hands.sandbox.execute(&write).await.unwrap().is_error);
    hands.bash("perl /workspace/intruder > /workspace/started 2>&1 &").await;
    hands.bash("until grep -q ready /workspace/started; do sleep 0.02; done").await;
    for _ in 0..5 {
        let next = dock.backend();
        let adopted = next.adopt(&spec.session).await.unwrap().sandbox.expect("it runs");
        assert_eq!(Hands::new(adopted, on.ids).bash("echo served").await, "served");
    }
    let wait =
        "touch /workspace/stop; until test -s /workspace/said; do sleep 0.02; done; cat /workspace/said";
    let said = hands.bash(wait).await;
    println!("the intruder: {said}");
    assert!(said.ends_with("heard:0"), "{said}");
}

/// A session leaves its container with every place that is mounted on replaced.
async fn come_back(on: &Subject<'_>, spec: &Spec) {
    let hands = on.provision(spec).await;
    hands.bash("rm -r /workspace /root; ln -s /nowhere /workspace; touch /root; rm -rf /run /tmp; ln -s ../../.. /run; ln -s /nowhere /tmp").await;
    hands.bash("umount /etc/hosts 2>/dev/null; ln -sfn /nowhere /etc/resolv.conf; cd /; true").await;
    on.backend.destroy(&spec.session, true).await.unwrap();
    let hands = on.provision(spec).await;
    assert_eq!(hands.bash("echo served; readlink /workspace").await, "served\n/nowhere");
}
