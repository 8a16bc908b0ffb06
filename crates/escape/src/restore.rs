//! A session whose checkpoint comes from somebody else: the node that had it last, or whoever can write where checkpoints
//! are kept. What is in the row and in the blob store agrees, so nothing but the reading of it is in the way.

use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use api::ids::SessionId;
use api::time::Clock;
use bytes::Bytes;
use store::BlobTarget;
use store::Blobs;
use store::Checkpoint;
use store::SandboxRecord;
use store::Store;
use store::Target;

use crate::client::Client;
use crate::play;
use crate::report::Finding;
use crate::report::Verdict;
use crate::script::Turn;

/// The node that the sandbox was on, so that its checkpoint counts and not what is here.
const ELSEWHERE: &str = "elsewhere";
const EXPECTED: &str = "the checkpoint is refused, and the call fails";

/// Checkpoints of one session, put in place while no server runs.
pub(crate) struct Checkpoints<'a> {
    data: PathBuf,
    session: &'a str,
    count: u32,
}

impl<'a> Checkpoints<'a> {
    /// Those of a session that has had a sandbox and has none now.
    pub(crate) fn of(data: PathBuf, session: &'a str) -> Self {
        Self { data, session, count: 0 }
    }

    /// Puts this in the place of the session's files and of its checkpoint.
    pub(crate) async fn replace(&mut self, layer: Vec<u8>) -> Result<()> {
        self.count += 1;
        let key = format!("checkpoints/{}/prepared-{}", self.session, self.count);
        let folder = BlobTarget::Folder(self.data.join("blobs"));
        let blobs = Blobs::open(&folder).await.context("open the blob store")?;
        let mut writer = blobs.put(&key).await.context("keep a checkpoint")?;
        writer.write(Bytes::from(layer)).await.context("keep a checkpoint")?;
        let blob = writer.finish().await.context("keep a checkpoint")?;
        let clock = Clock::system();
        let target = Target::Sqlite(self.data.join("journeyman.db"));
        let store = Store::open(&target, clock.clone()).await.context("open the store")?;
        let row = self.row(&store).await?;
        let is_taken = store.take_sandbox(&row, ELSEWHERE).await.context("take the sandbox elsewhere")?;
        ensure!(is_taken, "take the sandbox elsewhere: its row has changed meanwhile");
        let checkpoint = Checkpoint {
            key,
            sha256: blob.sha256,
            bytes: i64::try_from(blob.bytes).unwrap_or(i64::MAX),
            made_at: clock.now(),
        };
        let row = self.row(&store).await?;
        let is_noted = store.note_checkpoint(&row, &checkpoint).await.context("note a checkpoint")?;
        ensure!(is_noted, "note a checkpoint: the sandbox is in use");
        Ok(())
    }

    async fn row(&self, store: &Store) -> Result<SandboxRecord> {
        let id = SessionId::parse(self.session).context("read the id of the session")?;
        let known = store.sandbox_sessions_known(&[id]).await.context("look for the sandbox")?;
        known.into_iter().next().and_then(|known| known.sandbox).context("the session has had no sandbox")
    }
}

/// Has the session's checkpoint restored, which must be refused.
pub(crate) async fn refusal(client: &Client, session: &str, name: &str) -> Result<Finding> {
    let played = play::turn(client, session, Turn::Look).await?;
    let verdict = match played.last() {
        Some(call) if call.is_error && call.text.contains("unpack") => {
            (Verdict::Held, call.text.lines().next().unwrap_or_default().to_owned())
        }
        Some(call) => (Verdict::Escaped, format!("unclear: the call met: {}", call.text)),
        None => (Verdict::Escaped, "unclear: nothing was called".to_owned()),
    };
    Ok(Finding::new(17, &format!("restore a checkpoint with {name}"), EXPECTED, verdict))
}
