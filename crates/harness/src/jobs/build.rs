//! Kind `build`: installs what an environment wants into a layer; see `environments::builds`.

use async_trait::async_trait;
use store::Job;

use super::Done;
use super::Failure;
use super::Handler;
use super::Rules;
use crate::environments::BUILD;
use crate::environments::Environments;
use crate::limits;

pub(super) struct Builds(pub(super) Environments);

#[async_trait]
impl Handler for Builds {
    fn rules(&self) -> Rules {
        Rules {
            kind: BUILD,
            // They wait for each other in turn, visibly; see `BUILDS_MAX`.
            at_once_max: limits::BUILDS_WAITING_MAX,
            attempts_max: limits::BUILD_ATTEMPTS_MAX,
            attempt_max: limits::BUILD_ATTEMPT_MAX,
            pause_ms: limits::BUILD_RETRY_MS,
            pause_ms_max: limits::BUILD_RETRY_MS,
        }
    }

    async fn run(&self, job: &Job) -> Result<Done, Failure> {
        let order = serde_json::from_str(&job.body)
            .map_err(|error| Failure::Permanent { reason: format!("read what to build: {error}") })?;
        let built = self.0.build(job, order).await;
        built.map(|()| Done::Committed).map_err(|reason| Failure::Transient { reason })
    }
}
