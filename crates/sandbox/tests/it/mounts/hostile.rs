//! Somebody inside works against whatever is shown or put.

use std::path::Path;

use sandbox::Backend;
use sandbox::FilePath;
use sandbox::Folder;

use super::in_mount;
use super::put;
use super::read_only;
use super::read_write;
use crate::ground::Ground;

/// Something of the host that nobody may change.
struct Canary {
    folder: tempfile::TempDir,
}

impl Canary {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(folder.path().join("canary"), "untouched").unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn assert_untouched(&self) {
        let names: Vec<_> =
            std::fs::read_dir(self.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["canary"]);
        assert_eq!(std::fs::read_to_string(self.path().join("canary")).unwrap(), "untouched");
    }
}

fn mounted_on_the_host(ground: &Ground, spawner: i32) -> (Vec<String>, Vec<String>) {
    let read = |file: String| -> Vec<String> {
        let all = std::fs::read_to_string(file).unwrap();
        all.lines()
            .filter(|line| line.contains("/mnt") || line.contains(ground.data_dir().to_str().unwrap()))
            .map(str::to_owned)
            .collect()
    };
    (read("/proc/self/mountinfo".to_owned()), read(format!("/proc/{spawner}/mountinfo")))
}

#[tokio::test]
async fn what_stands_in_the_place_of_a_mount_goes() {
    for (name, ground) in Ground::of_every_mode() {
        let canary = Canary::new();
        let mut spec = ground.spec();
        let hands = ground.provision(&spec).await;
        let plant = format!(
            "mkdir /mnt/d && ln -s {0} /mnt/a && ln -s / /mnt/d/b && echo file > /mnt/c && mkfifo /mnt/e && ln -s /proc/self/root{0} /mnt/f",
            canary.path().display()
        );
        hands.bash(&plant).await;
        for target in ["/mnt/a", "/mnt/d/b/in", "/mnt/c/deep/er", "/mnt/e"] {
            let mount = read_write(target);
            ground.backend.mount(&spec.session, &mount).await.unwrap();
            put(&ground.backend, &spec, &in_mount(&mount), "file", b"here").await.unwrap();
            assert_eq!(hands.bash(&format!("cat {target}/file")).await, "here", "{name}: {target}");
        }
        // The same for what a former life has left.
        spec.mounts = vec![read_only("/mnt/f")];
        ground.backend.destroy(&spec.session, true).await.unwrap();
        let hands = ground.provision(&spec).await;
        assert_eq!(
            hands.bash("stat -c %F /mnt/f; touch /mnt/f/x 2>/dev/null || echo refused").await,
            "directory\nrefused"
        );
        canary.assert_untouched();
    }
}

#[tokio::test]
async fn a_place_that_changes_all_the_time_leads_nowhere_else() {
    let swap = r"
import os, sys
outside = sys.argv[1]
def quiet(f, *a):
    try: f(*a)
    except OSError: pass
n = 0
os.makedirs('/mnt/spare', exist_ok=True)
while not os.path.exists('/tmp/stop'):
    n += 1
    quiet(os.rename, '/mnt/place/in', f'/mnt/spare/{n}')
    quiet(os.symlink, outside, '/mnt/place/in')
    quiet(os.unlink, '/mnt/place/in')
    quiet(os.rename, '/mnt/place', f'/mnt/spare/p{n}')
    quiet(os.symlink, '/proc/self/root', '/mnt/place')
    quiet(os.unlink, '/mnt/place')
    quiet(lambda: open('/mnt/place', 'w').close())
    quiet(os.unlink, '/mnt/place')
    quiet(os.mkdir, '/mnt/place')
    quiet(os.mkdir, '/mnt/place/in')
";
    for (name, ground) in Ground::of_every_mode() {
        let canary = Canary::new();
        let spec = ground.spec();
        let hands = ground.provision(&spec).await;
        let spawner = ground.backend.spawner().await.unwrap().pid;
        let before = mounted_on_the_host(&ground, spawner);
        let script = format!(
            "cat > /tmp/swap.py <<'SWAP'{swap}SWAP\n(python3 /tmp/swap.py {} > /tmp/swapped 2>&1 &)",
            canary.path().display()
        );
        hands.bash(&script).await;
        let mount = read_write("/mnt/place/in");
        let (mut made, mut refused) = (0, 0);
        for _ in 0..100 {
            match ground.backend.mount(&spec.session, &mount).await {
                Ok(()) => made += 1,
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error, sandbox::Error::Layer { .. }), "{name}: {error}");
                }
            }
            ground.backend.unmount(&spec.session, &mount.target).await.unwrap();
        }
        println!("{name}: {made} made, {refused} refused");
        hands
            .bash(
                "touch /tmp/stop; while pgrep -f swap.py > /dev/null; do sleep 0.01; done; cat /tmp/swapped",
            )
            .await;
        // Nothing is left, wherever it was moved.
        assert_eq!(
            hands.bash("grep -c -e /mnt/place -e /mnt/spare /proc/self/mountinfo; true").await,
            "0",
            "{name}"
        );
        ground.backend.mount(&spec.session, &mount).await.unwrap();
        assert_eq!(
            hands.bash("touch /mnt/place/in/file && grep -c ' /mnt/place/in ' /proc/self/mountinfo").await,
            "1"
        );
        assert_eq!(mounted_on_the_host(&ground, spawner), before, "{name}");
        canary.assert_untouched();
    }
}

#[tokio::test]
async fn links_in_a_folder_lead_no_file_out_of_it() {
    let swap = r"
import os, sys
outside = sys.argv[1]
def quiet(f, *a):
    try: f(*a)
    except OSError: pass
os.chdir('/mnt/store')
os.makedirs('real', exist_ok=True)
while not os.path.exists('/tmp/stop'):
    quiet(os.rename, 'real', 'way')
    quiet(os.rename, 'way', 'real')
    quiet(os.symlink, outside, 'way')
    quiet(os.unlink, 'way')
";
    for (name, ground) in Ground::of_every_mode() {
        let canary = Canary::new();
        let mut spec = ground.spec();
        let store = read_write("/mnt/store");
        spec.mounts = vec![store.clone()];
        let hands = ground.provision(&spec).await;
        let folder = in_mount(&store);
        let outside = canary.path().display();
        let plant = format!(
            "cd /mnt/store && ln -s {outside} out && ln -s {outside}/canary canary && ln -s /etc/passwd passwd && mkfifo pipe && mkdir folder"
        );
        hands.bash(&plant).await;
        let path = |text: &str| -> FilePath { text.parse().unwrap() };
        put(&ground.backend, &spec, &folder, "out/canary", b"reached").await.unwrap_err();
        put(&ground.backend, &spec, &folder, "folder", b"over a folder").await.unwrap_err();
        put(&ground.backend, &spec, &folder, "pipe/file", b"through a pipe").await.unwrap_err();
        put(&ground.backend, &spec, &folder, "canary", b"in its place").await.unwrap();
        put(&ground.backend, &spec, &folder, "pipe", b"in its place").await.unwrap();
        ground.backend.remove_file(&spec.session, &folder, &path("out/canary")).await.unwrap_err();
        ground.backend.remove_file(&spec.session, &folder, &path("passwd")).await.unwrap();
        assert_eq!(
            hands.bash("cat canary pipe; test -e /etc/passwd -a ! -e passwd && echo apart").await,
            "in its placein its placeapart",
            "{name}"
        );
        let script = format!(
            "cat > /tmp/swap.py <<'SWAP'{swap}SWAP\n(python3 /tmp/swap.py {outside} > /tmp/swapped 2>&1 &)"
        );
        hands.bash(&script).await;
        let mut put_there = 0;
        for _ in 0..100 {
            put_there +=
                usize::from(put(&ground.backend, &spec, &folder, "way/canary", b"reached").await.is_ok());
            drop(ground.backend.remove_file(&spec.session, &folder, &path("way/canary")).await);
        }
        println!("{name}: {put_there} files put");
        hands
            .bash(
                "touch /tmp/stop; while pgrep -f swap.py > /dev/null; do sleep 0.01; done; cat /tmp/swapped",
            )
            .await;
        canary.assert_untouched();
        let uploads = put(&ground.backend, &spec, &Folder::Uploads, "fine", b"fine").await;
        uploads.unwrap();
    }
}
