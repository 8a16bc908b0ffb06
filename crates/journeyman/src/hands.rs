//! The back end for sandboxes that the configuration chooses.

use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use sandbox::Backend;
use sandbox::Embedded;
use sandbox::SpawnerInfo;
use sandbox::docker;
use sandbox::docker::Docker;

use crate::config::Settings;
use crate::config::settings::BackendKind;
use crate::data;

/// Where the tools of this server's sessions run. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) enum Hands {
    /// Sandboxes of this machine.
    Embedded(Arc<Embedded>),
    /// Containers of a Docker engine.
    Docker(Arc<Docker>),
}

impl Hands {
    /// The configured back end. Nothing is started yet.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let data = data::open(&settings.server.data)?;
        let data = data.canonicalize().with_context(|| format!("find {}", data.display()))?;
        let alive_max = settings.sandbox.alive_max;
        let defaults = sandbox::Config::new(&data).context("set up the sandboxes")?;
        match settings.sandbox.backend {
            BackendKind::Embedded => {
                let mut arguments = defaults.arguments;
                arguments.extend(["--disk".into(), settings.sandbox.disk.name().into()]);
                let config = sandbox::Config { alive_max, arguments, ..defaults };
                Ok(Self::Embedded(Arc::new(Embedded::new(config))))
            }
            BackendKind::Docker => {
                let docker = settings.sandbox.docker.clone();
                let Some(image) = docker.image else {
                    bail!(
                        "set up the sandboxes: sandbox.backend is \"docker\", which needs sandbox.docker.image"
                    );
                };
                Ok(Self::Docker(Arc::new(Docker::new(docker::Config {
                    socket: docker.socket,
                    data_dir: data,
                    image,
                    alive_max,
                    program: defaults.program,
                    runtime: docker.runtime,
                }))))
            }
        }
    }

    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        match self {
            Self::Embedded(embedded) => Arc::clone(embedded) as Arc<dyn Backend>,
            Self::Docker(docker) => Arc::clone(docker) as Arc<dyn Backend>,
        }
    }

    /// Whether what a session wrote can be packed, so that there are checkpoints. Containers keep it themselves.
    pub(crate) fn packs(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    /// Starts what the first call would wait for, and says what is missing. Not cut short by a stop: a spawner that has
    /// just begun to start could not be ended then.
    pub(crate) async fn begin(self) {
        let status = match self {
            Self::Embedded(hands) => match hands.spawner().await {
                Ok(SpawnerInfo { pid: _, status }) => status,
                Err(error) => {
                    tracing::error!(error = %error, "start the spawner failed; tool calls will try again");
                    return;
                }
            },
            Self::Docker(hands) => hands.look().await,
        };
        if status.mode.is_none() {
            tracing::error!("this host cannot make sandboxes: tool calls will fail; run `journeyman doctor`");
        } else if !status.missing.is_empty() {
            let missing = status.missing.join(", ");
            tracing::warn!("sandboxes lack {missing}; `journeyman doctor` says what to do");
        }
    }

    /// Ends every sandbox: nothing of this server is left.
    pub(crate) async fn end(&self) -> Result<()> {
        match self {
            Self::Embedded(hands) => hands.shut_down().await.context("end the sandboxes"),
            Self::Docker(hands) => {
                for session in hands.list().await.context("list the sandboxes")? {
                    hands.destroy(&session, true).await.context("end the sandboxes")?;
                }
                Ok(())
            }
        }
    }

    /// Leaves running sandboxes to the next server. Where there are none, the spawner goes too.
    pub(crate) async fn leave(&self) {
        let Self::Embedded(hands) = self else { return };
        let is_empty = hands.list().await.is_ok_and(|sessions| sessions.is_empty());
        if is_empty && let Err(error) = hands.shut_down().await {
            tracing::warn!(error = %error, "end the spawner failed; it ends by itself in some minutes");
        }
    }
}
