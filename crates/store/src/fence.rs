//! The fence: who may append to a session, and what an append does to the session's row. Pure; both drivers read the
//! row, ask [`Head::admit`], and write what it says in the same transaction.
//!
//! The lease of a session is an epoch that rises with every new holder. A holder's append names its epoch and is
//! refused once another one is stored or the lease was given back. A client's append needs no lease, only a session
//! that has not ended; it marks the session runnable, so that giving the lease back at the same moment either fails or
//! leaves the session to be claimed again.

use api::entry::NewEntry;
use api::ids::SessionId;
use api::sessions::SessionStatus;
use api::time::Timestamp;

use crate::Answer;
use crate::Error;
use crate::NewJob;
use crate::ThreadChange;
use crate::Waiting;
use crate::limits;
use crate::waiting;

/// Entries for a session's log, and changes to its row that become durable with them.
#[derive(Clone, Debug)]
pub struct Append {
    /// Key of the session.
    pub session: i64,
    /// By what right.
    pub fence: Fence,
    /// What is appended, in order. May be empty when only the row changes.
    pub entries: Vec<NewEntry>,
    /// What changes in the row.
    pub patch: Patch,
    /// Work that becomes due with it; see [`NewJob`].
    pub jobs: Vec<NewJob>,
    /// For [`Patch::release`]: the last entry that the caller has seen. `None` gives the lease back in any case.
    pub expected_head: Option<i64>,
}

/// By what right an append is made.
#[derive(Clone, Debug)]
pub enum Fence {
    /// The holder of the lease.
    Lease {
        /// The epoch of its lease.
        epoch: i64,
    },
    /// A client, through any node. Refused when the session is archived or terminated.
    Client {
        /// Takes the lease in the same commit, when it is free or expired.
        claim: Option<Claim>,
        /// What the entries answer; see [`crate::Answer`].
        answers: Vec<Answer>,
    },
}

/// A wish to hold a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node that would hold it.
    pub node: String,
    /// For how long, unless it is renewed.
    pub ttl_ms: i64,
}

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub node: String,
    /// Which of the session's leases it is.
    pub epoch: i64,
}

/// Changes to the row of a session; `None` leaves a column as it is.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// The new status.
    pub status: Option<SessionStatus>,
    /// The new usage and statistics, as JSON.
    pub progress: Option<String>,
    /// The threads that change, each once.
    pub threads: Vec<ThreadChange>,
    /// All calls that wait for the client from here on. Answers that the caller has not seen yet still count.
    pub waiting: Option<Vec<Waiting>>,
    /// The new title; `Some(None)` removes it.
    pub title: Option<Option<String>>,
    /// The new metadata, as a JSON object.
    pub metadata: Option<String>,
    /// The new snapshot of the agent, as JSON.
    pub agent: Option<String>,
    /// When the session was archived.
    pub archived_at: Option<Timestamp>,
    /// Whether there is work for whoever claims the session. An append of a client's entries says yes by itself.
    pub runnable: Option<bool>,
    /// Gives the lease back, if nobody appended after [`Append::expected_head`]: then nobody holds the session and it
    /// is not runnable, unless `runnable` says so. A client that releases ends the lease of whoever holds it.
    pub release: bool,
}

/// An append that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Place of the first entry.
    pub first: i64,
    /// Place of the last entry: the head of the log. `first - 1` when there was none.
    pub last: i64,
    /// Who holds the session after this commit, if anybody does.
    pub lease: Option<Lease>,
    /// Whether the lease was given back, as [`Patch::release`] asked.
    pub released: bool,
}

/// What the fence looks at: columns of a session's row.
#[expect(clippy::struct_field_names, reason = "the field is named as its column")]
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: SessionId,
    pub(crate) head: i64,
    pub(crate) epoch: i64,
    pub(crate) holder: Option<String>,
    pub(crate) lease_until: i64,
    pub(crate) status: SessionStatus,
    pub(crate) is_archived: bool,
    pub(crate) runnable: bool,
    pub(crate) waiting: Vec<Waiting>,
}

impl Append {
    /// Bytes that the entries and jobs hold, for the bound of a commit.
    pub(crate) fn bytes(&self) -> usize {
        let length = |raw: &Option<std::sync::Arc<serde_json::value::RawValue>>| {
            raw.as_ref().map_or(0, |r| r.get().len())
        };
        let entries: usize =
            self.entries.iter().map(|entry| length(&entry.public) + length(&entry.private)).sum();
        entries + self.jobs.iter().map(|job| job.body.len()).sum::<usize>()
    }
}

impl Head {
    /// Admits an append at time `now` of the lease clock, and becomes what the row is after it; or refuses it and stays.
    pub(crate) fn admit(&mut self, append: &Append, now: i64) -> Result<Appended, Error> {
        let Append { session, fence, entries, patch, jobs: _, expected_head } = append;
        self.check(*session, fence)?;
        let last = self.room(entries.len())?;
        if let Fence::Client { claim: _, answers } = fence {
            let is_idle = self.status == SessionStatus::Idle;
            self.waiting = waiting::admit(&self.waiting, is_idle, entries, answers)?;
        }
        if let Some(waiting) = &patch.waiting {
            self.waiting = waiting::replace(&self.waiting, waiting);
        }
        let (before, first) = (self.head, self.head + 1);
        self.head = last;
        self.status = patch.status.unwrap_or(self.status);
        self.is_archived |= patch.archived_at.is_some();

        let by_client = matches!(fence, Fence::Client { .. });
        if let Fence::Client { claim: Some(claim), answers: _ } = fence
            && self.is_free(now)
        {
            self.epoch += 1;
            self.holder = Some(claim.node.clone());
            self.lease_until = Timestamp(now).plus_millis(claim.ttl_ms).0;
        }
        self.runnable |= by_client && !entries.is_empty();
        let released = patch.release && expected_head.is_none_or(|expected| expected == before);
        match patch.runnable {
            // A caller that missed an entry does not know whether there is work left.
            Some(false) if patch.release && !released => {}
            Some(runnable) => self.runnable = runnable,
            None if released => self.runnable = false,
            None => {}
        }
        if released {
            self.holder = None;
            self.epoch += i64::from(by_client);
        }
        let is_held = !by_client || !self.is_free(now);
        let lease = self.holder.clone().filter(|_| is_held).map(|node| Lease { node, epoch: self.epoch });
        Ok(Appended { first, last, lease, released })
    }

    fn check(&self, session: i64, fence: &Fence) -> Result<(), Error> {
        match fence {
            Fence::Lease { epoch } if *epoch != self.epoch || self.holder.is_none() => Err(Error::Fenced {
                session,
                epoch: *epoch,
                current: self.epoch,
                holder: self.holder.clone(),
            }),
            Fence::Client { .. } if self.is_archived || self.status == SessionStatus::Terminated => {
                Err(Error::SessionEnded { id: self.id.clone() })
            }
            Fence::Lease { .. } | Fence::Client { .. } => Ok(()),
        }
    }

    /// The head after `count` more entries.
    fn room(&self, count: usize) -> Result<i64, Error> {
        let (op, max) = ("append to a session", limits::ENTRIES_PER_APPEND_MAX);
        if count > max {
            return Err(Error::TooLarge { op, what: "entries in one append", size: count, max });
        }
        let last = self.head + i64::try_from(count).unwrap_or(i64::MAX);
        if last > limits::ENTRIES_PER_SESSION_MAX {
            let max = usize::try_from(limits::ENTRIES_PER_SESSION_MAX).unwrap_or(usize::MAX);
            return Err(Error::TooLarge { op, what: "entries in the session", size: max + count, max });
        }
        Ok(last)
    }

    fn is_free(&self, now: i64) -> bool {
        self.holder.is_none() || self.lease_until <= now
    }
}
