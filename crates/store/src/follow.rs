//! Following a session: what is appended to its log, and previews of what is being written, in process and in order.
//!
//! Every follower has its own mailbox, so that a slow one holds nobody up and an idle one costs nothing. A mailbox that
//! is full is emptied and its reader told to re-read the log: entries are never lost, previews may be. A reader
//! subscribes **before** it reads the log and then skips the entries it has seen: no gap, no duplicate.
//!
//! Where several nodes share a database, the hub knows up to which entry it has published each followed session. The
//! first news of a session, whose earlier entries the hub cannot know, is always "re-read".

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use api::entry::Entry;
use api::entry::NewEntry;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::ThreadId;
use tokio::sync::Notify;
use tokio::sync::watch;

use crate::Store;
use crate::limits;

/// What a follower is told.
#[derive(Clone, Debug)]
pub enum Signal {
    /// Entries that became durable, in the order of the log.
    Entries(Arc<[Arc<Entry>]>),
    /// Part of an event that is being written. Never stored.
    Preview(Arc<Preview>),
    /// Something was missed: read the log again from the last entry seen.
    Lagged,
    /// The session was deleted.
    Deleted,
    /// The store closes.
    Closed,
}

/// A preview of an event that a model is writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The thread whose event it is.
    pub thread: ThreadId,
    /// The event that is being written.
    pub span: EventId,
    /// The preview as clients read it: an `event_start` or `event_delta`.
    pub json: String,
    /// Type of the event that is being written.
    pub kind: EventKind,
    /// Whether this is the `event_start`.
    pub starts: bool,
}

/// One reader of a session's signals. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Follower {
    session: i64,
    mailbox: Arc<Mailbox>,
    hub: Arc<Hub>,
}

impl Store {
    /// Follows a session from now on. Subscribe before reading the log, then skip entries already seen.
    pub fn follow(&self, session: i64) -> Follower {
        let mailbox = Arc::new(Mailbox::default());
        self.hub.subscribe(session, &mailbox);
        Follower { session, mailbox, hub: Arc::clone(&self.hub) }
    }

    /// Shows followers on this node a part of an event that is being written. Kept in memory only.
    pub fn preview(&self, session: i64, preview: Preview) {
        let mut state = self.hub.lock();
        if let Some(channel) = state.channels.get_mut(&session) {
            channel.send(&Signal::Preview(Arc::new(preview)));
        }
    }
}

impl Follower {
    /// The next signal. After [`Signal::Deleted`] or [`Signal::Closed`] it is [`Signal::Closed`] for ever. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.mailbox.take() {
                return signal;
            }
            self.mailbox.news.notified().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.unsubscribe(self.session, &self.mailbox);
    }
}

#[derive(Debug, Default)]
struct Mailbox {
    state: Mutex<MailboxState>,
    news: Notify,
}

#[derive(Debug, Default)]
struct MailboxState {
    signals: VecDeque<Signal>,
    is_closed: bool,
}

impl Mailbox {
    fn put(&self, signal: Signal) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.signals.len() >= limits::FOLLOWER_SIGNALS_MAX {
            state.signals = VecDeque::from([Signal::Lagged]);
        }
        state.is_closed |= matches!(signal, Signal::Deleted | Signal::Closed);
        state.signals.push_back(signal);
        drop(state);
        self.news.notify_one();
    }

    fn take(&self) -> Option<Signal> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = state.signals.pop_front();
        if state.signals.is_empty() && state.signals.capacity() > 16 {
            // A burst must not keep its memory for the rest of a long, quiet stream.
            state.signals = VecDeque::new();
        }
        signal.or_else(|| state.is_closed.then_some(Signal::Closed))
    }
}

/// Everyone who follows something on this node.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<HubState>,
    /// Whether other nodes append to the same database.
    is_shared: bool,
    /// Rises with the jobs that are written.
    jobs: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct HubState {
    channels: HashMap<i64, Channel>,
    is_closed: bool,
}

/// The followers of one session.
#[derive(Debug, Default)]
struct Channel {
    mailboxes: Vec<Arc<Mailbox>>,
    /// The last entry published; `None` until the first news on a shared database.
    published: Option<i64>,
}

/// What came of offering entries to the followers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// They have everything up to the offered entries.
    Done,
    /// Entries of another node, after this one, must be published first.
    Behind(i64),
}

impl Channel {
    fn send(&mut self, signal: &Signal) {
        for mailbox in &self.mailboxes {
            mailbox.put(signal.clone());
        }
    }
}

impl Hub {
    pub(crate) fn new(is_shared: bool) -> Self {
        Self { state: Mutex::default(), is_shared, jobs: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who run jobs.
    pub(crate) fn announce_job(&self) {
        self.jobs.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn job_news(&self) -> watch::Receiver<u64> {
        self.jobs.subscribe()
    }

    fn subscribe(&self, session: i64, mailbox: &Arc<Mailbox>) {
        let mut state = self.lock();
        if state.is_closed {
            mailbox.put(Signal::Closed);
            return;
        }
        state.channels.entry(session).or_default().mailboxes.push(Arc::clone(mailbox));
    }

    fn unsubscribe(&self, session: i64, mailbox: &Arc<Mailbox>) {
        let mut state = self.lock();
        if let Some(channel) = state.channels.get_mut(&session) {
            channel.mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
            if channel.mailboxes.is_empty() {
                state.channels.remove(&session);
            }
        }
    }

    /// Publishes what this node appended after it became durable. `first` is the place of the first entry.
    pub(crate) fn publish(&self, session: i64, first: i64, entries: Vec<NewEntry>) -> Offer {
        if entries.is_empty() || !self.is_followed(session) {
            return Offer::Done;
        }
        let entries = entries.into_iter().zip(first..).map(|(entry, seq)| Arc::new(entry.at(seq))).collect();
        self.offer(session, entries)
    }

    /// Publishes entries of one session, in order and without a gap among themselves.
    pub(crate) fn offer(&self, session: i64, entries: Vec<Arc<Entry>>) -> Offer {
        let (Some(first), Some(last)) = (entries.first().map(|e| e.seq), entries.last().map(|e| e.seq))
        else {
            return Offer::Done;
        };
        let mut state = self.lock();
        let Some(channel) = state.channels.get_mut(&session) else { return Offer::Done };
        let published = match channel.published {
            Some(published) => published,
            None if self.is_shared => {
                channel.published = Some(last);
                channel.send(&Signal::Lagged);
                return Offer::Done;
            }
            None => first - 1,
        };
        if first > published + 1 {
            return Offer::Behind(published);
        }
        let fresh: Arc<[Arc<Entry>]> = entries.into_iter().filter(|entry| entry.seq > published).collect();
        if !fresh.is_empty() {
            channel.published = Some(last);
            channel.send(&Signal::Entries(fresh));
        }
        Offer::Done
    }

    /// Says that the log of a session has reached `head`. What is missing here, if that can be known.
    pub(crate) fn hear(&self, session: i64, head: i64) -> Offer {
        let mut state = self.lock();
        let Some(channel) = state.channels.get_mut(&session) else { return Offer::Done };
        match channel.published {
            Some(published) if published < head => Offer::Behind(published),
            Some(_) => Offer::Done,
            None => {
                channel.published = Some(head);
                channel.send(&Signal::Lagged);
                Offer::Done
            }
        }
    }

    /// Tells the followers of a session to re-read it up to `head` by themselves.
    pub(crate) fn skip(&self, session: i64, head: i64) {
        if let Some(channel) = self.lock().channels.get_mut(&session) {
            channel.published = channel.published.max(Some(head));
            channel.send(&Signal::Lagged);
        }
    }

    /// Tells the followers of a session that it is gone.
    pub(crate) fn delete(&self, session: i64) {
        if let Some(mut channel) = self.lock().channels.remove(&session) {
            channel.send(&Signal::Deleted);
        }
    }

    /// Tells everybody that the store closes.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        for (_, mut channel) in state.channels.drain() {
            channel.send(&Signal::Closed);
        }
    }

    fn is_followed(&self, session: i64) -> bool {
        self.lock().channels.contains_key(&session)
    }

    /// The sessions that somebody follows.
    pub(crate) fn followed(&self) -> Vec<i64> {
        self.lock().channels.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use api::ids::Ids;
    use api::time::Clock;
    use api::time::Timestamp;

    use super::*;

    fn entries(numbers: std::ops::RangeInclusive<i64>) -> Vec<Arc<Entry>> {
        let ids = Ids::new(Clock::manual(Timestamp(0)));
        let entry = |seq| Entry {
            seq,
            thread: ids.make(),
            id: ids.make(),
            kind: EventKind::AgentMessage,
            public: None,
            private: None,
            created_at: Timestamp(0),
            processed_at: None,
            processes: None,
        };
        numbers.map(|seq| Arc::new(entry(seq))).collect()
    }

    fn numbers(signal: Option<Signal>) -> Vec<i64> {
        match signal {
            Some(Signal::Entries(entries)) => entries.iter().map(|entry| entry.seq).collect(),
            Some(Signal::Lagged) => vec![-1],
            None => Vec::new(),
            Some(signal @ (Signal::Preview(_) | Signal::Deleted | Signal::Closed)) => panic!("{signal:?}"),
        }
    }

    #[test]
    fn a_shared_hub_publishes_in_order_without_a_gap_or_a_repetition() {
        let hub = Hub::new(true);
        let mailbox = Arc::new(Mailbox::default());
        hub.subscribe(7, &mailbox);
        // What other nodes wrote before this cannot be known here.
        assert_eq!(hub.offer(7, entries(5..=6)), Offer::Done);
        assert_eq!(numbers(mailbox.take()), [-1]);
        assert_eq!(hub.offer(7, entries(9..=9)), Offer::Behind(6));
        assert_eq!(hub.hear(7, 9), Offer::Behind(6));
        assert!(numbers(mailbox.take()).is_empty());
        assert_eq!(hub.offer(7, entries(6..=9)), Offer::Done);
        assert_eq!(numbers(mailbox.take()), [7, 8, 9]);
        assert_eq!(hub.offer(7, entries(9..=9)), Offer::Done);
        assert_eq!(hub.hear(7, 8), Offer::Done);
        assert!(numbers(mailbox.take()).is_empty());
        hub.skip(7, 20);
        assert_eq!(numbers(mailbox.take()), [-1]);
        assert_eq!(hub.offer(7, entries(21..=21)), Offer::Done);
        assert_eq!(numbers(mailbox.take()), [21]);
    }

    #[test]
    fn a_hub_forgets_a_session_that_nobody_follows() {
        let hub = Hub::new(false);
        let mailbox = Arc::new(Mailbox::default());
        hub.subscribe(7, &mailbox);
        assert_eq!(hub.offer(7, entries(3..=3)), Offer::Done);
        assert_eq!(numbers(mailbox.take()), [3]);
        hub.unsubscribe(7, &mailbox);
        assert_eq!(hub.followed(), [0_i64; 0]);
    }
}
