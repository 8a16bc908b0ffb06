//! Hearing of what other nodes append: notifications as a hint, and a look at the table every second.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_postgres::AsyncMessage;
use tokio_postgres::Notification;

use super::connection;
use super::connection::Connector;
use super::failure::Failure;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::error::Error;
use crate::follow::Hub;
use crate::follow::Offer;
use crate::limits;
use crate::log;

/// The channel that every writer rings.
pub(crate) const CHANNEL: &str = "journeyman_entries";
/// Tells other nodes of a job.
pub(crate) const ANNOUNCE_JOB: &str = "NOTIFY journeyman_entries, 'jobs'";
/// What a payload says of jobs.
const JOBS: &str = "jobs";
/// Payload that stands for more sessions than fit, and for jobs.
pub(crate) const EVERYTHING: &str = "*";

#[derive(Clone)]
pub(crate) struct Doorbell {
    pub(crate) connector: Connector,
    pub(crate) pool: Pool,
    pub(crate) hub: Arc<Hub>,
    /// Process of this node's writer on the server, whose notifications tell nothing new.
    pub(crate) writer_process: Arc<AtomicI32>,
}

impl Doorbell {
    /// Listens, and connects again whenever the connection breaks.
    pub(crate) async fn listen(self) {
        loop {
            if let Err(failure) = self.listen_once().await {
                tracing::warn!(
                    "listen to other nodes: {}; followers wait up to a second longer",
                    failure.words()
                );
            }
            tokio::time::sleep(Duration::from_millis(limits::RECONNECT_MS)).await;
        }
    }

    async fn listen_once(&self) -> Result<(), Failure> {
        let (client, mut connection) = self.connector.connect_raw().await?;
        let (sender, mut notifications) = mpsc::channel(limits::NOTIFICATIONS_QUEUED_MAX);
        self.connector.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message {
                    // A full queue is no loss: the table is looked at anyway.
                    sender.try_send(notification).ok();
                }
            }
        });
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await.map_err(Failure::before_commit)?;
        self.look().await;
        while let Some(notification) = notifications.recv().await {
            self.hear(&notification).await;
        }
        Err(Failure::Lost("the connection ended".into()))
    }

    async fn hear(&self, notification: &Notification) {
        if notification.process_id() == self.writer_process.load(Ordering::Relaxed) {
            return;
        }
        let payload = notification.payload();
        if payload == EVERYTHING || payload.split(',').any(|item| item == JOBS) {
            self.hub.announce_job();
        }
        if payload == EVERYTHING {
            return self.look().await;
        }
        for (session, head) in read_payload(payload) {
            catch_up(&self.pool, &self.hub, session, head).await;
        }
    }

    /// Looks at the heads of followed sessions from time to time.
    pub(crate) async fn poll(self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(limits::POLL_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let followed = self.hub.followed();
        for sessions in followed.chunks(limits::SESSIONS_PER_LOOK_MAX) {
            // Followers only wait longer; whoever reads or writes hears of the failure itself.
            if let Err(error) = self.look_at(sessions).await {
                tracing::debug!("look at followed sessions: {error}");
            }
        }
    }

    async fn look_at(&self, sessions: &[i64]) -> Result<(), Error> {
        let (first, last) = (sessions.iter().min().copied(), sessions.iter().max().copied());
        let list = sessions.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        // The range lets the database use the key's index, the list of texts keeps it to one statement for any number.
        let heads = Stmt::new(
            "SELECT key, head FROM session
             WHERE key >= $1 AND key <= $2 AND key = ANY (string_to_array($3, ',')::bigint[])",
            [Value::from(first), Value::from(last), Value::Text(list)],
        );
        let rows = connection::query(&self.pool, "look at followed sessions", &heads).await?;
        let mut gone: std::collections::HashSet<i64> = sessions.iter().copied().collect();
        for mut row in rows {
            let (session, head) = (row.int("key of a session")?, row.int("head of a session")?);
            gone.remove(&session);
            catch_up(&self.pool, &self.hub, session, head).await;
        }
        for session in gone {
            self.hub.delete(session);
        }
        Ok(())
    }
}

/// Gives the followers of a session what they lack up to `head`, or tells them to read it themselves.
pub(crate) async fn catch_up(pool: &Pool, hub: &Hub, session: i64, head: i64) {
    let Offer::Behind(published) = hub.hear(session, head) else { return };
    let limit = limits::CATCH_UP_ENTRIES_MAX;
    let read = log::entries_after(session, published, limit);
    let rows = connection::query(pool, "read what other nodes appended", &read).await;
    let entries = rows.and_then(|rows| {
        rows.into_iter().map(|mut row| log::read(&mut row).map(Arc::new)).collect::<Result<Vec<_>, _>>()
    });
    match entries {
        Ok(entries) if entries.len() < limit => {
            hub.offer(session, entries);
        }
        Ok(_) => hub.skip(session, head),
        Err(error) => {
            tracing::warn!("{error}");
            hub.skip(session, head);
        }
    }
}

/// Sessions and their heads, `7=12,9=3`, after [`JOBS`] when there are new ones; [`EVERYTHING`] when they do not fit.
pub(crate) fn write_payload(heads: impl Iterator<Item = (i64, i64)>, has_jobs: bool) -> String {
    let mut payload = if has_jobs { JOBS.to_owned() } else { String::new() };
    for (session, head) in heads {
        if !payload.is_empty() {
            payload.push(',');
        }
        payload.push_str(&session.to_string());
        payload.push('=');
        payload.push_str(&head.to_string());
        if payload.len() > limits::NOTIFICATION_BYTES_MAX {
            return EVERYTHING.to_owned();
        }
    }
    payload
}

fn read_payload(payload: &str) -> Vec<(i64, i64)> {
    let read = |pair: &str| {
        let (session, head) = pair.split_once('=')?;
        Some((session.parse().ok()?, head.parse().ok()?))
    };
    payload.split(',').filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_as_it_was_written_and_never_too_long() {
        let heads = [(7, 12), (9, 3)];
        assert_eq!(read_payload(&write_payload(heads.into_iter(), false)), heads);
        assert_eq!(read_payload(&write_payload(std::iter::empty(), true)), []);
        assert_eq!(write_payload((0..2000).map(|n| (1_000_000 + n, 1_000_000)), true), EVERYTHING);
        let longest = write_payload((0..490).map(|n| (1_000_000 + n, 1_000_000)), true);
        assert!(longest.len() < 8000 && longest != EVERYTHING);
        assert_eq!(read_payload("nonsense,=,3=x"), []);
    }
}
