//! What the rest of the server asks of sandboxes in containers.

use std::sync::Arc;
use std::time::Instant;

use api::ids::SessionId;
use api::time::Timestamp;
use async_trait::async_trait;

use super::ATTEMPTS_TIME;
use super::Docker;
use super::PAUSE;
use super::engine::Found;
use super::lock;
use super::report;
use crate::Adopted;
use crate::Backend;
use crate::Error;
use crate::FilePath;
use crate::FilePlace;
use crate::FileWriter;
use crate::Folder;
use crate::LayerName;
use crate::Report;
use crate::Sandbox;
use crate::Spec;
use crate::Status;
use crate::Usage;
use crate::beneath;
use crate::given;

#[async_trait]
impl Backend for Docker {
    async fn provision(&self, spec: &Spec) -> Result<Arc<dyn Sandbox>, Error> {
        Self::check(spec)?;
        let _turn = self.turns.take(&spec.session).await;
        self.note_policy(spec).await?;
        if let Some(connection) = self.connected(&spec.session) {
            return Ok(connection);
        }
        let begin = Instant::now();
        while begin.elapsed() < ATTEMPTS_TIME {
            let was_running = self.start(spec).await?;
            if let Some(connection) = self.meet(&spec.session, Some(spec), was_running).await? {
                return Ok(self.keep(connection));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Error::Lost { session: spec.session.clone() })
    }

    fn find(&self, session: &SessionId) -> Option<Arc<dyn Sandbox>> {
        self.connected(session).map(|connection| connection as Arc<dyn Sandbox>)
    }

    async fn adopt(&self, session: &SessionId) -> Result<Adopted, Error> {
        let _turn = self.turns.take(session).await;
        if let Some(connection) = self.connected(session) {
            let sole_since = connection.sole_since();
            return Ok(Adopted { sandbox: Some(connection), sole_since });
        }
        let begin = Instant::now();
        while begin.elapsed() < ATTEMPTS_TIME {
            let absent_since: Option<Timestamp> = match self.engine.find(session).await? {
                Found::Running { is_paused, .. } => {
                    if is_paused {
                        self.engine.thaw(session).await?;
                    }
                    let Some(connection) = self.meet(session, None, true).await? else {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    };
                    let sole_since = connection.sole_since();
                    return Ok(Adopted { sandbox: Some(self.keep(connection)), sole_since });
                }
                Found::Still { since, .. } => since,
                Found::Absent => None,
            };
            return Ok(Adopted { sandbox: None, sole_since: absent_since });
        }
        Err(Error::Lost { session: session.clone() })
    }

    async fn destroy(&self, session: &SessionId, keep_files: bool) -> Result<(), Error> {
        let _turn = self.turns.take(session).await;
        self.forget(session);
        if keep_files {
            self.network.close(session, false);
            self.network.release(session);
            return self.engine.kill(session).await;
        }
        self.discard(session).await
    }

    async fn list(&self) -> Result<Vec<SessionId>, Error> {
        self.engine.list(false).await
    }

    async fn kept(&self) -> Result<Vec<SessionId>, Error> {
        self.engine.list(true).await
    }

    async fn freeze(&self, session: &SessionId) -> Result<bool, Error> {
        let _turn = self.turns.take(session).await;
        // Whoever wants it from now on asks the engine, which lets it thaw.
        self.forget(session);
        self.engine.freeze(session).await
    }

    async fn usage(&self, session: &SessionId) -> Result<Option<Usage>, Error> {
        self.engine.usage(session).await
    }

    async fn put_file(&self, place: &FilePlace) -> Result<FileWriter, Error> {
        let folder = self.shown(&place.session, &place.folder)?;
        self.files.make(&place.session).map_err(|error| given::failed(place, &error))?;
        let file = beneath::nameless(&folder).map_err(|error| given::failed(place, &error))?;
        Ok(FileWriter::of_folder(file, place.clone(), folder))
    }

    async fn remove_file(&self, session: &SessionId, folder: &Folder, path: &FilePath) -> Result<(), Error> {
        let folder = self.shown(session, folder)?;
        if !folder.exists() {
            return Ok(());
        }
        beneath::remove(&folder, path, true).map_err(|error| Error::Layer {
            attempt: format!("take the file {path} from session {session}"),
            reason: error.to_string(),
        })
    }

    async fn commit(&self, session: &SessionId, layer: &LayerName) -> Result<(), Error> {
        let _turn = self.turns.take(session).await;
        self.check_rests(session, &format!("make layer {layer} of the files of session {session}")).await?;
        // One that is there already stays: two layers of one name hold the same.
        if !self.engine.layers().await?.contains(layer) {
            self.engine.commit(session, layer).await?;
        }
        self.discard(session).await
    }

    async fn layers(&self) -> Result<Vec<LayerName>, Error> {
        self.engine.layers().await
    }

    async fn remove_layer(&self, layer: &LayerName) -> Result<(), Error> {
        self.engine.remove_layer(layer).await
    }

    fn status(&self) -> Option<Status> {
        lock(&self.status).clone()
    }

    fn report(&self) -> Report {
        report::report(&self.config)
    }
}
