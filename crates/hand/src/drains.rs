//! Output of background processes after their call has ended: read so that they neither block for ever nor die of a
//! closed pipe, slowly so that an endless one costs little, into the call's output file as far as that goes.

use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::limits::DRAIN_BYTES;
use crate::limits::DRAIN_PERIOD;
use crate::limits::DRAINS_MAX;
use crate::limits::READ_TURN_BYTES;
use crate::shell::Drain;

/// All of them.
#[derive(Default)]
pub(crate) struct Drains {
    drains: Vec<Option<Drain>>,
    /// When those that have had their share get another.
    refill: Option<Instant>,
}

impl Drains {
    /// Takes one more.
    pub(crate) fn add(&mut self, drain: Drain) {
        self.drains.push(Some(drain));
    }

    /// Descriptors to watch.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let hungry = |drain: &&Drain| drain.taken < DRAIN_BYTES;
        self.drains.iter().enumerate().filter_map(move |(index, drain)| {
            drain.as_ref().filter(hungry).map(|drain| (index, drain.pipe.as_fd()))
        })
    }

    /// Reads from one.
    pub(crate) fn read(&mut self, index: usize) {
        let Some(drain) = &mut self.drains[index] else { return };
        let mut chunk = vec![0; READ_TURN_BYTES.min(64 << 10)];
        match drain.pipe.read(&mut chunk) {
            Ok(0) => self.drains[index] = None,
            Ok(count) => {
                drain.overflow.write(&chunk[..count]);
                drain.taken += count;
                self.refill.get_or_insert_with(|| Instant::now() + DRAIN_PERIOD);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.drains[index] = None,
        }
    }

    /// When [`Drains::on_time`] is due.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.refill
    }

    /// Gives each its share again.
    pub(crate) fn on_time(&mut self, now: Instant) {
        if self.refill.is_some_and(|refill| now >= refill) {
            self.refill = None;
            self.drains.iter_mut().flatten().for_each(|drain| drain.taken = 0);
        }
    }

    /// Drops those that have ended, and the oldest of too many.
    pub(crate) fn sweep(&mut self) {
        self.drains.retain(Option::is_some);
        let excess = self.drains.len().saturating_sub(DRAINS_MAX);
        self.drains.drain(..excess);
    }
}
