//! One at a time for each session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use api::ids::SessionId;
use tokio::sync::OwnedMutexGuard;

type Turn = tokio::sync::Mutex<()>;

/// Who has something done to which session's sandbox.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<SessionId, Weak<Turn>>>);

impl Turns {
    /// Waits until nobody else has the turn for this session, and has it for as long as the answer lives.
    pub(crate) async fn take(&self, session: &SessionId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turn| turn.strong_count() > 0);
            let turn = all.get(session).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Turn::new(())));
            all.insert(session.clone(), Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}
