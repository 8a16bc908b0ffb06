//! What the watch decides, by what it was told.

#![expect(clippy::print_stdout, reason = "a test that cannot be had here says so")]

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use api::ids::Ids;
use api::time::Clock;

use super::*;
use crate::sys::process;

const MIB: u64 = 1 << 20;

struct Scene {
    known: HashMap<SessionId, Known>,
    subjects: Vec<Subject>,
}

impl Scene {
    fn of(count: usize) -> Self {
        let ids = Ids::new(Clock::system());
        let subject = |_| Subject {
            session: ids.make(),
            hand: 1,
            paths: vec![PathBuf::from("/nowhere")],
            bounds: Some(Bounds { bytes_max: 100 * MIB, files_max: 1000 }),
        };
        Self { known: HashMap::new(), subjects: (0..count).map(subject).collect() }
    }

    /// The verdicts on measured mebibytes and files, as the index of the sandbox and whether it is ended.
    fn judge(&mut self, measured: &[(u64, u64)], is_low: bool) -> Vec<(usize, bool)> {
        let measured = measured.iter().map(|(mib, files)| Measured {
            bytes: mib * MIB,
            files: *files,
            ..Measured::default()
        });
        let measured = measured.enumerate().collect();
        let verdicts = judge(&mut self.known, Instant::now(), &self.subjects, &measured, is_low);
        let index = |session: &SessionId| {
            self.subjects.iter().position(|subject| subject.session == *session).expect("one of these")
        };
        verdicts
            .iter()
            .map(|verdict| match verdict {
                Verdict::Stop { session, reason: _ } => (index(session), false),
                Verdict::End { session, reason: _ } => (index(session), true),
            })
            .collect()
    }
}

#[test]
fn a_sandbox_over_its_bound_is_stopped_and_again_only_after_it_has_grown() {
    let mut scene = Scene::of(2);
    assert_eq!(scene.judge(&[(50, 10), (99, 1000)], false), []);
    assert_eq!(scene.judge(&[(50, 10), (120, 1000)], false), [(1, false)]);
    assert_eq!(scene.judge(&[(50, 10), (120, 1000)], false), []);
    assert_eq!(scene.judge(&[(50, 10), (110, 900)], false), []);
    assert_eq!(scene.judge(&[(50, 10), (122, 900)], false), [(1, false)]);
    // Once it has made room, the first byte too much counts again.
    assert_eq!(scene.judge(&[(50, 10), (90, 900)], false), []);
    assert_eq!(scene.judge(&[(50, 10), (101, 900)], false), [(1, false)]);
}

#[test]
fn a_sandbox_that_makes_no_room_while_something_runs_is_stopped_again() {
    let mut scene = Scene::of(1);
    let start = Instant::now();
    let mut judge = |seconds, mib, processes| {
        let measured = Measured { bytes: mib * MIB, files: 1, written: 0, processes };
        let now = start + Duration::from_secs(seconds);
        judge(&mut scene.known, now, &scene.subjects, &HashMap::from([(0, measured)]), false).len()
    };
    assert_eq!(judge(0, 150, 5), 1);
    assert_eq!(judge(29, 150, 5), 0, "it may look around and remove files");
    assert_eq!(judge(30, 150, 0), 0, "nothing has begun since");
    assert_eq!(judge(59, 150, 1), 0);
    assert_eq!(judge(60, 149, 1), 1, "or it has filled again what it had freed");
    assert_eq!(judge(89, 149, 1), 0);
    assert_eq!(judge(90, 149, 1), 1);
    assert_eq!(judge(99, 90, 1), 0);
}

#[test]
fn too_many_files_are_too_much() {
    let mut scene = Scene::of(1);
    assert_eq!(scene.judge(&[(1, 1001)], false), [(0, false)]);
    assert_eq!(scene.judge(&[(1, u64::MAX)], false), [(0, false)]);
}

#[test]
fn on_a_full_file_system_who_grew_most_is_stopped_and_then_ended() {
    let mut scene = Scene::of(3);
    assert_eq!(scene.judge(&[(90, 1), (10, 1), (20, 1)], false), []);
    // The largest is not the one that grows.
    assert_eq!(scene.judge(&[(90, 1), (40, 1), (25, 1)], true), [(1, false)]);
    assert_eq!(scene.judge(&[(90, 1), (40, 1), (25, 1)], true), []);
    assert_eq!(scene.judge(&[(90, 1), (60, 1), (26, 1)], true), [(1, true)]);
}

#[test]
fn a_sandbox_is_blamed_for_what_it_has_written_to_files_without_a_name() {
    let mut scene = Scene::of(2);
    scene.judge(&[(10, 1), (10, 1)], false);
    let hidden = Measured { bytes: 10 * MIB, files: 1, written: 500 * MIB, processes: 1 };
    let plain = Measured { bytes: 11 * MIB, files: 1, ..Measured::default() };
    let verdicts = judge(
        &mut scene.known,
        Instant::now(),
        &scene.subjects,
        &HashMap::from([(0, plain), (1, hidden)]),
        true,
    );
    assert!(
        matches!(&verdicts[..], [Verdict::Stop { session, .. }] if *session == scene.subjects[1].session)
    );
}

#[test]
fn the_floor_is_the_smaller_of_a_part_and_a_gibibyte() {
    let space = |bytes: u64, bytes_free: u64| Space { bytes, bytes_free, files: 0, files_free: 0 };
    assert!(is_low(&space(10 << 30, 200 << 20)));
    assert!(!is_low(&space(10 << 30, 210 << 20)));
    assert!(is_low(&space(4 << 40, 1000 << 20)));
    assert!(!is_low(&space(4 << 40, 1 << 30)));
    assert!(is_low(&Space { files: 1000, files_free: 19, ..space(10 << 30, 5 << 30) }));
}

/// Waits for the measurement that runs, and takes what follows from it.
fn hear(watch: &mut Watch) -> Vec<Verdict> {
    while let Some(fd) = watch.running() {
        process::wait_readable(&[fd], -1).unwrap();
        let verdicts = watch.hear();
        if watch.running().is_none() {
            return verdicts;
        }
    }
    panic!("nothing is measured");
}

/// The first process of a process namespace in which a shell has run this, and the shell's parent, to be ended.
fn shell_in_namespace(folder: &Path, script: &str) -> (Pid, Child) {
    let script = format!("{script}\necho done\nread");
    let mut child = Command::new("/usr/bin/unshare")
        .args(["--pid", "--fork", "--kill-child", "/bin/bash", "-c", &script])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "done\n");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    (children.trim().parse().unwrap(), child)
}

#[test]
fn what_a_sandbox_writes_is_found_whether_it_has_a_name_or_not() {
    if process::ids().0 != 0 {
        return println!("skipped: this needs root");
    }
    let data = tempfile::TempDir::new().unwrap();
    let owners = Owners::new(crate::Mode::Root, 1);
    let bounds = Some(Bounds { bytes_max: 48 << 20, files_max: 10_000 });
    let ids = Ids::new(Clock::system());
    for (script, expected) in [
        ("head -c 64M /dev/zero > big", "take 64 MiB, and 48 MiB"),
        ("for ((i = 0; i < 11000; i++)); do : > $i; done", "has 11001 files, and 10000"),
        ("exec 9> gone; rm gone; head -c 64M /dev/zero >&9", "take 64 MiB, and 48 MiB"),
        ("truncate -s 1T holes; head -c 24M /dev/zero > small", ""),
    ] {
        let session: SessionId = ids.make();
        let folder = data.path().join(session.as_str());
        std::fs::create_dir(&folder).unwrap();
        let mut watch = Watch::new(data.path().to_owned());
        watch.most_free = Some(sys::space(data.path()).unwrap());
        let (hand, mut child) = shell_in_namespace(&folder, script);
        let subject = Subject { session, hand, paths: vec![folder.clone()], bounds };
        // What is written reaches the count of free space when the file system has found a place for it.
        while watch.running().is_none() {
            watch.look_at = Instant::now();
            watch.look(&owners, || vec![subject.clone()]);
        }
        let reasons: Vec<String> = hear(&mut watch)
            .into_iter()
            .map(|verdict| match verdict {
                Verdict::Stop { session, reason } if session == subject.session => reason,
                other => panic!("{other:?}"),
            })
            .collect();
        match &reasons[..] {
            [] => assert_eq!(expected, ""),
            [reason] => assert!(!expected.is_empty() && reason.contains(expected), "{reason}"),
            more => panic!("{more:?}"),
        }
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
