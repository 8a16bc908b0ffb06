//! What the files of a sandbox may take, by each kind of bound that can be had here.

use std::path::Path;

use sandbox::Backend;

use crate::ground::Ground;
use crate::ground::until;

/// A ground whose spawner bounds files by this choice. Its last argument is the choice.
fn ground(choice: &str) -> Ground {
    let mut ground = Ground::new();
    ground.restarted(|config| config.arguments.push(choice.into()));
    ground
}

/// Loop devices that show an image below a folder.
fn devices_of(folder: &Path) -> usize {
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
    let backing =
        devices.filter_map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")).ok());
    backing.filter(|file| Path::new(file.trim()).starts_with(folder)).count()
}

#[tokio::test]
async fn a_sandbox_in_an_image_is_full_at_its_bound_and_leaves_no_device() {
    let ground = ground("loop");
    let mut spec = ground.spec();
    spec.limits.disk_bytes_max = 64 << 20;
    let hands = ground.provision(&spec).await;
    let fill = "head -c 100M /dev/zero > /workspace/full 2>&1; stat -c %s /workspace/full; df --output=size -B1M / | tail -1";
    let said = hands.bash(fill).await;
    let sizes: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(sizes.iter().all(|size| *size <= 64 << 20) && sizes.len() == 2, "{said}");
    hands.bash("rm /workspace/full; echo kept > /workspace/file").await;
    ground.backend.destroy(&spec.session, true).await.unwrap();
    let hands = ground.provision(&spec).await;
    assert_eq!(hands.bash("cat /workspace/file").await, "kept");
    ground.backend.destroy(&spec.session, false).await.unwrap();
    ground.backend.shut_down().await.unwrap();
    let data_dir = ground.data_dir().to_owned();
    until("every device is free", || devices_of(&data_dir) == 0).await;
}

#[tokio::test]
async fn a_sandbox_in_memory_is_full_at_its_bound() {
    let ground = ground("memory");
    let mut spec = ground.spec();
    spec.limits.disk_bytes_max = 16 << 20;
    let hands = ground.provision(&spec).await;
    let fill = "head -c 100M /dev/zero > /workspace/full 2>/dev/null; stat -c %s /workspace/full";
    let size: u64 = hands.bash(fill).await.parse().unwrap();
    assert!(size > 15 << 20 && size <= 16 << 20, "{size}");
}

#[tokio::test]
async fn a_watched_sandbox_that_writes_too_much_is_stopped_and_lives() {
    let ground = ground("watched");
    let mut spec = ground.spec();
    spec.limits.disk_bytes_max = 48 << 20;
    spec.limits.disk_files_max = 10_000;
    let hands = ground.provision(&spec).await;
    hands.bash("export SHELL_STATE=kept").await;
    // One file is held by its own bound, many are only seen by the watch.
    let fill = "for n in 1 2 3 4; do head -c 20M /dev/zero > /workspace/$n; done; sleep 60";
    let outcome = hands.try_bash(fill).await.unwrap();
    assert!(outcome.is_error, "{}", crate::ground::text(&outcome));
    assert_eq!(hands.bash("rm /workspace/[1-4]; echo fine").await, "fine");
    let many = "for ((i = 0; i < 20000; i++)); do : > /workspace/$i; done; sleep 60";
    let outcome = hands.try_bash(many).await.unwrap();
    assert!(outcome.is_error, "{}", crate::ground::text(&outcome));
    assert_eq!(hands.bash("echo fine").await, "fine");
}
