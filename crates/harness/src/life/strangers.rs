//! Sandboxes that belong to no session, such as those in which packages are installed: the sweep leaves them alone.
//!
//! Whoever makes such sandboxes is given the back end in this disguise, which notes them from their making until their
//! files are gone. The note is in memory only: what a dead server left of them is an orphan like any other.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use api::ids::SessionId;
use async_trait::async_trait;
use sandbox::Adopted;
use sandbox::Backend;
use sandbox::Error;
use sandbox::LayerName;
use sandbox::LayerReader;
use sandbox::LayerWriter;
use sandbox::Place;
use sandbox::Report;
use sandbox::Sandbox;
use sandbox::Spec;

/// Which sandboxes these are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers(Arc<Mutex<HashSet<SessionId>>>);

impl Strangers {
    /// The back end for those who make them.
    pub(crate) fn watch(&self, backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
        Arc::new(Watched { backend, strangers: self.clone() })
    }

    pub(super) fn has(&self, id: &SessionId) -> bool {
        self.all().contains(id)
    }

    fn all(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    backend: Arc<dyn Backend>,
    strangers: Strangers,
}

#[async_trait]
impl Backend for Watched {
    async fn provision(&self, spec: &Spec) -> Result<Arc<dyn Sandbox>, Error> {
        self.strangers.all().insert(spec.session.clone());
        self.backend.provision(spec).await
    }

    fn find(&self, session: &SessionId) -> Option<Arc<dyn Sandbox>> {
        self.backend.find(session)
    }

    async fn stand_by(&self) -> Result<(), Error> {
        self.backend.stand_by().await
    }

    async fn adopt(&self, session: &SessionId) -> Result<Adopted, Error> {
        self.backend.adopt(session).await
    }

    async fn destroy(&self, session: &SessionId, keep_files: bool) -> Result<(), Error> {
        self.backend.destroy(session, keep_files).await?;
        if !keep_files {
            self.strangers.all().remove(session);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<SessionId>, Error> {
        self.backend.list().await
    }

    fn report(&self) -> Report {
        self.backend.report()
    }

    async fn freeze(&self, session: &SessionId) -> Result<bool, Error> {
        self.backend.freeze(session).await
    }

    async fn kept(&self) -> Result<Vec<SessionId>, Error> {
        self.backend.kept().await
    }

    async fn pack(&self, session: &SessionId) -> Result<LayerReader, Error> {
        self.backend.pack(session).await
    }

    async fn unpack(&self, place: &Place) -> Result<LayerWriter, Error> {
        self.backend.unpack(place).await
    }

    async fn commit(&self, session: &SessionId, layer: &LayerName) -> Result<(), Error> {
        self.backend.commit(session, layer).await?;
        self.strangers.all().remove(session);
        Ok(())
    }

    async fn layers(&self) -> Result<Vec<LayerName>, Error> {
        self.backend.layers().await
    }

    async fn remove_layer(&self, layer: &LayerName) -> Result<(), Error> {
        self.backend.remove_layer(layer).await
    }
}
