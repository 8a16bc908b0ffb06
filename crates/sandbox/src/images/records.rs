//! The records of the images of a data folder.
//!
//! `images/NAME.json` is an image. `images/.layers/LAYER` exists for each layer that was ever taken in for an image and
//! not removed since, from before it is taken in: only such a layer may be collected, others were made for something else.
//! Whoever takes in, removes or collects holds `images/.lock`; records are replaced as a whole, so readers need no lock.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::Error;
use super::Image;
use super::ImageName;
use super::ImageRoot;
use crate::Backend;
use crate::Base;
use crate::LayerName;
use crate::Root;

/// Largest record: it has a digest per layer, and the variables.
const RECORD_BYTES_MAX: u64 = 8 << 20;

/// The images of a data folder.
#[derive(Clone, Debug)]
pub struct Images {
    folder: PathBuf,
}

/// What [`Images::collect`] did.
#[derive(Debug, Default)]
pub struct Collected {
    /// Layers that are gone.
    pub removed: Vec<LayerName>,
    /// Layers that no image needs, and on which files of sessions stand. They go when those have gone.
    pub in_use: Vec<LayerName>,
    /// Layers that no image needs and that could not be removed, and why: a sandbox may stand on them.
    pub kept: Vec<(LayerName, crate::Error)>,
    /// Size of those that are gone, unpacked.
    pub bytes: u64,
}

/// Nobody else changes images while it is held.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file ends the lock")] File);

/// What is remembered of a layer that was taken in.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Its size, unpacked.
    pub(super) bytes: u64,
}

impl Images {
    /// The images of this data folder; there are none until the first is taken in.
    pub fn open(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("images") }
    }

    /// Every image, by name.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::file("list", &self.folder))?,
        };
        let mut images = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::file("list", &self.folder))?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(Ok(name)) = name.map(str::parse::<ImageName>) {
                images.push(self.get(&name)?);
            }
        }
        images.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(images)
    }

    /// The image of this name.
    pub fn get(&self, name: &ImageName) -> Result<Image, Error> {
        let path = self.path(name);
        let bytes = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Absent { name: name.clone() });
            }
            bytes => bytes.map_err(Error::file("read", &path))?,
        };
        let what = || path.display().to_string();
        let image: Image =
            serde_json::from_slice(&bytes).map_err(|error| Error::malformed(&what(), error.to_string()))?;
        if image.name == *name { Ok(image) } else { Err(Error::malformed(&what(), "it is of another image")) }
    }

    /// What a sandbox on the image of this name starts with.
    pub fn root(&self, name: &str) -> Result<ImageRoot, Error> {
        let Image {
            layers,
            variables,
            name: _,
            digest: _,
            architecture: _,
            working_dir: _,
            created_at: _,
            source: _,
            bytes: _,
        } = self.get(&name.parse()?)?;
        Ok(ImageRoot { root: Root { base: Base::Empty, layers }, variables })
    }

    /// Makes this the image of its name. Its layers are there.
    pub fn put(&self, image: &Image) -> Result<(), Error> {
        let text = to_text(image);
        self.make_folders()?;
        let path = self.path(&image.name);
        let temporary = self.folder.join(format!(".{}.new", image.name));
        replace(&path, &temporary, &text).map_err(Error::file("write", &path))
    }

    /// Removes an image. Answered are the layers that no image needs any more: [`Images::collect`] removes them.
    pub async fn remove(&self, name: &ImageName) -> Result<Vec<LayerName>, Error> {
        let _lock = self.lock(&|| {}).await?;
        self.get(name)?;
        let path = self.path(name);
        std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        self.unneeded()
    }

    /// Removes the layers that were taken in for images, that no image needs any more, and that are not among those on
    /// which something stands. Waits until nobody else changes images.
    pub async fn collect(
        &self,
        backend: &dyn Backend,
        in_use: &BTreeSet<LayerName>,
    ) -> Result<Collected, Error> {
        let lock = self.lock(&|| {}).await?;
        self.collect_under(&lock, backend, in_use).await
    }

    /// The same, unless somebody is changing images right now: then `None`.
    pub async fn try_collect(
        &self,
        backend: &dyn Backend,
        in_use: &BTreeSet<LayerName>,
    ) -> Result<Option<Collected>, Error> {
        let file = self.lock_file()?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        self.collect_under(&Lock(file), backend, in_use).await.map(Some)
    }

    async fn collect_under(
        &self,
        _lock: &Lock,
        backend: &dyn Backend,
        in_use: &BTreeSet<LayerName>,
    ) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        for layer in self.unneeded()? {
            if in_use.contains(&layer) {
                collected.in_use.push(layer);
                continue;
            }
            let bytes = self.taken(&layer)?.bytes;
            match backend.remove_layer(&layer).await {
                Ok(()) => {
                    self.forget(&layer)?;
                    collected.bytes += bytes;
                    collected.removed.push(layer);
                }
                Err(error) => collected.kept.push((layer, error)),
            }
        }
        Ok(collected)
    }

    /// Layers that were taken in for images and that none names.
    fn unneeded(&self) -> Result<Vec<LayerName>, Error> {
        let needed: BTreeSet<LayerName> = self.list()?.into_iter().flat_map(|image| image.layers).collect();
        let folder = self.layers();
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::file("list", &folder))?,
        };
        let mut layers = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::file("list", &folder))?.file_name();
            let layer = name.to_str().and_then(|name| name.parse::<LayerName>().ok());
            layers.extend(layer.filter(|layer| !needed.contains(layer)));
        }
        layers.sort();
        Ok(layers)
    }

    /// Waits until nobody else changes images; `wait` is called before a wait.
    pub(super) async fn lock(&self, wait: &(dyn Fn() + Sync)) -> Result<Lock, Error> {
        let file = self.lock_file()?;
        if file.try_lock().is_ok() {
            return Ok(Lock(file));
        }
        wait();
        let locked = spawn_blocking(move || file.lock().map(|()| file)).await.expect("a lock does not panic");
        locked.map(Lock).map_err(Error::file("lock", &self.lock_path()))
    }

    fn lock_file(&self) -> Result<File, Error> {
        self.make_folders()?;
        let path = self.lock_path();
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        file.map_err(Error::file("open", &path))
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join(".lock")
    }

    /// Notes that a layer is to be taken in for an image.
    pub(super) fn claim(&self, layer: &LayerName) -> Result<(), Error> {
        let path = self.layers().join(layer.as_str());
        let mut options = File::options();
        options.create(true).append(true).open(&path).map(drop).map_err(Error::file("write", &path))
    }

    /// Notes what was taken in.
    pub(super) fn note(&self, layer: &LayerName, taken: Taken) -> Result<(), Error> {
        let path = self.layers().join(layer.as_str());
        let text = to_text(&taken);
        replace(&path, &self.layers().join(format!(".{layer}.new")), &text)
            .map_err(Error::file("write", &path))
    }

    /// What was noted of a layer; nothing, when that never came to an end.
    pub(super) fn taken(&self, layer: &LayerName) -> Result<Taken, Error> {
        let path = self.layers().join(layer.as_str());
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Taken::default()),
            bytes => {
                Ok(serde_json::from_slice(&bytes.map_err(Error::file("read", &path))?).unwrap_or_default())
            }
        }
    }

    /// Forgets a layer that is gone.
    pub(super) fn forget(&self, layer: &LayerName) -> Result<(), Error> {
        let path = self.layers().join(layer.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Where an archive that must be decompressed is put.
    pub(super) fn scratch(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &ImageName) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn layers(&self) -> PathBuf {
        self.folder.join(".layers")
    }

    fn make_folders(&self) -> Result<(), Error> {
        let layers = self.layers();
        std::fs::create_dir_all(&layers).map_err(Error::file("make the folder", &layers))
    }
}

fn to_text(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(record).expect("a record is plain data")
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?.take(RECORD_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn replace(path: &Path, temporary: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    // The name is on disk only when its folder is.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests;
