//! What must happen before a call may go to the back end, as a function of what is known.

use api::time::Timestamp;
use store::Checkpoint;
use store::SandboxRecord;

/// What a node finds when a session needs its sandbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Findings<'a> {
    pub(super) row: &'a SandboxRecord,
    pub(super) node: &'a str,
    pub(super) has_files: bool,
    pub(super) now: Timestamp,
    /// Whether another call is at work in the sandbox.
    pub(super) is_in_use: bool,
    /// Whether the node that has the files was asked for them already.
    pub(super) has_asked: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The files here are the newest, and nothing needs to be written.
    Go,
    /// The same, but the row must say that they change from now on.
    Take,
    /// Another node has newer files than the blob store: it is asked for them.
    Ask,
    /// The files come from the blob store.
    Restore {
        checkpoint: Checkpoint,
        /// Something was done after the checkpoint, and is lost.
        is_behind: bool,
    },
    /// There are none to be had.
    Afresh { is_loss: bool },
    /// The time of the sandbox is over.
    Expire,
}

/// Decides.
pub(super) fn plan(findings: Findings<'_>) -> Plan {
    let Findings { row, node, has_files, now, is_in_use, has_asked } = findings;
    if row.expires_at <= now && !is_in_use {
        return Plan::Expire;
    }
    let is_ours = row.node == node;
    if is_ours && has_files {
        let is_noted = row.is_changed && row.wanted_by.is_none();
        return if is_noted { Plan::Go } else { Plan::Take };
    }
    if !is_ours && row.is_changed && !has_asked {
        return Plan::Ask;
    }
    match &row.checkpoint {
        Some(checkpoint) => Plan::Restore { checkpoint: checkpoint.clone(), is_behind: row.is_changed },
        None => Plan::Afresh { is_loss: row.is_changed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

    fn checkpoint() -> Checkpoint {
        Checkpoint { key: "checkpoints/s/1".to_owned(), sha256: "ab".repeat(32), bytes: 9, made_at: NOW }
    }

    fn row(node: &str, is_changed: bool, checkpoint: Option<Checkpoint>) -> SandboxRecord {
        SandboxRecord {
            session: 1,
            node: node.to_owned(),
            root: "{}".to_owned(),
            created_at: NOW,
            expires_at: NOW.plus_millis(1000),
            is_changed,
            wanted_by: None,
            number: i64::from(checkpoint.is_some()),
            checkpoint,
        }
    }

    fn planned(row: &SandboxRecord, has_files: bool, has_asked: bool) -> Plan {
        plan(Findings { row, node: "here", has_files, now: NOW, is_in_use: false, has_asked })
    }

    #[test]
    fn the_newest_files_are_used_wherever_they_are() {
        let restore = |is_behind| Plan::Restore { checkpoint: checkpoint(), is_behind };
        let rows = [
            (row("here", true, None), true, Plan::Go),
            (row("here", false, Some(checkpoint())), true, Plan::Take),
            (row("here", false, Some(checkpoint())), false, restore(false)),
            (row("here", true, Some(checkpoint())), false, restore(true)),
            (row("here", true, None), false, Plan::Afresh { is_loss: true }),
            (row("there", false, Some(checkpoint())), true, restore(false)),
            (row("there", true, Some(checkpoint())), true, Plan::Ask),
            (row("there", true, None), false, Plan::Ask),
        ];
        for (row, has_files, expected) in rows {
            assert_eq!(planned(&row, has_files, false), expected, "{row:?} {has_files}");
        }
        assert_eq!(planned(&row("there", true, Some(checkpoint())), true, true), restore(true));
        assert_eq!(planned(&row("there", true, None), true, true), Plan::Afresh { is_loss: true });
    }

    #[test]
    fn time_is_over_only_while_nobody_is_at_work() {
        let row = row("here", true, None);
        let at = |millis, is_in_use| {
            let now = NOW.plus_millis(millis);
            plan(Findings { row: &row, node: "here", has_files: true, now, is_in_use, has_asked: false })
        };
        assert_eq!([at(999, false), at(1000, true), at(1000, false)], [Plan::Go, Plan::Go, Plan::Expire]);
    }
}
