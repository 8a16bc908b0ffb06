//! Taking images in.

mod parts;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use api::time::Clock;
use tokio::task::spawn_blocking;

use self::parts::OneFile;
use self::parts::Rejoined;
use self::parts::index_of;
use self::parts::measured;
use self::parts::named_digest;
use self::parts::read;
use self::parts::unique;
use super::Blob;
use super::Blobs;
use super::Content;
use super::DOCUMENT_BYTES_MAX;
use super::Digest;
use super::Error;
use super::Image;
use super::ImageName;
use super::Images;
use super::archive::Archive;
use super::archive::Place;
use super::blobs::Archived;
use super::blobs::Folder;
use super::blobs::Stretch;
use super::document;
use super::document::Configuration;
use super::document::Document;
use super::document::Manifest;
use super::document::Saved;
use super::format;
use super::format::Format;
use super::intake;
use super::intake::Intake;
use super::records::Taken;
use super::variables;
use crate::Backend;
use crate::LayerName;
use crate::Unpacked;

/// Indexes of indexes.
const INDEXES_MAX: usize = 4;
/// Media type of what has none because it is in no manifest.
const PLAIN: &str = "application/octet-stream";

/// Takes images in, one at a time on each data folder.
pub struct Importer<'a> {
    /// Where the records are.
    pub images: &'a Images,
    /// Where the layers go.
    pub backend: &'a dyn Backend,
    /// The time.
    pub clock: Clock,
    /// Told what is being done.
    pub report: &'a (dyn Fn(&Step) + Send + Sync),
}

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody else is changing images: that is waited for.
    Waiting,
    /// A layer is there already.
    Present {
        /// Its number, from one.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// A layer is being taken in.
    Taking {
        /// Its number, from one.
        number: usize,
        /// How many there are.
        count: usize,
        /// Its size as it travels, if that is known.
        bytes: Option<u64>,
    },
}

/// A root file system that is being made.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// Where it comes from, for people.
    pub source: &'a str,
    /// What to call its layer: the digest of its bytes is known too late for that.
    pub layer: &'a LayerName,
    /// Environment variables that its programs expect, each `NAME=VALUE`.
    pub variables: &'a [String],
}

/// What is known of an image before its layers are taken in.
struct Plan<'a> {
    name: &'a ImageName,
    source: &'a str,
    digest: Digest,
    configuration: Configuration,
    layers: Vec<Blob>,
}

impl Importer<'_> {
    /// Takes in what a file or folder holds. Of several images, the one that `reference` names.
    pub async fn import(
        &self,
        name: &ImageName,
        path: &Path,
        reference: Option<&str>,
    ) -> Result<Image, Error> {
        let _lock = self.images.lock(&|| (self.report)(&Step::Waiting)).await?;
        let source = path.display().to_string();
        match tell(path, self.images.scratch()).await? {
            Format::Folder(folder) => {
                let first = index_of(&folder).await?;
                self.take_document(name, &source, &Folder(folder), first, reference).await
            }
            Format::Layout(archive) => {
                let first = archive.read("index.json", DOCUMENT_BYTES_MAX)?;
                let blobs = Archived { archive, names: HashMap::new() };
                self.take_document(name, &source, &blobs, first, reference).await
            }
            Format::Saved(archive) => self.take_saved(name, &source, archive, reference).await,
            Format::Root(file) => self.take_root(name, &source, file).await,
        }
    }

    /// Takes in an image whose parts are anywhere, beginning with its manifest or index.
    pub async fn import_manifest(
        &self,
        name: &ImageName,
        source: &str,
        blobs: &dyn Blobs,
        manifest: Vec<u8>,
    ) -> Result<Image, Error> {
        let _lock = self.images.lock(&|| (self.report)(&Step::Waiting)).await?;
        self.take_document(name, source, blobs, manifest, None).await
    }

    /// Takes in the tar of a root file system as it is made. `is_whole` is asked when no more comes, and when it fails
    /// there is no image.
    pub async fn import_stream(
        &self,
        name: &ImageName,
        made: &Made<'_>,
        content: &mut dyn Content,
        is_whole: impl Future<Output = Result<(), Error>> + Send,
    ) -> Result<Image, Error> {
        let Made { source, layer, variables } = *made;
        // Making it may take long; nothing is held up before the first of it comes.
        let head = content.next().await?;
        let mut content = Rejoined { head, rest: content };
        let _lock = self.images.lock(&|| (self.report)(&Step::Waiting)).await?;
        (self.report)(&Step::Taking { number: 1, count: 1, bytes: None });
        self.images.claim(layer)?;
        let taken = async {
            let mut intake = Intake::begin(self.backend, layer).await?;
            intake.pour(&mut content, None).await?;
            is_whole.await?;
            let digest = intake.digest();
            let unpacked = intake.finish().await?;
            self.note(layer, unpacked)?;
            Ok::<Digest, Error>(digest)
        };
        let put = async {
            let digest = taken.await?;
            let configuration = Configuration { variables: variables.to_vec(), ..Configuration::default() };
            self.put(&Plan { name, source, digest, configuration, layers: Vec::new() }, vec![layer.clone()])
        };
        let result = put.await;
        self.clear_up(result, std::slice::from_ref(layer)).await
    }

    async fn take_document(
        &self,
        name: &ImageName,
        source: &str,
        blobs: &dyn Blobs,
        mut document: Vec<u8>,
        mut reference: Option<&str>,
    ) -> Result<Image, Error> {
        for _ in 0..INDEXES_MAX {
            let blob = match Document::parse(&document)? {
                Document::Index(entries) => document::choose(entries, reference.take())?,
                Document::Manifest(Manifest { config, layers }) => {
                    let digest = Digest::of(&document);
                    let configuration = Configuration::parse(&read(blobs, &config).await?)?;
                    configuration.expect_layers(layers.len())?;
                    return self.take(Plan { name, source, digest, configuration, layers }, blobs).await;
                }
            };
            document = read(blobs, &blob).await?;
        }
        Err(Error::malformed("index", format!("it leads through more than {INDEXES_MAX} others")))
    }

    async fn take_saved(
        &self,
        name: &ImageName,
        source: &str,
        archive: Arc<Archive>,
        reference: Option<&str>,
    ) -> Result<Image, Error> {
        let all = Saved::parse(&archive.read("manifest.json", DOCUMENT_BYTES_MAX)?)?;
        let saved = Saved::choose(all, reference)?;
        let configuration = archive.read(&saved.config, DOCUMENT_BYTES_MAX)?;
        let digest = Digest::of(&configuration);
        if let Some(expected) = named_digest(&saved.config) {
            intake::expect_digest(&expected, digest.clone())?;
        }
        let configuration = Configuration::parse(&configuration)?;
        configuration.expect_layers(saved.layers.len())?;
        let here = self.layers_here().await?;
        let (mut layers, mut names) = (Vec::new(), HashMap::new());
        for (path, expected) in saved.layers.iter().zip(&configuration.contents) {
            let place = archive.find(path)?;
            // Without compression, the digest of the content is that of the bytes, and it need not be looked for.
            let digest = if here.contains(expected.layer()) {
                expected.clone()
            } else {
                measured(&archive.file, path, place, expected).await?
            };
            names.insert(digest.clone(), path.clone());
            layers.push(Blob { media_type: PLAIN.to_owned(), digest, bytes: place.bytes });
        }
        let blobs = Archived { archive, names };
        self.take(Plan { name, source, digest, configuration, layers }, &blobs).await
    }

    async fn take_root(&self, name: &ImageName, source: &str, file: Arc<File>) -> Result<Image, Error> {
        let bytes = file.metadata().map_err(Error::file("look at", Path::new(source)))?.len();
        let place = Place { offset: 0, bytes };
        let (digest, _) = intake::measure(&mut Stretch::new(source, Arc::clone(&file), place)).await?;
        let layers = vec![Blob { media_type: PLAIN.to_owned(), digest: digest.clone(), bytes }];
        let configuration = Configuration::default();
        self.take(Plan { name, source, digest, configuration, layers }, &OneFile(file, place)).await
    }

    /// Takes in the layers that are not here, then makes the record. When anything fails, what was taken in goes again.
    async fn take(&self, plan: Plan<'_>, blobs: &dyn Blobs) -> Result<Image, Error> {
        let here = self.layers_here().await?;
        let mut new = Vec::new();
        let taking = async {
            let count = plan.layers.len();
            for (number, blob) in (1..).zip(&plan.layers) {
                let layer = blob.digest.layer();
                if here.contains(layer) || new.contains(layer) {
                    (self.report)(&Step::Present { number, count });
                    self.images.claim(layer)?;
                    continue;
                }
                (self.report)(&Step::Taking { number, count, bytes: Some(blob.bytes) });
                self.images.claim(layer)?;
                new.push(layer.clone());
                self.take_layer(blob, blobs).await?;
            }
            self.put(&plan, unique(&plan.layers))
        };
        let result = taking.await;
        self.clear_up(result, &new).await
    }

    async fn take_layer(&self, blob: &Blob, blobs: &dyn Blobs) -> Result<(), Error> {
        let mut content = blobs.open(blob).await?;
        let mut intake = Intake::begin(self.backend, blob.digest.layer()).await?;
        intake.pour(content.as_mut(), Some(blob)).await?;
        intake::expect_digest(&blob.digest, intake.digest())?;
        let unpacked = intake.finish().await?;
        self.note(blob.digest.layer(), unpacked)
    }

    fn note(&self, layer: &LayerName, unpacked: Unpacked) -> Result<(), Error> {
        self.images.note(layer, Taken { bytes: unpacked.bytes })
    }

    fn put(&self, plan: &Plan<'_>, layers: Vec<LayerName>) -> Result<Image, Error> {
        let Plan { name, source, digest, configuration, layers: _ } = plan;
        let mut bytes = 0;
        for layer in &layers {
            bytes += self.images.taken(layer)?.bytes;
        }
        let image = Image {
            name: (*name).clone(),
            digest: digest.clone(),
            layers,
            architecture: super::architecture().to_owned(),
            variables: variables::filter(&configuration.variables),
            working_dir: configuration.working_dir.clone(),
            created_at: self.clock.now(),
            source: (*source).to_owned(),
            bytes,
        };
        self.images.put(&image)?;
        Ok(image)
    }

    /// After a failure, removes the layers that were new.
    async fn clear_up(&self, result: Result<Image, Error>, new: &[LayerName]) -> Result<Image, Error> {
        if result.is_err() {
            for layer in new {
                // What cannot be removed now stays noted, and is collected later.
                if self.backend.remove_layer(layer).await.is_ok() {
                    self.images.forget(layer)?;
                }
            }
        }
        result
    }

    async fn layers_here(&self) -> Result<BTreeSet<LayerName>, Error> {
        Ok(self.backend.layers().await?.into_iter().collect())
    }
}

async fn tell(path: &Path, scratch: &Path) -> Result<Format, Error> {
    let (path, scratch) = (path.to_path_buf(), scratch.to_path_buf());
    spawn_blocking(move || format::tell(&path, &scratch)).await.expect("looking at a file does not panic")
}
