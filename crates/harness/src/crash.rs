//! Named points at which a crash test may kill the process, as a power cut would: no unwinding, no destructors.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// Dies at the n-th pass of one point.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    name: String,
    passes_left: Arc<AtomicU32>,
}

/// The points, in the order in which a turn passes them, then a sandbox on its way to a checkpoint and
/// back, and a job.
const POINTS: [&str; 18] = [
    "input_stored",
    "driver_started",
    "before_append",
    "after_append",
    "before_model",
    "after_model",
    "before_tool",
    "after_tool",
    "before_acknowledge",
    "before_checkpoint",
    "after_pack",
    "after_blob",
    "after_checkpoint",
    "before_restore",
    "after_restore",
    "job_written",
    "job_claimed",
    "before_job_end",
];

impl CrashPoint {
    /// Reads `NAME:N`; `None` when the name is not a point or N is not a positive number.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, passes) = text.split_once(':')?;
        let passes: u32 = passes.parse().ok().filter(|passes| *passes > 0)?;
        let is_known = POINTS.contains(&name);
        is_known.then(|| Self { name: name.to_owned(), passes_left: Arc::new(AtomicU32::new(passes)) })
    }

    fn pass(&self, name: &str) {
        if self.name == name && self.passes_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
    }
}

/// Marks a point.
pub(crate) fn point(crash: Option<&CrashPoint>, name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in the list of points");
    if let Some(crash) = crash {
        crash.pass(name);
    }
}
