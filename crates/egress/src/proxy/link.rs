//! A connection of a sandbox to a host, and what the usage log knows of it.

use std::io;
use std::sync::Arc;

use super::buffered::Buffered;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::dial;
use crate::dial::Failure;
use crate::policy::Policy;
use crate::session::Flow;
use crate::session::Session;
use crate::usage_log::Protocol;

/// A connection to a host.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) target: Target,
    pub(super) buffered: Buffered,
    pub(super) flow: Flow,
}

impl Link {
    /// Connects to a target that `rule` has allowed. Both ends of the matter are noted in the usage log.
    pub(super) async fn open(
        session: &Arc<Session>,
        policy: &Policy,
        target: &Target,
        protocol: Protocol,
        rule: Rule,
    ) -> Result<Self, Decision> {
        match dial::dial(session.resolved(), policy, target).await {
            Ok((stream, address)) => {
                let flow = session.begin(target, address, protocol, rule);
                Ok(Self { target: target.clone(), buffered: Buffered::new(stream), flow })
            }
            Err(failure) => {
                let Failure { decision, address } = *failure;
                session.note(target, address, protocol, &decision);
                Err(decision)
            }
        }
    }

    /// Whether another request can go through: nothing has come unasked, not even the end.
    pub(super) fn is_fresh(&self) -> bool {
        let mut byte = [0];
        let read = self.buffered.stream.try_read(&mut byte);
        self.buffered.buffer.is_empty() && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}
