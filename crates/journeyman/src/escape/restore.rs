//! A session whose checkpoint comes from somebody else: the node that had it last, or whoever can write where checkpoints
//! are kept. What is in the row and in the blob store agrees, so nothing but the reading of it is in the way.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use api::ids::SessionId;
use api::time::Clock;
use bytes::Bytes;
use store::BlobTarget;
use store::Blobs;
use store::Checkpoint;
use store::SandboxRecord;
use store::Store;

use super::ground::Ground;
use super::layer;
use super::play;
use super::report::Finding;
use super::report::Verdict;
use super::script::Turn;
use crate::client::Client;
use crate::config::Settings;

/// The node that the sandbox was on, so that its checkpoint counts and not what is here.
const ELSEWHERE: &str = "elsewhere";
/// Times that the server may be faster.
const TAKES_MAX: u32 = 8;
const EXPECTED: &str = "the checkpoint is refused, and the call fails";

/// Checkpoints of one session.
pub(super) struct Checkpoints<'a> {
    store: &'a Store,
    blobs: Blobs,
    session: &'a str,
    count: u32,
}

impl<'a> Checkpoints<'a> {
    /// Those of a session that has had a sandbox and has none now.
    pub(super) async fn of(settings: &Settings, store: &'a Store, session: &'a str) -> Result<Self> {
        let folder = BlobTarget::Folder(settings.server.data.join("blobs"));
        let blobs = Blobs::open(&folder).await.context("open the blob store")?;
        Ok(Self { store, blobs, session, count: 0 })
    }

    /// Puts this in the place of the session's files and of its checkpoint.
    pub(super) async fn replace(&mut self, layer: Vec<u8>) -> Result<()> {
        self.count += 1;
        let key = format!("checkpoints/{}/prepared-{}", self.session, self.count);
        let mut writer = self.blobs.put(&key).await.context("keep a checkpoint")?;
        writer.write(Bytes::from(layer)).await.context("keep a checkpoint")?;
        let blob = writer.finish().await.context("keep a checkpoint")?;
        self.take_away().await?;
        let checkpoint = Checkpoint {
            key,
            sha256: blob.sha256,
            bytes: i64::try_from(blob.bytes).unwrap_or(i64::MAX),
            made_at: Clock::system().now(),
        };
        let row = self.row().await?;
        let is_noted = self.store.note_checkpoint(&row, &checkpoint).await.context("note a checkpoint")?;
        ensure!(is_noted, "note a checkpoint: the sandbox is in use");
        Ok(())
    }

    /// The server may be making a checkpoint of its own.
    async fn take_away(&self) -> Result<()> {
        for _ in 0..TAKES_MAX {
            let row = self.row().await?;
            if self.store.take_sandbox(&row, ELSEWHERE).await.context("take the sandbox elsewhere")? {
                return Ok(());
            }
        }
        bail!("take the sandbox elsewhere: somebody else was faster {TAKES_MAX} times")
    }

    async fn row(&self) -> Result<SandboxRecord> {
        let id = SessionId::parse(self.session).context("read the id of the session")?;
        let known = self.store.sandbox_sessions_known(&[id]).await.context("look for the sandbox")?;
        known.into_iter().next().and_then(|known| known.sandbox).context("the session has had no sandbox")
    }
}

/// Has each checkpoint restored that must be refused.
pub(super) async fn refusals(
    client: &Client,
    ground: &Ground,
    checkpoints: &mut Checkpoints<'_>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, layer) in layer::refused(ground) {
        checkpoints.replace(layer).await?;
        let played = play::turn(client, checkpoints.session, Turn::Look).await?;
        let verdict = match played.last() {
            Some(call) if call.is_error && call.text.contains("unpack") => {
                (Verdict::Held, call.text.lines().next().unwrap_or_default().to_owned())
            }
            Some(call) => (Verdict::Escaped, format!("unclear: the call met: {}", call.text)),
            None => (Verdict::Escaped, "unclear: nothing was called".to_owned()),
        };
        findings.push(Finding::new(17, &format!("restore a checkpoint with {name}"), EXPECTED, verdict));
    }
    Ok(findings)
}
