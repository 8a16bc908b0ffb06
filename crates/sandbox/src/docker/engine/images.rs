//! Layers as images of the engine: what a container wrote, over the image that the container was made from.
//!
//! An image is named after the data folder and the layer, and its labels say which image it stands on. The operator may
//! give the configured image another content under the same name; a layer that was made over the former one is then not
//! there, and is made anew.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use api::ids::SessionId;
use bollard::errors::Error as Refused;
use bollard::models::ContainerConfig;
use bollard::query_parameters::CommitContainerOptionsBuilder;
use bollard::query_parameters::ListImagesOptionsBuilder;
use bollard::query_parameters::PruneImagesOptionsBuilder;
use bollard::query_parameters::RemoveImageOptionsBuilder;
use sha2::Digest;
use sha2::Sha256;

use super::Engine;
use super::container;
use super::name;
use super::status;
use crate::Error;
use crate::LayerName;
use crate::Root;

/// Label: the layer that an image holds.
const LAYER: &str = "journeyman.layer";
/// Label: the image that it stands on.
const BASE: &str = "journeyman.base";

/// How long the engine may take to make an image.
const MAKING_MAX: Duration = Duration::from_mins(30);
/// Bytes of the digest of the data folder that tell the images of servers apart.
const FOLDER_BYTES: usize = 8;

impl Engine {
    /// The image that a container with this root is made from.
    pub(in crate::docker) fn image(&self, root: &Root) -> String {
        root.layers.last().map_or_else(|| self.config.image.clone(), |layer| self.reference(layer))
    }

    /// The id of the configured image.
    pub(in crate::docker) async fn base(&self) -> Result<String, Error> {
        let image = &self.config.image;
        match self.client().await?.inspect_image(image).await {
            Ok(inspected) => Ok(inspected.id.unwrap_or_default()),
            Err(error) if status(&error) == Some(404) => Err(Error::Unavailable {
                reason: format!("the container engine has no image {image}"),
                remedy: format!("give it one: `docker pull {image}`"),
            }),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    /// Makes an image of what a session's container wrote. The container must not run; it stays.
    pub(in crate::docker) async fn commit(
        &self,
        session: &SessionId,
        layer: &LayerName,
    ) -> Result<(), Error> {
        let attempt = || format!("make layer {layer} of the files of session {session}");
        let client = self.client().await?;
        let inspected = client.inspect_container(&name(session), None).await;
        let base = inspected.map_err(|error| self.refused(&attempt(), &error))?.image.unwrap_or_default();
        let labels = [(LAYER, layer.to_string()), (BASE, base)];
        let config = ContainerConfig {
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
            ..ContainerConfig::default()
        };
        let options = CommitContainerOptionsBuilder::new()
            .container(&name(session))
            .repo(&self.repository())
            .tag(layer.as_str())
            .build();
        // An image has its name once it is whole. Until then it must not be taken for one that nobody needs.
        let _alone = self.images.lock().await;
        let patient = client.clone().with_timeout(MAKING_MAX);
        patient.commit_container(options, config).await.map_err(|error| self.refused(&attempt(), &error))?;
        // What had the name before.
        self.prune().await
    }

    /// The layers that stand on the configured image.
    pub(in crate::docker) async fn layers(&self) -> Result<Vec<LayerName>, Error> {
        let base = self.base().await?;
        let options = ListImagesOptionsBuilder::new()
            .filters(&HashMap::from([("label", vec![self.ours(), format!("{BASE}={base}")])]))
            .build();
        let listed = self.client().await?.list_images(Some(options)).await;
        let listed = listed.map_err(|error| self.unreachable(&error))?;
        let named = listed.into_iter().filter(|image| !image.repo_tags.is_empty());
        Ok(named.filter_map(|mut image| image.labels.remove(LAYER)?.parse().ok()).collect())
    }

    /// Removes a layer. Fine when it is not there; refused while a container stands on it.
    pub(in crate::docker) async fn remove_layer(&self, layer: &LayerName) -> Result<(), Error> {
        let attempt = format!("remove layer {layer}");
        let _alone = self.images.lock().await;
        let options = RemoveImageOptionsBuilder::new().force(false).build();
        let removed = self.client().await?.remove_image(&self.reference(layer), Some(options), None).await;
        match removed {
            Err(error) if status(&error) != Some(404) => Err(self.refused(&attempt, &error)),
            Ok(_) | Err(_) => self.prune().await,
        }
    }

    /// Removes images of this server's that have no name any more, and that no container stands on.
    async fn prune(&self) -> Result<(), Error> {
        let filters = HashMap::from([("label", vec![self.ours()]), ("dangling", vec!["true".to_owned()])]);
        let options = PruneImagesOptionsBuilder::new().filters(&filters).build();
        match self.client().await?.prune_images(Some(options)).await {
            // Conflict: somebody else does so.
            Err(error) if status(&error) != Some(409) => Err(self.unreachable(&error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn reference(&self, layer: &LayerName) -> String {
        format!("{}:{layer}", self.repository())
    }

    /// The images of this data folder: other servers of the same engine have others.
    fn repository(&self) -> String {
        let digest = Sha256::digest(self.config.data_dir.as_os_str().as_bytes());
        digest.iter().take(FOLDER_BYTES).fold("journeyman-".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a text takes everything");
            text
        })
    }

    /// The label of everything that belongs to this data folder.
    pub(super) fn ours(&self) -> String {
        format!("{}={}", container::DATA, self.config.data_dir.display())
    }

    fn refused(&self, attempt: &str, error: &Refused) -> Error {
        match error {
            Refused::DockerResponseServerError { message, .. } => {
                Error::Layer { attempt: attempt.to_owned(), reason: message.clone() }
            }
            other => self.unreachable(other),
        }
    }
}
