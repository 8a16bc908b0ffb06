//! Leases: which node works on a session. Times are those of the lease clock; see [`Store::open`].

use crate::Claim;
use crate::Error;
use crate::Lease;
use crate::Store;
use crate::backend::Batch;
use crate::backend::Outcome;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::limits;

impl Store {
    /// Takes the lease of a session when it is free or expired. `None` when somebody holds it, or the session is gone.
    pub async fn claim(&self, session: i64, claim: &Claim) -> Result<Option<Lease>, Error> {
        let Claim { node, ttl_ms } = claim;
        let take = Stmt::new(
            "UPDATE session SET epoch = epoch + 1, holder = $1, lease_until = lease_now() + $2
             WHERE key = $3 AND (holder IS NULL OR lease_until <= lease_now()) RETURNING epoch",
            [node.into(), ttl_ms.saturating_mul(1000).into(), session.into()],
        );
        match self.backend.commit("claim a session", vec![take]).await? {
            Outcome::Done(rows) => {
                let taken = rows.into_iter().next().and_then(|mut rows| rows.pop());
                let lease = |epoch| Lease { node: node.clone(), epoch };
                taken.map(|mut row| row.int("epoch of a session").map(lease)).transpose()
            }
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Ok(None),
        }
    }

    /// Prolongs leases, given as session and epoch, to `ttl_ms` from now. Returns the sessions whose lease is lost. A
    /// lease that expired but was not taken by anybody is prolonged too.
    pub async fn renew(&self, leases: &[(i64, i64)], ttl_ms: i64) -> Result<Vec<i64>, Error> {
        // In order of the key, as appends take the rows: two transactions never wait for each other.
        let mut leases = leases.to_vec();
        leases.sort_unstable();
        let mut lost = Vec::new();
        for leases in leases.chunks(limits::RENEWALS_PER_COMMIT_MAX) {
            let renew = |(session, epoch): &(i64, i64)| {
                Stmt::new(
                    "UPDATE session SET lease_until = lease_now() + $1
                     WHERE key = $2 AND epoch = $3 AND holder IS NOT NULL RETURNING key",
                    [ttl_ms.saturating_mul(1000).into(), (*session).into(), (*epoch).into()],
                )
            };
            let batch: Batch = leases.iter().map(renew).collect();
            let Outcome::Done(rows) = self.backend.commit("renew leases", batch).await? else { continue };
            lost.extend(
                leases.iter().zip(rows).filter(|(_, rows)| rows.is_empty()).map(|((session, _), _)| *session),
            );
        }
        Ok(lost)
    }

    /// Sessions with work that nobody holds, oldest first.
    pub async fn claimable(&self, limit: usize) -> Result<Vec<i64>, Error> {
        let mut select = Select::new("SELECT key FROM session WHERE runnable = $1", 1_i64);
        select.push(" AND runnable = 1 AND (holder IS NULL OR lease_until <= lease_now()) ORDER BY key");
        let rows = self.backend.query("list claimable sessions", select.limit(limit)).await?;
        rows.into_iter().map(|mut row| row.int("key of a session")).collect()
    }

    /// Gives back every lease of the nodes whose name starts with `node_prefix`; work that is left stays claimable, and
    /// so do its jobs. Returns how many sessions there were.
    pub async fn release_node(&self, node_prefix: &str) -> Result<usize, Error> {
        let release = Stmt::new(
            "UPDATE session SET holder = NULL
             WHERE holder IS NOT NULL AND substr(holder, 1, length($1)) = $1 RETURNING key",
            [node_prefix.into()],
        );
        let jobs = Stmt::new(
            "UPDATE job SET holder = NULL WHERE holder IS NOT NULL AND substr(holder, 1, length($1)) = $1",
            [node_prefix.into()],
        );
        match self.backend.commit("release the leases of a node", vec![release, jobs]).await? {
            Outcome::Done(rows) => Ok(rows.first().map_or(0, Vec::len)),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Ok(0),
        }
    }
}
