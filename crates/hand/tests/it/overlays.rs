//! Layers under a root, and folders of the host that can be written to inside.

use std::fs;
use std::path::Path;
use std::process::Command;

use hand::confine::Overlay;

use crate::walled::Ground;
use crate::walled::Maker;

/// What a whiteout or an opaque folder of one sandbox means to the next one whose layer it is.
fn layers_stack(maker: Maker) {
    let ground = Ground::new(maker);
    for layer in 0..63 {
        let folder = ground.path(&format!("layer {layer}, a:b/etc"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("top"), layer.to_string()).unwrap();
        fs::write(folder.join(format!("only-{layer}")), "").unwrap();
    }
    fs::create_dir_all(ground.path("base/srv/old")).unwrap();
    fs::write(ground.path("base/srv/old/file"), "").unwrap();
    fs::write(ground.path("base/srv/gone"), "").unwrap();
    let layers = |ground: &Ground| {
        let layers = (0..63).map(|layer| ground.path(&format!("layer {layer}, a:b")));
        layers.chain([ground.path("base")]).collect::<Vec<_>>()
    };
    let walled = ground.start(|spec| spec.lowers = layers(&ground));
    let mut client = walled.hand.connect();
    assert_eq!(client.bash("cat /etc/top; ls /etc | grep -c only"), "063");
    client.bash("rm -r /srv/old /srv/gone; mkdir /srv/old; echo new > /srv/old/new; echo mine > /etc/top");
    drop(client);
    drop(walled);
    // What was written becomes a layer of another sandbox.
    let written = ground.path("own/upper");
    fs::rename(&written, ground.path("written")).unwrap();
    fs::create_dir(&written).unwrap();
    let walled = ground.start(|spec| {
        spec.lowers = layers(&ground);
        spec.lowers.pop();
        spec.lowers.truncate(10);
        spec.lowers.insert(0, ground.path("written"));
        spec.lowers.push(ground.path("base"));
    });
    let mut client = walled.hand.connect();
    assert_eq!(client.bash("cat /etc/top; ls /srv /srv/old"), "mine\n/srv:\nold\n\n/srv/old:\nnew");
}

#[test]
fn layers_stack_for_root() {
    layers_stack(Maker::Root);
}

#[test]
fn layers_stack_for_a_user() {
    layers_stack(Maker::Nobody);
}

/// A folder as the host's `/usr/local`, with a layer that has something there too and one that lies about it.
fn host_folders_can_be_written_to(maker: Maker) {
    let ground = Ground::new(maker);
    let host = tempfile::TempDir::new().unwrap();
    fs::create_dir_all(host.path().join("lib/deep")).unwrap();
    fs::create_dir(host.path().join("bin")).unwrap();
    fs::write(host.path().join("bin/tool"), "the host's").unwrap();
    let open = Command::new("/usr/bin/chmod").args(["-R", "a+rX,go-w"]).arg(host.path()).status();
    assert!(open.unwrap().success());
    fs::create_dir_all(ground.path("layer/usr/local/share")).unwrap();
    fs::write(ground.path("layer/usr/local/share/packaged"), "packaged").unwrap();
    fs::create_dir_all(ground.path("liar/usr")).unwrap();
    std::os::unix::fs::symlink("/etc", ground.path("liar/usr/local")).unwrap();
    // A former life left something else than a folder in the way.
    fs::create_dir_all(ground.path("own/upper/usr")).unwrap();
    std::os::unix::fs::symlink("/etc", ground.path("own/upper/usr/local")).unwrap();
    let start = || {
        ground.start(|spec| {
            spec.lowers.insert(0, ground.path("layer"));
            spec.lowers.insert(0, ground.path("liar"));
            spec.overlays = vec![Overlay { source: host.path().into(), target: "/usr/local".into() }];
        })
    };
    let walled = start();
    let mut client = walled.hand.connect();
    assert_eq!(client.bash("cat /usr/local/bin/tool /usr/local/share/packaged"), "the host'spackaged");
    assert_eq!(client.bash("stat -c %U /usr/local /usr/local/bin /usr/local/lib/deep"), "root\nroot\nroot");
    client.bash(
        "set -e; cd /usr/local; echo built > bin/built; mkdir -p lib/deep/package; echo p > lib/deep/package/file
         rm bin/tool; mv share/packaged bin/moved; ! touch /usr/bin/planted",
    );
    assert_eq!(client.bash("ls /usr/local/bin"), "built\nmoved");
    drop(client);
    drop(walled);
    assert_eq!(fs::read(host.path().join("bin/tool")).unwrap(), b"the host's");
    assert!(!host.path().join("bin/built").exists() && !host.path().join("lib/deep/package").exists());
    assert!(!Path::new("/etc/bin").exists());
    assert_eq!(fs::read(ground.path("own/upper/usr/local/bin/built")).unwrap(), b"built\n");
    let walled = start();
    let mut client = walled.hand.connect();
    assert_eq!(client.bash("ls /usr/local/bin; cat /usr/local/lib/deep/package/file"), "built\nmoved\np");
}

#[test]
fn host_folders_can_be_written_to_for_root() {
    host_folders_can_be_written_to(Maker::Root);
}

#[test]
fn host_folders_can_be_written_to_for_a_user() {
    host_folders_can_be_written_to(Maker::Nobody);
}

#[test]
fn a_file_can_only_become_so_large() {
    let ground = Ground::new(Maker::Root);
    let walled = ground.start(|spec| spec.file_bytes_max = Some(1 << 20));
    let mut client = walled.hand.connect();
    client.bash("(head -c 3M /dev/zero > /root/large) 2>/dev/null || true");
    assert_eq!(client.bash("stat -c %s /root/large"), "1048576");
}
