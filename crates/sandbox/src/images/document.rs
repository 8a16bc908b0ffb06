//! The documents of an image: index, manifest, configuration, and the list of a `docker save` archive.
//!
//! Fields that are used must be there and of the right type; others are ignored, as the specification wants. Where one
//! document could be read in two ways it is refused.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Digest;
use super::Error;
use super::architecture;

/// Layers of one image: as many as others permit.
const LAYERS_MAX: usize = 127;
/// Manifests in one index.
const MANIFESTS_MAX: usize = 1000;

const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// Something that is named by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Blob {
    /// What kind of thing it is.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// How many there are.
    #[serde(rename = "size")]
    pub bytes: u64,
}

/// The list of the parts of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Blob,
    /// From the bottom up.
    pub(super) layers: Vec<Blob>,
}

/// A manifest, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Manifest(Manifest),
    Index(Vec<Entry>),
}

/// A manifest in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) blob: Blob,
    platform: Option<Platform>,
    /// What it is called.
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// What an image says about its programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) variables: Vec<String>,
    pub(super) working_dir: Option<String>,
    /// Digests of the layers, not compressed.
    pub(super) contents: Vec<Digest>,
}

/// One image of a `docker save` archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Saved {
    #[serde(rename = "Config")]
    pub(super) config: String,
    #[serde(rename = "RepoTags", default)]
    pub(super) names: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    pub(super) layers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u32,
    config: Option<Blob>,
    layers: Option<Vec<Blob>>,
    manifests: Option<Vec<RawEntry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    short: Option<String>,
    #[serde(rename = "io.containerd.image.name")]
    long: Option<String>,
}

#[derive(Deserialize)]
struct RawConfiguration {
    architecture: String,
    os: String,
    #[serde(default)]
    config: Option<Execution>,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
struct Execution {
    #[serde(rename = "Env", default)]
    variables: Option<Vec<String>>,
    #[serde(rename = "WorkingDir", default)]
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let RawDocument { schema_version, config, layers, manifests } = json("manifest", bytes)?;
        if schema_version != 2 {
            return Err(Error::malformed("manifest", format!("its schema is {schema_version}, not 2")));
        }
        match (config, layers, manifests) {
            (Some(config), Some(layers), None) => Manifest { config, layers }.checked().map(Self::Manifest),
            (None, None, Some(entries)) if entries.len() <= MANIFESTS_MAX => {
                Ok(Self::Index(entries.into_iter().map(Entry::of).collect()))
            }
            (None, None, Some(_)) => {
                Err(Error::malformed("index", format!("it names more than {MANIFESTS_MAX} images")))
            }
            (_, _, _) => Err(Error::malformed("manifest", "it is neither that of an image nor an index")),
        }
    }
}

impl Manifest {
    fn checked(self) -> Result<Self, Error> {
        let kind = &self.config.media_type;
        if !CONFIGS.contains(&kind.as_str()) {
            return Err(Error::refused(format!("{kind:?} is not the configuration of a container image")));
        }
        if self.layers.len() > LAYERS_MAX {
            return Err(Error::refused(format!(
                "it has {} layers, more than {LAYERS_MAX}",
                self.layers.len()
            )));
        }
        for Blob { media_type, digest, bytes: _ } in &self.layers {
            let is_foreign = media_type.contains("nondistributable") || media_type.contains("foreign");
            if is_foreign {
                return Err(Error::refused(format!(
                    "layer {digest} is kept elsewhere than the image ({media_type})"
                )));
            }
            if !LAYERS.contains(&media_type.as_str()) {
                return Err(Error::refused(format!("layer {digest} is of an unknown kind: {media_type:?}")));
            }
        }
        Ok(self)
    }
}

impl Entry {
    fn of(raw: RawEntry) -> Self {
        let RawEntry { media_type, digest, size, platform, annotations } = raw;
        let name = annotations.and_then(|Annotations { short, long }| long.or(short));
        Self { blob: Blob { media_type, digest, bytes: size }, platform, name }
    }

    fn is_for(&self, architecture: &str) -> bool {
        // One that does not say is found out by its configuration.
        let platform = self.platform.as_ref();
        platform.is_none_or(|platform| platform.os == "linux" && platform.architecture == architecture)
    }

    fn is_called(&self, wanted: &str) -> bool {
        let name = self.name.as_deref();
        name.is_some_and(|name| name == wanted || name.rsplit('/').next() == Some(wanted))
    }
}

/// The image of an index that is for this machine, of that name if one is wanted.
pub(super) fn choose(entries: Vec<Entry>, wanted: Option<&str>) -> Result<Blob, Error> {
    let architecture = architecture();
    let of_name = |entry: &Entry| wanted.is_none_or(|wanted| entry.is_called(wanted));
    let (fitting, others): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().filter(of_name).partition(|entry| entry.is_for(architecture));
    let Some(first) = fitting.first() else {
        let platforms = others.iter().filter_map(|entry| entry.platform.as_ref());
        let mut have: Vec<String> =
            platforms.map(|platform| format!("{}/{}", platform.os, platform.architecture)).collect();
        have.dedup();
        have.truncate(20);
        return Err(Error::refused(match (wanted, have.is_empty()) {
            (Some(wanted), true) => format!("nothing in it is called {wanted:?}"),
            (None, true) => "there is nothing in it".to_owned(),
            (_, false) => {
                format!("there is none for linux/{architecture} in it, but for {}", have.join(", "))
            }
        }));
    };
    let mut names: Vec<&str> = fitting.iter().filter_map(|entry| entry.name.as_deref()).collect();
    names.dedup();
    names.truncate(20);
    match names.as_slice() {
        [] | [_] => Ok(first.blob.clone()),
        [_, ..] => Err(Error::refused(format!(
            "it holds several images, name one with --reference: {}",
            names.join(", ")
        ))),
    }
}

impl Configuration {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let RawConfiguration { architecture: theirs, os, config, rootfs } =
            json("configuration of the image", bytes)?;
        let ours = architecture();
        if os != "linux" || theirs != ours {
            return Err(Error::refused(format!("it is for {os}/{theirs}, and this machine is linux/{ours}")));
        }
        if rootfs.kind != "layers" {
            return Err(Error::refused(format!("its root file system is of the kind {:?}", rootfs.kind)));
        }
        let Execution { variables, working_dir } = config.unwrap_or_default();
        Ok(Self {
            variables: variables.unwrap_or_default(),
            working_dir: working_dir.filter(|path| path.starts_with('/') && !path.contains('\0')),
            contents: rootfs.diff_ids,
        })
    }

    /// Refuses a configuration of other layers than those of the manifest, as far as their number tells.
    pub(super) fn expect_layers(&self, count: usize) -> Result<(), Error> {
        if self.contents.len() == count && count <= LAYERS_MAX {
            return Ok(());
        }
        let reason = format!(
            "it names {} layers, and there are {count}; at most {LAYERS_MAX} may be",
            self.contents.len()
        );
        Err(Error::malformed("configuration of the image", reason))
    }
}

impl Saved {
    pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Self>, Error> {
        json("manifest.json", bytes)
    }

    /// The image of that name, or the only one.
    pub(super) fn choose(all: Vec<Self>, wanted: Option<&str>) -> Result<Self, Error> {
        let is_called = |saved: &Self, wanted: &str| {
            saved.names.iter().flatten().any(|name| name == wanted || name.rsplit('/').next() == Some(wanted))
        };
        let names: Vec<String> =
            all.iter().flat_map(|saved| saved.names.iter().flatten()).take(20).cloned().collect();
        let mut fitting =
            all.into_iter().filter(|saved| wanted.is_none_or(|wanted| is_called(saved, wanted)));
        match (fitting.next(), fitting.next(), wanted) {
            (Some(saved), None, _) => Ok(saved),
            (None, _, Some(wanted)) => Err(Error::refused(format!("nothing in it is called {wanted:?}"))),
            (None, _, None) => Err(Error::refused("there is nothing in it")),
            (Some(_), Some(_), _) => Err(Error::refused(format!(
                "it holds several images, name one with --reference: {}",
                names.join(", ")
            ))),
        }
    }
}

fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::malformed(what, error.to_string()))
}

#[cfg(test)]
mod tests;
