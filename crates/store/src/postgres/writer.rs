//! The writer task: batches whatever queued while the last commit ran, and keeps its connection alive.

use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;

use api::time::Clock;
use deadpool_postgres::Pool;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Request;
use super::connection::Connector;
use super::doorbell;
use super::failure::Failure;
use super::transaction::Link;
use crate::Append;
use crate::Appended;
use crate::error::Error;
use crate::follow::Hub;
use crate::follow::Offer;
use crate::limits;

const OP: &str = "append to a session";

pub(crate) struct Writer {
    connector: Connector,
    pool: Pool,
    clock: Clock,
    hub: Arc<Hub>,
    link: Option<Link>,
    /// Where the doorbell finds which notifications are this node's own.
    process: Arc<AtomicI32>,
}

impl Writer {
    pub(crate) fn new(
        connector: Connector,
        pool: Pool,
        clock: Clock,
        hub: Arc<Hub>,
        process: Arc<AtomicI32>,
    ) -> Self {
        Self { connector, pool, clock, hub, link: None, process }
    }

    /// Works until the store closes, then finishes what is queued.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.recv().await {
            let mut bytes = first.append.bytes();
            let mut requests = vec![first];
            while requests.len() < limits::WRITES_PER_COMMIT_MAX && bytes < limits::BYTES_PER_COMMIT_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.append.bytes();
                requests.push(next);
            }
            self.serve(requests).await;
        }
    }

    async fn serve(&mut self, requests: Vec<Request>) {
        match self.append(&requests).await {
            Ok(results) => self.finish(requests, results).await,
            Err(Failure::Duplicate | Failure::Dangling | Failure::Refused(_)) if requests.len() > 1 => {
                // One of them is at fault; alone, each gets its own answer.
                for request in requests {
                    let result = self.append(std::slice::from_ref(&request)).await;
                    let results = result.unwrap_or_else(|failure| vec![Err(alone(&request.append, failure))]);
                    self.finish(vec![request], results).await;
                }
            }
            Err(failure) if requests.len() == 1 => {
                let results = vec![Err(alone(&requests[0].append, failure))];
                self.finish(requests, results).await;
            }
            Err(failure) => {
                let (words, is_unknown) = (failure.words(), matches!(failure, Failure::Unknown(_)));
                for request in requests {
                    let error =
                        Error::Database { op: OP.to_owned(), is_unknown, source: words.clone().into() };
                    request.reply.send(Err(error)).ok();
                }
            }
        }
    }

    /// Appends with as many attempts as are sensible.
    async fn append(&mut self, requests: &[Request]) -> Result<Vec<Result<Appended, Error>>, Failure> {
        let appends: Vec<&Append> = requests.iter().map(|request| &request.append).collect();
        let silence_max = self.connector.silence_max();
        let mut attempt = 1;
        loop {
            let now = self.clock.now();
            let result = match self.connect().await {
                Ok(link) => match timeout(silence_max, link.append(&appends, now)).await {
                    Ok(result) => result,
                    Err(_) => Err(Failure::Unknown("the database did not answer in time".into())),
                },
                Err(failure) => Err(failure),
            };
            let Err(failure) = result else { return result };
            if matches!(failure, Failure::Lost(_) | Failure::Unknown(_)) {
                self.link = None;
            }
            if !failure.is_worth_another_attempt() || attempt >= limits::ATTEMPTS_MAX {
                return Err(failure);
            }
            tracing::warn!("{OP}, attempt {attempt}: {}", failure.words());
            failure.pause(attempt).await;
            attempt += 1;
        }
    }

    async fn connect(&mut self) -> Result<&Link, Failure> {
        if self.link.as_ref().is_none_or(Link::is_closed) {
            let connect = async {
                let link = Link::new(self.connector.connect().await?).await?;
                self.process.store(link.process().await?, Ordering::Relaxed);
                Ok(link)
            };
            self.link = Some(connect.await.map_err(Failure::before_commit)?);
        }
        self.link.as_ref().ok_or_else(|| Failure::Lost("there is no connection".into()))
    }

    /// Tells followers, then answers, in order.
    async fn finish(&self, requests: Vec<Request>, results: Vec<Result<Appended, Error>>) {
        for (request, result) in requests.into_iter().zip(results) {
            let Request { append, reply } = request;
            if result.is_ok() && !append.jobs.is_empty() {
                self.hub.announce_job();
            }
            if let Ok(Appended { first, last, .. }) = &result
                && let Offer::Behind(_) = self.hub.publish(append.session, *first, append.entries)
            {
                // Another node appended before this, and its entries have not come here yet.
                doorbell::catch_up(&self.pool, &self.hub, append.session, *last).await;
            }
            reply.send(result).ok();
        }
    }
}

/// The error of an append that failed by itself.
fn alone(append: &Append, failure: Failure) -> Error {
    match failure {
        Failure::Duplicate => Error::exists("entry", ids(append)),
        failure => failure.into_error(OP),
    }
}

fn ids(append: &Append) -> String {
    append.entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join(" or ")
}
