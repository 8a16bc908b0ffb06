//! `image pull`: the parts of an image from a registry.

use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use futures_util::StreamExt;
use oci_client::Client;
use oci_client::client::ClientConfig;
use oci_client::client::ClientProtocol;
use oci_client::secrets::RegistryAuth;
use sandbox::images;
use sandbox::images::Blob;
use sandbox::images::Blobs;
use sandbox::images::Content;
use sandbox::images::DOCUMENT_BYTES_MAX;
use sandbox::images::Digest;
use sandbox::images::Image;
use sandbox::images::ImageName;
use sandbox::images::Importer;

use super::arguments::Pull;
use super::reference::Reference;
use super::reference::Version;

/// How long a registry may be silent.
const SILENCE_MAX: Duration = Duration::from_mins(1);
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// What a tag may lead to.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A repository of a registry.
struct Repository {
    client: Client,
    reference: oci_client::Reference,
    auth: RegistryAuth,
}

/// A part on its way.
struct Download {
    what: String,
    stream: futures_util::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>,
}

/// A document, whole.
struct Held(Vec<u8>);

/// Takes in the image that `reference` names.
pub(super) async fn pull(
    importer: &Importer<'_>,
    name: &ImageName,
    reference: &Reference,
    auth: RegistryAuth,
    flags: &Pull,
) -> Result<Image> {
    let protocol =
        if flags.insecure || reference.is_local() { ClientProtocol::Http } else { ClientProtocol::Https };
    let config = ClientConfig {
        protocol,
        read_timeout: Some(SILENCE_MAX),
        connect_timeout: Some(CONNECT_MAX),
        user_agent: concat!("journeyman/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    let Reference { registry, repository, version } = reference;
    let named = match version {
        Version::Tag(tag) => {
            oci_client::Reference::with_tag(registry.clone(), repository.clone(), tag.clone())
        }
        Version::Digest(digest) => {
            oci_client::Reference::with_digest(registry.clone(), repository.clone(), digest.to_string())
        }
    };
    let repository = Repository { client: Client::try_from(config)?, reference: named, auth };
    let manifest = repository.manifest(&repository.reference).await?;
    if let Version::Digest(digest) = version {
        let found = Digest::of(&manifest);
        ensure!(*digest == found, "the registry answered with {found} when asked for {digest}");
    }
    Ok(importer.import_manifest(name, &reference.to_string(), &repository, manifest).await?)
}

impl Repository {
    async fn manifest(&self, reference: &oci_client::Reference) -> Result<Vec<u8>, images::Error> {
        let what = format!("the manifest of {reference}");
        let pulled = self.client.pull_manifest_raw(reference, &self.auth, &MANIFESTS).await;
        let (bytes, _) = pulled.map_err(|error| read_error(&what, error))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(images::Error::Malformed {
                what,
                reason: format!("it is larger than {DOCUMENT_BYTES_MAX} bytes"),
            });
        }
        Ok(bytes.into())
    }
}

#[async_trait::async_trait]
impl Blobs for Repository {
    async fn open(&self, blob: &Blob) -> Result<Box<dyn Content>, images::Error> {
        let digest = blob.digest.to_string();
        if MANIFESTS.contains(&blob.media_type.as_str()) {
            return self.manifest(&self.reference.clone_with_digest(digest)).await.map(|bytes| {
                let content: Box<dyn Content> = Box::new(Held(bytes));
                content
            });
        }
        let what = format!("{digest} of {}", self.reference);
        let pulled = self.client.pull_blob_stream(&self.reference, digest.as_str()).await;
        let stream = pulled.map_err(|error| read_error(&what, error))?.stream;
        Ok(Box::new(Download { what, stream }))
    }
}

#[async_trait::async_trait]
impl Content for Download {
    async fn next(&mut self) -> Result<Vec<u8>, images::Error> {
        loop {
            match self.stream.next().await {
                None => return Ok(Vec::new()),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(bytes.into()),
                Some(Err(error)) => return Err(read_error(&self.what, error)),
            }
        }
    }
}

#[async_trait::async_trait]
impl Content for Held {
    async fn next(&mut self) -> Result<Vec<u8>, images::Error> {
        Ok(std::mem::take(&mut self.0))
    }
}

fn read_error(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> images::Error {
    images::Error::Read { what: what.to_owned(), source: Box::new(error) }
}
