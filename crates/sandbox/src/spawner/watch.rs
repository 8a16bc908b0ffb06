//! The watch over what sandboxes write: the bound of those whose file system has none, and the last one for the host.
//!
//! Once a second the free space of the file system is looked at, which costs nothing. Only when it shrank by more than a
//! little, or now and then after anything was written, are the files of the sandboxes measured, in a process of its own that
//! lets every other go first (see [`measure`]).
//!
//! Two rules follow from that. A sandbox whose files take more than it may is told to stop: its hand ends everything that
//! runs inside and says why, the session lives and can remove files. It is told again after it has grown further, and
//! after a while in which it made no room although something ran. And when the file system itself is nearly full, whoever
//! grew most is told to stop, and ended when that did not help; what a quota would have allowed does not matter then. Space
//! that no name leads to (deleted and still open) counts too.

mod measure;

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;

use super::log;
use super::owners::Owners;
use super::volume::sys;
use super::volume::sys::Space;
use crate::sys::process::Pid;
use measure::Measured;
use measure::Measuring;

/// How often free space is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// The same when the file system is nearly full.
const PERIOD_LOW: Duration = Duration::from_millis(200);
/// How long anything written may stay unmeasured.
const MEASURE_MAX: Duration = Duration::from_secs(30);
/// A measurement is followed by a pause of so many times what it took, so that it costs a small part of one processor.
const PAUSE_FACTOR: u32 = 5;
/// Part of the smallest bound that may be written before the files are measured.
const SHRUNK_DIVISOR: u64 = 16;
const SHRUNK_BYTES_MAX: u64 = 256 << 20;
const SHRUNK_FILES_MAX: u64 = 50_000;
/// Part of its bound by which a sandbox has to grow before it is told to stop again.
const AGAIN_DIVISOR: u64 = 100;
/// How long it has to make room before that.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Growth that nobody is blamed for when the file system is nearly full.
const BLAMELESS_BYTES: u64 = 1 << 20;
/// The file system is nearly full when less than this part is free, or less than [`FLOOR_BYTES_MAX`].
const FLOOR_DIVISOR: u64 = 50;
const FLOOR_BYTES_MAX: u64 = 1 << 30;
/// It is looked at more often from so many times the floor on.
const NEAR_FLOOR: u64 = 4;

/// One running sandbox.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) session: SessionId,
    /// Its first process.
    pub(super) hand: Pid,
    /// What is measured, see [`super::volume::Volumes::measured`].
    pub(super) paths: Vec<PathBuf>,
    /// What its files may take when nothing else bounds them.
    pub(super) bounds: Option<Bounds>,
}

/// What files may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    pub(super) files_max: u64,
}

/// What has to happen to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything that runs inside is to be ended; the sandbox stays.
    Stop { session: SessionId, reason: String },
    /// The sandbox is to be ended; its files stay.
    End { session: SessionId, reason: String },
}

/// What is known of a sandbox from the last measurement.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    last: Measured,
    /// When it was told to stop and what it took then, while it takes too much.
    stopped: Option<(Instant, Measured)>,
    /// Whether it was told to stop because the file system was nearly full, and that still is.
    was_blamed: bool,
}

#[derive(Debug)]
struct Running {
    measuring: Measuring,
    subjects: Vec<Subject>,
    is_low: bool,
    began: Instant,
}

/// The watch.
#[derive(Debug)]
pub(super) struct Watch {
    /// A folder of the file system that all write to.
    folder: PathBuf,
    known: HashMap<SessionId, Known>,
    running: Option<Running>,
    look_at: Instant,
    /// Not before this is measured again, unless the file system is nearly full.
    measure_from: Instant,
    measured_at: Instant,
    /// The most that was free since the last measurement.
    most_free: Option<Space>,
}

impl Watch {
    /// A watch over the file system of a folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        let now = Instant::now();
        Self {
            folder,
            known: HashMap::new(),
            running: None,
            look_at: now,
            measure_from: now,
            measured_at: now,
            most_free: None,
        }
    }

    /// What to wait for, while a measurement runs.
    pub(super) fn running(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.measuring.as_fd())
    }

    /// Ends a measurement that runs, for the end.
    pub(super) fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.measuring.end();
        }
    }

    /// When to look next, given that a sandbox runs.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }

    /// Looks at the free space when that is due, and has the sandboxes measured if there is reason to.
    pub(super) fn look(&mut self, owners: &Owners, subjects: impl FnOnce() -> Vec<Subject>) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + PERIOD;
        if self.running.is_some() {
            return;
        }
        let space = match sys::space(&self.folder) {
            Ok(space) => space,
            Err(error) => return log(&format!("look at the free space: {error}")),
        };
        if space.bytes_free < floor(&space).saturating_mul(NEAR_FLOOR) {
            self.look_at = now + PERIOD_LOW;
        }
        let subjects = subjects();
        let is_low = is_low(&space);
        if !is_low {
            self.known.values_mut().for_each(|known| known.was_blamed = false);
        }
        if is_low || self.is_due(now, space, &subjects) {
            self.most_free = Some(space);
            self.measured_at = now;
            self.start(owners, subjects, is_low);
        }
    }

    /// Whether enough was written to measure the sandboxes that nothing else bounds.
    fn is_due(&mut self, now: Instant, space: Space, subjects: &[Subject]) -> bool {
        let most = *self.most_free.get_or_insert(space);
        let most = Space {
            bytes_free: most.bytes_free.max(space.bytes_free),
            files_free: most.files_free.max(space.files_free),
            ..space
        };
        self.most_free = Some(most);
        let bounds = || subjects.iter().filter_map(|subject| subject.bounds);
        let Some(least_bytes) = bounds().map(|bounds| bounds.bytes_max).min() else { return false };
        let least_files = bounds().map(|bounds| bounds.files_max).min().unwrap_or(u64::MAX);
        if now < self.measure_from {
            return false;
        }
        let bytes = most.bytes_free - space.bytes_free;
        let files = most.files_free - space.files_free;
        let bounded = || subjects.iter().filter(|subject| subject.bounds.is_some());
        let mut stopped =
            bounded().filter_map(|subject| self.known.get(&subject.session).and_then(|known| known.stopped));
        if stopped.any(|(stopped_at, _)| now >= stopped_at + AGAIN_AFTER) {
            return true;
        }
        let is_new = subjects.iter().any(|subject| !self.known.contains_key(&subject.session));
        bytes > (least_bytes / SHRUNK_DIVISOR).min(SHRUNK_BYTES_MAX)
            || files > (least_files / SHRUNK_DIVISOR).min(SHRUNK_FILES_MAX)
            || ((bytes > 0 || files > 0 || is_new) && now >= self.measured_at + MEASURE_MAX)
    }

    fn start(&mut self, owners: &Owners, mut subjects: Vec<Subject>, is_low: bool) {
        self.known.retain(|session, _| subjects.iter().any(|subject| subject.session == *session));
        if !is_low {
            subjects.retain(|subject| subject.bounds.is_some());
        }
        if subjects.is_empty() {
            return;
        }
        match measure::start(owners, &subjects) {
            Ok(measuring) => {
                self.running = Some(Running { measuring, subjects, is_low, began: Instant::now() });
            }
            Err(error) => log(&format!("start to measure files: {error}")),
        }
    }

    /// Takes what a measurement says, and judges once it is complete.
    pub(super) fn hear(&mut self) -> Vec<Verdict> {
        let heard = self.running.as_mut().map(|running| running.measuring.hear());
        let measured = match heard {
            None | Some(Ok(None)) => return Vec::new(),
            Some(Ok(Some(measured))) => measured,
            Some(Err(error)) => {
                log(&format!("measure files: {error}"));
                HashMap::new()
            }
        };
        let Some(running) = self.running.take() else { return Vec::new() };
        let now = Instant::now();
        self.measure_from = now + ((now - running.began) * PAUSE_FACTOR).min(MEASURE_MAX);
        judge(&mut self.known, now, &running.subjects, &measured, running.is_low)
    }
}

/// What has to be free on a file system.
fn floor(space: &Space) -> u64 {
    (space.bytes / FLOOR_DIVISOR).min(FLOOR_BYTES_MAX)
}

/// Whether a file system is nearly full. Some have no fixed number of files, and say 0.
fn is_low(space: &Space) -> bool {
    space.bytes_free < floor(space) || space.files_free < space.files / FLOOR_DIVISOR
}

/// What has to happen after a measurement of these subjects, in the same order; updates what is known.
fn judge(
    known: &mut HashMap<SessionId, Known>,
    now: Instant,
    subjects: &[Subject],
    measured: &HashMap<usize, Measured>,
    is_low: bool,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut most: Option<(u64, &Subject)> = None;
    for (index, subject) in subjects.iter().enumerate() {
        let Some(measured) = measured.get(&index) else { continue };
        let known = known.entry(subject.session.clone()).or_default();
        let growth = measured.growth(&known.last);
        known.last = *measured;
        if growth > most.map_or(BLAMELESS_BYTES, |(most, _)| most) {
            most = Some((growth, subject));
        }
        let excess = subject.bounds.and_then(|bounds| excess(known, now, measured, &bounds));
        if let Some(reason) = excess {
            verdicts.push(Verdict::Stop { session: subject.session.clone(), reason });
        }
    }
    if is_low
        && let Some((_, subject)) = most
        && let Some(known) = known.get_mut(&subject.session)
    {
        let session = subject.session.clone();
        let reason =
            "the file system of the server is nearly full, and this sandbox has written most".to_owned();
        verdicts.retain(
            |verdict| !matches!(verdict, Verdict::Stop { session: stopped, .. } if *stopped == session),
        );
        verdicts.push(if known.was_blamed {
            Verdict::End { session, reason }
        } else {
            Verdict::Stop { session, reason }
        });
        known.was_blamed = true;
    }
    verdicts
}

/// Why a sandbox has to stop, if its files take too much and more than when it was last told so, or if that is long ago. Where
/// nothing has begun since, nothing has to be ended.
fn excess(known: &mut Known, now: Instant, measured: &Measured, bounds: &Bounds) -> Option<String> {
    let Bounds { bytes_max, files_max } = *bounds;
    if measured.bytes <= bytes_max && measured.files <= files_max {
        known.stopped = None;
        return None;
    }
    if let Some((stopped_at, stopped)) = &mut known.stopped {
        let has_grown = measured.bytes.saturating_sub(stopped.bytes) > bytes_max / AGAIN_DIVISOR
            || measured.files.saturating_sub(stopped.files) > files_max / AGAIN_DIVISOR;
        let has_had_time = now >= *stopped_at + AGAIN_AFTER;
        if has_had_time && measured.processes == 0 {
            *stopped_at = now;
        }
        if !has_grown && (!has_had_time || measured.processes == 0) {
            return None;
        }
    }
    known.stopped = Some((now, *measured));
    Some(if measured.bytes > bytes_max {
        format!(
            "the files of this sandbox take {} MiB, and {} MiB are allowed",
            measured.bytes >> 20,
            bytes_max >> 20
        )
    } else {
        format!("this sandbox has {} files, and {files_max} are allowed", measured.files)
    })
}

impl From<&crate::Limits> for Bounds {
    fn from(limits: &crate::Limits) -> Self {
        Self { bytes_max: limits.disk_bytes_max, files_max: limits.disk_files_max }
    }
}

#[cfg(test)]
mod tests;
