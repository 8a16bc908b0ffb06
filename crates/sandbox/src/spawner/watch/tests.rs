//! What the watch decides, by what it was told.

use api::ids::Ids;
use api::time::Clock;

use super::*;

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
            path: PathBuf::from("/nowhere"),
            bounds: Some(Bounds { bytes_max: 100 * MIB, files_max: 1000 }),
        };
        Self { known: HashMap::new(), subjects: (0..count).map(subject).collect() }
    }

    /// The verdicts on measured mebibytes and files, as the index of the sandbox and whether it is ended.
    fn judge(&mut self, measured: &[(u64, u64)], is_low: bool) -> Vec<(usize, bool)> {
        let measured =
            measured.iter().map(|(mib, files)| Measured { bytes: mib * MIB, files: *files, written: 0 });
        let measured = measured.enumerate().collect();
        let verdicts = judge(&mut self.known, &self.subjects, &measured, is_low);
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
    let hidden = Measured { bytes: 10 * MIB, files: 1, written: 500 * MIB };
    let plain = Measured { bytes: 11 * MIB, files: 1, written: 0 };
    let verdicts = judge(&mut scene.known, &scene.subjects, &HashMap::from([(0, plain), (1, hidden)]), true);
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
