//! Bounds of this machine: real file systems in image files, mounted in a namespace of the test's own.
//!
//! Run as root; without it, and where a program is missing, a test says that it was skipped.

#![expect(clippy::print_stdout, reason = "a test that cannot be had here says so; some print figures")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::Mode;
use crate::sys::process;

const MIB: u64 = 1 << 20;

fn limits(bytes: u64, files: u64) -> Limits {
    Limits { disk_bytes_max: bytes, disk_files_max: files, ..Limits::default() }
}

/// A data folder, if this user may mount.
fn data_dir() -> Option<TempDir> {
    let (uid, _) = process::ids();
    if uid != 0 {
        println!("skipped: this needs root");
        return None;
    }
    Some(TempDir::new().unwrap())
}

fn session(data_dir: &Path, name: &str) -> PathBuf {
    let folder = data_dir.join(name);
    for folder in [folder.clone(), folder.join("upper"), folder.join("work")] {
        make_folder(&folder, 0o755).unwrap();
    }
    folder
}

/// Writes until it is refused; answers how many bytes were taken.
fn fill(path: &Path) -> (u64, io::Error) {
    let mut file = File::create(path).unwrap();
    let block = vec![7; 64 * 1024];
    loop {
        if let Err(error) = file.write_all(&block) {
            return (file.metadata().unwrap().len(), error);
        }
        assert!(file.metadata().unwrap().len() < 1 << 30, "nothing refuses");
    }
}

/// Loop devices that show an image below a folder.
fn devices_of(folder: &Path) -> Vec<String> {
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
    let backing =
        devices.filter_map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")).ok());
    backing.filter(|file| Path::new(file.trim()).starts_with(folder)).collect()
}

fn until_detached(folder: &Path) {
    let start = Instant::now();
    while !devices_of(folder).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", devices_of(folder));
        std::thread::yield_now();
    }
}

fn open(data_dir: &Path, choice: Choice) -> Volumes {
    Volumes::probe(data_dir, choice, Mode::Root, 1)
        .unwrap_or_else(|unavailable| panic!("{}", unavailable.reason))
}

#[test]
fn an_image_is_full_at_its_bound_keeps_files_and_leaves_no_device() {
    let Some(data) = data_dir() else { return };
    let mut volumes = open(data.path(), Choice::Loop);
    assert_eq!(volumes.name(), "file system in an image");
    until_detached(data.path());
    let folder = session(data.path(), "spare");
    let start = Instant::now();
    let disk = volumes.prepare(&folder, &limits(64 * MIB, 1000)).unwrap();
    println!("first image of a size: {:?}", start.elapsed());
    assert_eq!(devices_of(data.path()).len(), 1);
    let (taken, error) = fill(&disk.join("upper/full"));
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!((56 * MIB..=64 * MIB).contains(&taken), "{taken}");
    std::fs::remove_file(disk.join("upper/full")).unwrap();
    let refused = (0..2000).find_map(|number| File::create(disk.join(format!("upper/{number}"))).err());
    assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    let usage = volumes.usage(&folder).unwrap().unwrap();
    assert!(usage.files >= 900 && usage.files <= 1100, "{usage:?}");
    // A session takes over the folders of the spare sandbox while they are mounted.
    let taken_over = data.path().join("session");
    std::fs::rename(&folder, &taken_over).unwrap();
    assert_eq!(volumes.prepare(&taken_over, &limits(64 * MIB, 1000)).unwrap(), taken_over.join("disk"));
    Volumes::rest(&taken_over);
    until_detached(data.path());
    assert!(!taken_over.join("disk/upper").exists());
    let again = volumes.prepare(&taken_over, &limits(64 * MIB, 1000)).unwrap();
    assert!(again.join("upper/7").exists());
    Volumes::release(&taken_over);
    until_detached(data.path());
    std::fs::remove_dir_all(&taken_over).unwrap();
    let start = Instant::now();
    for number in 0..20 {
        volumes.prepare(&session(data.path(), &number.to_string()), &limits(64 * MIB, 1000)).unwrap();
    }
    println!("further images of this size, each: {:?}", start.elapsed() / 20);
    let start = Instant::now();
    (0..20).for_each(|number| Volumes::release(&data.path().join(number.to_string())));
    println!("release, each: {:?}", start.elapsed() / 20);
    until_detached(data.path());
}

#[test]
fn an_image_takes_little_of_the_disk_before_it_is_filled() {
    let Some(data) = data_dir() else { return };
    let mut volumes = open(data.path(), Choice::Loop);
    let folder = session(data.path(), "one");
    let start = Instant::now();
    volumes.prepare(&folder, &Limits::default()).unwrap();
    println!("image of the usual size: {:?}", start.elapsed());
    let taken = walk::measure(&folder.join(IMAGE)).unwrap().bytes;
    println!("{} KiB on disk", taken / 1024);
    assert!(taken < 16 * MIB, "{taken}");
    Volumes::release(&folder);
    until_detached(data.path());
}

#[test]
fn files_in_memory_are_bounded_and_count_as_memory() {
    let Some(data) = data_dir() else { return };
    let mut volumes = open(data.path(), Choice::Memory);
    let folder = session(data.path(), "one");
    let bounds = Limits { memory_bytes_max: 32 * MIB, ..limits(64 * MIB, 100) };
    let start = Instant::now();
    let disk = volumes.prepare(&folder, &bounds).unwrap();
    println!("memory: {:?}", start.elapsed());
    let (taken, error) = fill(&disk.join("upper/full"));
    assert_eq!((taken, error.kind()), (16 * MIB, io::ErrorKind::StorageFull));
    Volumes::rest(&folder);
    assert_eq!(
        volumes.prepare(&folder, &bounds).unwrap().join("upper/full").metadata().unwrap().len(),
        16 * MIB
    );
    Volumes::release(&folder);
    assert!(!disk.join("upper").exists());
    // As after the end of a spawner.
    let mut watched = open(data.path(), Choice::Watched);
    assert_eq!(watched.prepare(&folder, &bounds).unwrap(), folder);
}

#[test]
fn folders_from_before_another_choice_stay_where_they_are() {
    let Some(data) = data_dir() else { return };
    let folder = session(data.path(), "old");
    std::fs::write(folder.join("upper/file"), "old").unwrap();
    let mut volumes = open(data.path(), Choice::Loop);
    assert_eq!(volumes.prepare(&folder, &Limits::default()).unwrap(), folder);
    assert_eq!(volumes.measured(&folder), (vec![folder.join("upper"), folder.join("mounts")], true));
    let folder = session(data.path(), "new");
    assert_eq!(volumes.prepare(&folder, &Limits::default()).unwrap(), folder.join("disk"));
    assert_eq!(volumes.measured(&folder), (vec![folder.join("disk.img")], false));
    Volumes::release(&folder);
    until_detached(data.path());
}

#[test]
fn without_root_nothing_is_mounted() {
    let data = TempDir::new().unwrap();
    for choice in [Choice::Loop, Choice::Memory] {
        let refused = Volumes::probe(data.path(), choice, Mode::SingleId, 1).unwrap_err();
        assert!(refused.reason.contains(choice.name()) && !refused.remedy.is_empty());
    }
    let volumes = Volumes::probe(data.path(), Choice::Automatic, Mode::SingleId, 1).unwrap();
    assert_eq!(volumes.name(), "watched");
}

/// Makes a file system in an image and mounts it for this test alone. `None` when the program is not installed.
fn mounted(data: &Path, program: &str, arguments: &[&str], options: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/sbin", "/usr/bin"];
    let Some(found) = folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
    else {
        println!("skipped: {program} is not installed");
        return None;
    };
    let image = data.join("host.img");
    File::create(&image).unwrap().set_len(512 * MIB).unwrap();
    assert!(Command::new(found).args(arguments).arg(&image).status().unwrap().success());
    let place = data.join("host");
    make_folder(&place, 0o755).unwrap();
    sys::leave_mounts().unwrap();
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let (device, path) = image::attach(&file).unwrap();
    let kind = std::ffi::CString::new(program.strip_prefix("mkfs.").unwrap()).unwrap();
    let mounted = sys::mount(&path, &place, &kind, options);
    drop(device);
    if let Err(error) = mounted {
        println!("skipped: this kernel does not mount what {program} {arguments:?} makes: {error}");
        return None;
    }
    Some(place)
}

#[test]
fn a_subvolume_is_full_at_its_bound_and_goes_at_once() {
    let Some(data) = data_dir() else { return };
    let Some(host) = mounted(data.path(), "mkfs.btrfs", &["-q"], "") else { return };
    let watched = open(&host, Choice::Automatic);
    assert_eq!(watched.name(), "watched");
    let enabled = Command::new("/usr/bin/btrfs").args(["quota", "enable"]).arg(&host).status();
    assert!(enabled.unwrap().success());
    let start = Instant::now();
    let mut volumes = open(&host, Choice::Automatic);
    println!("probe: {:?}", start.elapsed());
    assert_eq!(volumes.name(), "btrfs subvolume with a quota");
    let folder = session(&host, "spare");
    let start = Instant::now();
    let disk = volumes.prepare(&folder, &limits(32 * MIB, 1000)).unwrap();
    println!("subvolume: {:?}", start.elapsed());
    let (taken, error) = fill(&disk.join("upper/full"));
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert!((28 * MIB..=32 * MIB).contains(&taken), "{taken}");
    let moved = host.join("session");
    std::fs::rename(&folder, &moved).unwrap();
    assert_eq!(volumes.prepare(&moved, &limits(32 * MIB, 1000)).unwrap(), moved.join("disk"));
    let start = Instant::now();
    Volumes::release(&moved);
    println!("release: {:?}", start.elapsed());
    assert!(!moved.join("disk").exists());
    sys::unmount(&host).unwrap();
    until_detached(data.path());
}

#[test]
fn what_is_made_in_a_folder_of_a_project_belongs_to_it() {
    let Some(data) = data_dir() else { return };
    // Projects can be had without quotas.
    let Some(host) = mounted(data.path(), "mkfs.xfs", &["-q", "-f"], "") else { return };
    let folder = session(&host, "one");
    let upper = sys::open_folder(&folder.join("upper")).unwrap();
    assert_eq!(sys::project::project(&upper).unwrap(), 0);
    sys::project::set_project(&upper, 4711).unwrap();
    assert_eq!(sys::project::project(&upper).unwrap(), 4711);
    make_folder(&folder.join("upper/inner"), 0o755).unwrap();
    let inner = sys::open_folder(&folder.join("upper/inner")).unwrap();
    assert_eq!(sys::project::project(&inner).unwrap(), 4711);
    let volumes = open(&host, Choice::Automatic);
    assert_eq!(volumes.name(), "watched");
    drop((upper, inner, volumes));
    sys::unmount(&host).unwrap();
    until_detached(data.path());
}

#[test]
fn a_project_is_full_at_its_bound_where_the_kernel_keeps_such_quotas() {
    let features = ["-q", "-F", "-I", "256", "-O", "project,quota"];
    for (program, arguments) in [("mkfs.ext4", &features[..]), ("mkfs.xfs", &["-q", "-f"])] {
        let Some(data) = data_dir() else { return };
        let Some(host) = mounted(data.path(), program, arguments, "prjquota") else { continue };
        let mut volumes = open(&host, Choice::Automatic);
        assert_eq!(volumes.name(), "project quota");
        let folder = session(&host, "one");
        volumes.prepare(&folder, &limits(32 * MIB, 100)).unwrap();
        assert!(!probe::writes(&folder.join("upper/full"), 40 * MIB).unwrap());
        let usage = volumes.usage(&folder).unwrap().unwrap();
        assert!(usage.bytes <= 32 * MIB && usage.files <= 100, "{usage:?}");
        drop(volumes);
        sys::unmount(&host).unwrap();
        until_detached(data.path());
    }
}

#[test]
fn a_walk_counts_blocks_and_names_and_follows_nothing() {
    let data = TempDir::new().unwrap();
    let tree = data.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let before = walk::measure(&tree).unwrap();
    std::fs::write(tree.join("file"), vec![1; 1 << 20]).unwrap();
    std::fs::hard_link(tree.join("file"), tree.join("again")).unwrap();
    let holes = File::create(tree.join("holes")).unwrap();
    holes.set_len(1 << 40).unwrap();
    holes.write_all_at(b"x", 1 << 39).unwrap();
    std::fs::write(data.path().join("outside"), vec![1; 8 << 20]).unwrap();
    std::os::unix::fs::symlink("../outside", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("..", tree.join("up")).unwrap();
    let found = walk::measure(&tree).unwrap();
    assert_eq!(found.files - before.files, 4);
    assert!((1 << 20..1 << 20 | 64 << 10).contains(&(found.bytes - before.bytes)), "{found:?}");
}

#[test]
fn a_walk_finds_what_is_far_down_and_counts_many_files_fast() {
    let data = TempDir::new().unwrap();
    let tree = data.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let script = "name=$(printf 'd%.0s' {1..100}); for ((i = 0; i < 1000; i++)); do mkdir $name && cd -P $name || exit 1; \
                  done; head -c 1M /dev/zero > far";
    let made = Command::new("/bin/bash").args(["-c", script]).current_dir(&tree).status().unwrap();
    assert!(made.success());
    let deep = walk::measure(&tree).unwrap();
    assert_eq!(deep.files, 1002);
    assert!(deep.bytes >= 1 << 20);
    for number in 0..20_000 {
        File::create(tree.join(number.to_string())).unwrap();
    }
    let start = Instant::now();
    assert_eq!(walk::measure(&tree).unwrap().files, 21_002);
    println!("21,002 files: {:?}", start.elapsed());
    // The standard library cannot remove what is this deep.
    let removed = Command::new("/bin/rm").args(["-rf", "--"]).arg(&tree).status().unwrap();
    assert!(removed.success());
}
