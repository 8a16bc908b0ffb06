//! Folders and files that a session is given, before its sandbox runs and while it does, in every mode that can be had here.

mod hostile;

use sandbox::Access;
use sandbox::Backend;
use sandbox::Embedded;
use sandbox::Error;
use sandbox::FilePlace;
use sandbox::Folder;
use sandbox::Mode;
use sandbox::Mount;
use sandbox::Spec;

use crate::ground::Ground;
use crate::ground::chain;
use crate::ground::exists;
use crate::ground::kill;
use crate::ground::until;

pub(crate) fn read_only(target: &str) -> Mount {
    Mount { target: target.parse().unwrap(), access: Access::ReadOnly }
}

pub(crate) fn read_write(target: &str) -> Mount {
    Mount { target: target.parse().unwrap(), access: Access::ReadWrite }
}

pub(crate) fn in_mount(mount: &Mount) -> Folder {
    Folder::Mount(mount.target.clone())
}

/// Puts a whole file.
pub(crate) async fn put(
    backend: &dyn Backend,
    spec: &Spec,
    folder: &Folder,
    path: &str,
    content: &[u8],
) -> Result<(), Error> {
    let (session, folder, path) = (spec.session.clone(), folder.clone(), path.parse().unwrap());
    let mut writer = backend.put_file(&FilePlace { session, folder, path, mode: 0o644 }).await?;
    for chunk in content.chunks(10_000) {
        writer.write(chunk).await?;
    }
    writer.finish().await
}

/// Asserts that this ground is of the mode that it is called by.
async fn assert_mode(name: &str, ground: &Ground) {
    let status = ground.backend.spawner().await.unwrap_or_else(|error| panic!("{}", chain(&error))).status;
    let expected = match name {
        "root" => Mode::Root,
        "single id" => Mode::SingleId,
        _ => Mode::SubordinateIds,
    };
    assert_eq!(status.mode, Some(expected));
}

#[tokio::test]
async fn folders_come_and_go_while_a_sandbox_runs() {
    for (name, ground) in Ground::of_every_mode() {
        assert_mode(name, &ground).await;
        let spec = ground.spec();
        let hands = ground.provision(&spec).await;
        let notes = read_write("/mnt/memory/notes");
        // The shell stands in the parent from here on.
        assert_eq!(hands.bash("mkdir -p /mnt/memory && cd /mnt/memory && ls | wc -l").await, "0");
        ground
            .backend
            .mount(&spec.session, &notes)
            .await
            .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        put(&ground.backend, &spec, &in_mount(&notes), "deep/er/one", b"given\n").await.unwrap();
        assert_eq!(
            hands.bash("cat notes/deep/er/one && stat -c '%U %a' notes notes/deep/er/one").await,
            "given\nroot 755\nroot 644"
        );
        assert_eq!(
            hands.bash("echo mine > notes/two && cat notes/two && rm notes/deep/er/one").await,
            "mine"
        );
        // Mounting again is fine; nothing is stacked.
        ground.backend.mount(&spec.session, &notes).await.unwrap();
        assert_eq!(hands.bash("grep -c ' /mnt/memory/notes ' /proc/self/mountinfo").await, "1");
        // Somebody who stands in it does not hold it.
        hands.bash("cd notes && (sleep 1000 > /dev/null 2>&1 & ) && cd ..").await;
        ground.backend.unmount(&spec.session, &notes.target).await.unwrap();
        assert_eq!(
            hands.bash("ls -A notes; grep -c /mnt/memory/notes /proc/self/mountinfo; true").await,
            "0"
        );
        assert_eq!(hands.bash("pgrep -c sleep").await, "1", "{name}");
        ground.backend.mount(&spec.session, &notes).await.unwrap();
        assert_eq!(hands.bash("ls -A notes | wc -l").await, "0", "{name}");
        ground.backend.destroy(&spec.session, false).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_read_only_stays_so_for_root_inside() {
    for (name, ground) in Ground::of_every_mode() {
        let mut spec = ground.spec();
        let (parent, store, fixed) =
            (read_only("/mnt/memory"), read_write("/mnt/memory/store"), read_only("/mnt/memory/fixed"));
        spec.mounts = vec![fixed.clone(), store.clone(), parent.clone()];
        let hands = ground.provision(&spec).await;
        put(&ground.backend, &spec, &in_mount(&fixed), "file", b"fixed\n").await.unwrap();
        let live = read_only("/mnt/memory/later");
        ground
            .backend
            .mount(&spec.session, &live)
            .await
            .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        assert_eq!(
            hands.bash("ls /mnt/memory; cat /mnt/memory/fixed/file").await,
            "fixed\nlater\nstore\nfixed"
        );
        assert_eq!(
            hands.bash("echo fine > /mnt/memory/store/file && cat /mnt/memory/store/file").await,
            "fine"
        );
        for command in [
            "touch /mnt/memory/planted",
            "mkdir /mnt/memory/planted",
            "rmdir /mnt/memory/later",
            "mv /mnt/memory/fixed /mnt/memory/other",
            "mv /mnt/memory /mnt/other",
            "echo x > /mnt/memory/fixed/file",
            "echo x >> /mnt/memory/fixed/file",
            "rm /mnt/memory/fixed/file",
            "chmod 777 /mnt/memory/fixed/file",
            "chown 1:1 /mnt/memory/fixed",
            "touch /mnt/memory/later/planted",
            "ln /mnt/memory/fixed/file /mnt/memory/store/link",
            "mount -o remount,rw /mnt/memory/fixed",
            "mount -o remount,bind,rw /mnt/memory",
            "mount --bind /tmp /mnt/memory/fixed",
            "mount -t tmpfs none /mnt/memory/later",
            "umount /mnt/memory/fixed",
            "umount -l /mnt/memory",
            "python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).syscall(442, -100, b\"/mnt/memory/fixed\", 0, (ctypes.c_uint64*4)(0, 1, 0, 0), 32) != 0)'",
        ] {
            let said =
                hands.bash(&format!("( {command} ) >/dev/null 2>&1 && echo it works || echo refused")).await;
            assert_eq!(said, "refused", "{name}: {command}");
        }
        assert_eq!(
            hands.bash("cat /mnt/memory/fixed/file; ls /mnt/memory").await,
            "fixed\nfixed\nlater\nstore"
        );
        let flags = hands.bash("grep ' /mnt/memory' /proc/self/mountinfo | cut -d' ' -f5,6 | sort").await;
        for line in flags.lines() {
            let (place, options) = line.split_once(' ').unwrap();
            let mut options = options.split(',');
            let access = if place.ends_with("store") { "rw" } else { "ro" };
            assert_eq!(options.next(), Some(access), "{name}: {line}");
            assert!(["nosuid", "nodev"].iter().all(|word| line.contains(word)), "{name}: {line}");
        }
        assert_eq!(flags.lines().count(), 4, "{flags}");
    }
}

#[tokio::test]
async fn a_mount_that_would_hide_others_or_change_its_access_is_refused() {
    let ground = Ground::new();
    let spec = ground.spec();
    ground.provision(&spec).await;
    let inner = read_only("/mnt/shown/inner");
    ground.backend.mount(&spec.session, &inner).await.unwrap();
    let refused = |done: Result<(), Error>, why: &str| {
        let error = done.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(ground.backend.mount(&spec.session, &read_only("/mnt/shown")).await, "another mount lies below");
    refused(ground.backend.mount(&spec.session, &read_write("/mnt/shown/inner")).await, "another access");
    let absent = in_mount(&read_only("/mnt/absent"));
    refused(put(&ground.backend, &spec, &absent, "file", b"").await, "no such mount");
    ground.backend.unmount(&spec.session, &inner.target).await.unwrap();
    ground.backend.unmount(&spec.session, &inner.target).await.unwrap();
    let outer = read_only("/mnt/shown");
    ground.backend.mount(&spec.session, &outer).await.unwrap();
    ground.backend.mount(&spec.session, &inner).await.unwrap();
    refused(ground.backend.unmount(&spec.session, &outer.target).await, "another mount lies below");
    let mut twice = ground.spec();
    twice.mounts = vec![inner.clone(), read_write("/mnt/shown/inner")];
    let error = ground.backend.provision(&twice).await.err().unwrap();
    assert!(matches!(error, Error::SetUp { .. }), "{error}");
    // It has left nothing that runs.
    assert_eq!(ground.backend.list().await.unwrap(), [spec.session]);
}

#[tokio::test]
async fn root_that_may_not_reach_namespaces_makes_sandboxes_as_others_do() {
    let ground = Ground::of_root_without("sys_ptrace");
    let mut spec = ground.spec();
    spec.mounts = vec![read_only("/mnt/shown")];
    let hands = ground.provision(&spec).await;
    assert_mode("single id", &ground).await;
    put(&ground.backend, &spec, &in_mount(&spec.mounts[0]), "file", b"fine").await.unwrap();
    let look = "cat /mnt/shown/file; touch /mnt/shown/x 2>/dev/null || echo refused";
    assert_eq!(hands.bash(look).await, "finerefused");
}

#[test]
fn places_and_paths_are_plain() {
    let is_target = |text: &str| text.parse::<sandbox::MountTarget>().is_ok();
    for text in [
        "/mnt/a",
        "/mnt/memory/my-store",
        "/mnt/session/outputs",
        "/mnt/session/uploadsx",
        "/mnt/...",
        "/mnt/A_b.c",
    ] {
        assert!(is_target(text), "{text}");
    }
    for text in [
        "",
        "/",
        "/mnt",
        "/mnt/",
        "mnt/a",
        "/mnt/a/",
        "/mnt//a",
        "/mnt/./a",
        "/mnt/../a",
        "/mnt/a b",
        "/mnt/a+b",
        "/mnt/ü",
        "/mnt/session",
        "/mnt/session/uploads",
        "/mnt/session/uploads/a",
        "/etc/a",
    ] {
        assert!(!is_target(text), "{text}");
    }
    assert!(!is_target(&format!("/mnt/{}", "a".repeat(200))));
    let is_path = |text: &str| text.parse::<sandbox::FilePath>().is_ok();
    for text in ["a", "a/b c/ü.csv", ".hidden", "a/...", &"a/".repeat(31).add_end()] {
        assert!(is_path(text), "{text}");
    }
    for text in
        ["", "/a", "a/", "a//b", "./a", "a/../b", "..", "a\0b", &"a/".repeat(32).add_end(), &"a".repeat(256)]
    {
        assert!(!is_path(text), "{text}");
    }
}

trait AddEnd {
    fn add_end(self) -> String;
}

impl AddEnd for String {
    fn add_end(self) -> String {
        self + "a"
    }
}

#[tokio::test]
async fn uploads_come_and_go_and_are_never_seen_in_part() {
    const BYTES: usize = 200_000;
    for (name, ground) in Ground::of_every_mode() {
        let spec = ground.spec();
        let on = &ground.backend;
        put(on, &spec, &Folder::Uploads, "early/file.txt", b"before it runs\n").await.unwrap();
        let hands = ground.provision(&spec).await;
        let look =
            "cat /mnt/session/uploads/early/file.txt; stat -c '%U %a' /mnt/session/uploads/early/file.txt";
        assert_eq!(hands.bash(look).await, "before it runs\nroot 644", "{name}");
        put(on, &spec, &Folder::Uploads, "data.csv", &vec![b'a'; BYTES]).await.unwrap();
        let watch = format!(
            "cat > /tmp/watch.py <<'WATCH'\nimport os\nseen = set()\nwhile not os.path.exists('/tmp/stop'):\n    data = open('/mnt/session/uploads/data.csv', 'rb').read()\n    seen.add((len(data), len(set(data))))\n    open('/tmp/begun', 'w')\nprint(sorted(seen))\nWATCH\npython3 /tmp/watch.py > /tmp/seen 2>&1 & echo $! > /tmp/watcher; until test -e /tmp/begun; do sleep 0.01; done"
        );
        // Where writing costs nothing, every round would be over before the first look.
        hands.bash(&watch).await;
        for round in 0..40_u8 {
            put(on, &spec, &Folder::Uploads, "data.csv", &vec![b'a' + round % 20; BYTES]).await.unwrap();
        }
        let seen = hands.bash("touch /tmp/stop; wait $(cat /tmp/watcher); cat /tmp/seen").await;
        assert_eq!(seen, format!("[({BYTES}, 1)]"), "{name}");
        // One that is not finished leaves nothing.
        let (session, folder, path) = (spec.session.clone(), Folder::Uploads, "half".parse().unwrap());
        let mut writer = on.put_file(&FilePlace { session, folder, path, mode: 0o644 }).await.unwrap();
        writer.write(b"half").await.unwrap();
        drop(writer);
        let removed = "early/file.txt".parse().unwrap();
        on.remove_file(&spec.session, &Folder::Uploads, &removed).await.unwrap();
        on.remove_file(&spec.session, &Folder::Uploads, &removed).await.unwrap();
        assert_eq!(hands.bash("ls -A /mnt/session/uploads").await, "data.csv", "{name}");
        on.destroy(&spec.session, true).await.unwrap();
        put(on, &spec, &Folder::Uploads, "late", b"while it rests\n").await.unwrap();
        let hands = ground.provision(&spec).await;
        assert_eq!(
            hands.bash("ls -A /mnt/session/uploads && cat /mnt/session/uploads/late").await,
            "data.csv\nlate\nwhile it rests"
        );
        let beside =
            std::fs::read_dir(ground.data_dir().join("sandboxes").join(spec.session.as_str())).unwrap();
        assert!(beside.flatten().all(|entry| entry.file_name() != "new"));
    }
}

#[tokio::test]
async fn what_a_session_is_given_outlives_its_sandbox_and_its_server_but_is_in_no_checkpoint() {
    let mut ground = Ground::new();
    let mut spec = ground.spec();
    let (fixed, store) = (read_only("/mnt/fixed"), read_write("/mnt/memory/store"));
    spec.mounts = vec![fixed.clone(), store.clone()];
    let hands = ground.provision(&spec).await;
    put(&ground.backend, &spec, &in_mount(&fixed), "file", b"fixed\n").await.unwrap();
    put(&ground.backend, &spec, &Folder::Uploads, "file", b"uploaded\n").await.unwrap();
    hands.bash("echo mine > /mnt/memory/store/file; echo root > /workspace/file").await;
    let look = "cat /mnt/fixed/file /mnt/memory/store/file /mnt/session/uploads/file /workspace/file 2>/dev/null; true";
    let all = "fixed\nmine\nuploaded\nroot";
    assert_eq!(hands.bash(look).await, all);
    drop(hands);
    // Another server takes over, and takes away what the first one has mounted.
    ground.restarted(|_| {});
    let can_freeze = ground.backend.freeze(&spec.session).await.unwrap();
    let later = read_only("/mnt/later");
    ground.backend.mount(&spec.session, &later).await.unwrap();
    let adopted = ground.backend.adopt(&spec.session).await.unwrap().sandbox.expect("it runs");
    let hands = ground.hands(adopted);
    println!("frozen meanwhile: {can_freeze}");
    assert_eq!(
        hands.bash("ls -d /mnt/later && grep -c /mnt/later /proc/self/mountinfo").await,
        "/mnt/later\n1"
    );
    ground.backend.unmount(&spec.session, &later.target).await.unwrap();
    assert_eq!(hands.bash(look).await, all);
    ground.backend.destroy(&spec.session, true).await.unwrap();
    let packed = crate::checkpoint::pack(&ground, &spec).await;
    let hands = loop {
        match ground.backend.provision(&spec).await {
            Ok(sandbox) => break ground.hands(sandbox),
            // The worker that packed is gone a moment after its last word.
            Err(error) => assert!(error.to_string().contains("being packed"), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(hands.bash(look).await, all);
    ground.backend.destroy(&spec.session, true).await.unwrap();
    // Where it comes back to life somewhere else, it has what it wrote to its root.
    let elsewhere = Spec { mounts: spec.mounts.clone(), ..ground.spec() };
    crate::checkpoint::unpack(&ground, &elsewhere, &packed).await;
    assert_eq!(ground.provision(&elsewhere).await.bash(look).await, "root");
    // Here, what it was given stays, and what it could write goes.
    crate::checkpoint::unpack(&ground, &spec, &packed).await;
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash(look).await, "fixed\nuploaded\nroot");
    ground.backend.destroy(&spec.session, false).await.unwrap();
    ground.backend.destroy(&elsewhere.session, false).await.unwrap();
    assert_eq!(ground.backend.kept().await.unwrap(), []);
    let trash = ground.data_dir().join("trash");
    until("the trash is empty", || std::fs::read_dir(&trash).unwrap().next().is_none()).await;
}

#[tokio::test]
async fn what_is_written_to_a_mount_counts() {
    let mut ground = Ground::new();
    ground.restarted(|config| config.arguments.push("watched".into()));
    let mut spec = ground.spec();
    spec.limits.disk_bytes_max = 48 << 20;
    spec.mounts = vec![read_write("/mnt/store")];
    let hands = ground.provision(&spec).await;
    let fill = "for n in 1 2 3 4; do head -c 20M /dev/zero > /mnt/store/$n; done; sleep 60";
    let outcome = hands.try_bash(fill).await.unwrap();
    assert!(outcome.is_error, "{}", crate::ground::text(&outcome));
    assert_eq!(hands.bash("rm /mnt/store/[1-4]; echo fine").await, "fine");
    // With a file system of its own, a session writes to its mounts there.
    let mut ground = Ground::new();
    ground.restarted(|config| config.arguments.push("memory".into()));
    let mut spec = ground.spec();
    spec.limits.disk_bytes_max = 16 << 20;
    spec.mounts = vec![read_write("/mnt/store")];
    let hands = ground.provision(&spec).await;
    let fill = "head -c 100M /dev/zero > /mnt/store/full 2>/dev/null; stat -c %s /mnt/store/full";
    let size: u64 = hands.bash(fill).await.parse().unwrap();
    assert!(size > 15 << 20 && size <= 16 << 20, "{size}");
}

#[tokio::test]
async fn a_server_that_comes_later_finds_no_mounts_of_a_dead_spawner() {
    let ground = Ground::new();
    let spec = ground.spec();
    ground.provision(&spec).await;
    let mount = read_only("/mnt/shown");
    let other = Embedded::new(ground.config.clone());
    let (one, two) =
        tokio::join!(ground.backend.mount(&spec.session, &mount), other.mount(&spec.session, &mount));
    one.unwrap();
    two.unwrap();
    let spawner = ground.backend.spawner().await.unwrap().pid;
    let hands = ground.hand_pids().await;
    kill(spawner);
    until("the hands are gone", || hands.iter().all(|pid| !exists(*pid))).await;
    let begin = ground.provision(&spec).await.try_bash("true").await;
    assert!(matches!(begin, Ok(_) | Err(Error::Lost { .. })), "{begin:?}");
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("grep -c /mnt/shown /proc/self/mountinfo; true").await, "0");
    // Its folder has stayed, and is shown again when that is wanted.
    put(&ground.backend, &spec, &in_mount(&mount), "file", b"still here").await.unwrap();
    ground.backend.mount(&spec.session, &mount).await.unwrap();
    assert_eq!(hands.bash("cat /mnt/shown/file").await, "still here");
}
