//! Images taken in by real workers, and sandboxes on them.

mod archives;
mod hostile;

use std::path::PathBuf;
use std::sync::Mutex;

use api::time::Clock;
use sandbox::Backend;
use sandbox::LayerName;
use sandbox::Spec;
use sandbox::images::Collected;
use sandbox::images::Content;
use sandbox::images::Error;
use sandbox::images::Image;
use sandbox::images::Images;
use sandbox::images::Importer;
use sandbox::images::Made;
use sandbox::images::Step;

use self::archives::Tar;
use self::archives::gzip;
use self::archives::layout_of;
use self::archives::saved;
use self::archives::shell_root;
use self::archives::zstandard;
use crate::ground::Ground;
use crate::ground::chain;

/// A ground with images, and a folder to make archives in.
struct Shelf {
    ground: Ground,
    images: Images,
    folder: tempfile::TempDir,
    steps: Mutex<Vec<Step>>,
}

impl Shelf {
    fn new() -> Self {
        let ground = Ground::new();
        let images = Images::open(ground.data_dir());
        Self { ground, images, folder: tempfile::tempdir().unwrap(), steps: Mutex::default() }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn import(&self, name: &str, path: &std::path::Path) -> Result<Image, Error> {
        let report = |step: &Step| self.steps.lock().unwrap().push(step.clone());
        let importer = self.importer(&report);
        importer.import(&name.parse().unwrap(), path, None).await
    }

    fn importer<'a>(&'a self, report: &'a (dyn Fn(&Step) + Send + Sync)) -> Importer<'a> {
        Importer { images: &self.images, backend: &self.ground.backend, clock: Clock::system(), report }
    }

    async fn must_import(&self, name: &str, path: &std::path::Path) -> Image {
        self.import(name, path).await.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)))
    }

    /// How many layers were not there.
    fn taken(&self) -> usize {
        let steps = std::mem::take(&mut *self.steps.lock().unwrap());
        steps.iter().filter(|step| matches!(step, Step::Taking { .. })).count()
    }

    /// What a command prints in a new sandbox on an image.
    async fn bash(&self, image: &str, command: &str) -> String {
        let root = self.images.root(image).unwrap();
        let spec = Spec { root: root.root, variables: root.variables, ..self.ground.spec() };
        let hands = self.ground.provision(&spec).await;
        let said = hands.bash(command).await;
        self.ground.backend.destroy(&spec.session, false).await.unwrap();
        said
    }

    async fn layers(&self) -> usize {
        self.ground.backend.layers().await.unwrap().len()
    }

    /// That a failure left nothing.
    async fn assert_empty(&self) {
        assert_eq!(self.layers().await, 0);
        assert_eq!(self.images.list().unwrap(), []);
        let left = std::fs::read_dir(self.ground.data_dir().join("images")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "only the lock and the folder of layers: {left:?}");
        assert_eq!(std::fs::read_dir(self.ground.data_dir().join("images/.layers")).unwrap().count(), 0);
    }
}

async fn collect(shelf: &Shelf, in_use: &[LayerName]) -> Result<Collected, Error> {
    shelf.images.collect(&shelf.ground.backend, &in_use.iter().cloned().collect()).await
}

/// Two layers over a shell: the upper one changes, deletes and hides what the lower one has.
fn changes() -> [Vec<u8>; 2] {
    let lower = Tar::new()
        .folder("srv/")
        .file("srv/changed", 0o644, b"old")
        .file("srv/deleted", 0o644, b"old")
        .folder("srv/hidden/")
        .file("srv/hidden/old", 0o644, b"old")
        .end();
    let upper = Tar::new()
        .folder("srv/")
        .file("srv/changed", 0o644, b"new")
        .file("srv/.wh.deleted", 0o644, b"")
        .folder("srv/hidden/")
        .file("srv/hidden/.wh..wh..opq", 0o644, b"")
        .file("srv/hidden/new", 0o644, b"new")
        .end();
    [lower, upper]
}

const LOOK: &str = "cat /srv/changed; echo; ls /srv /srv/hidden; echo $GREETING $HOME";
const SEEN: &str = "new\n/srv:\nchanged\nhidden\n\n/srv/hidden:\nnew\nhello /root";

#[tokio::test]
async fn a_layout_is_taken_in_from_a_folder_and_a_sandbox_runs_on_it() {
    let shelf = Shelf::new();
    let [lower, upper] = changes();
    let folder = shelf.folder.path().join("layout");
    layout_of(&[&shell_root(), &lower, &upper]).write(&folder);
    let image = shelf.must_import("app", &folder).await;
    assert_eq!(image.layers.len(), 3);
    assert_eq!(image.working_dir.as_deref(), Some("/srv"));
    assert_eq!(image.variables.get("GREETING").map(String::as_str), Some("hello"));
    assert!(image.bytes > 1_000_000, "{}", image.bytes);
    assert_eq!(shelf.bash("app", LOOK).await, SEEN);
    assert_eq!(shelf.taken(), 3);
    let again = shelf.must_import("again", &folder).await;
    assert_eq!((again.layers, again.bytes), (image.layers, image.bytes));
    assert_eq!(shelf.taken(), 0, "what is there is not taken in again");
}

#[tokio::test]
async fn archives_are_taken_in_compressed_and_not() {
    let shelf = Shelf::new();
    let [lower, upper] = changes();
    let shell = shell_root();
    let tar = layout_of(&[&shell, &lower, &upper]).tar();
    let old = saved(&[&shell, &lower, &upper, &lower, &upper]);
    let files = [
        ("layout", shelf.file("layout.tar", &tar), 3),
        ("layout-gz", shelf.file("layout.tar.gz", &gzip(&tar)), 0),
        ("layout-zst", shelf.file("layout.tar.zst", &zstandard(&tar)), 0),
        // The other two are compressed in the layout, so they have other digests there.
        ("saved", shelf.file("saved.tar", &old), 2),
        ("saved-gz", shelf.file("saved.tar.gz", &gzip(&old)), 0),
    ];
    for (name, path, new) in files {
        let image = shelf.must_import(name, &path).await;
        assert_eq!(image.layers.len(), 3, "{name}");
        assert_eq!(shelf.taken(), new, "{name}");
        assert_eq!(shelf.bash(name, LOOK).await, SEEN, "{name}");
    }
}

#[tokio::test]
async fn the_tar_of_a_root_is_taken_in_as_it_is() {
    let shelf = Shelf::new();
    let root = shell_root();
    let files = [
        ("a.tar", root.clone()),
        ("b.tar.gz", gzip(&root)),
        ("c.tar.zst", zstandard(&root)),
        ("d", root.clone()),
    ];
    for (name, bytes) in files {
        let path = shelf.file(name, &bytes);
        let image = shelf.must_import(name, &path).await;
        assert_eq!((image.layers.len(), shelf.taken()), (1, usize::from(name != "d")), "{name}");
        assert_eq!(shelf.bash(name, "echo fine; echo $BASH").await, "fine\n/usr/bin/bash", "{name}");
    }
}

/// Pieces, and then an end.
struct Pieces(Vec<Vec<u8>>);

#[async_trait::async_trait]
impl Content for Pieces {
    async fn next(&mut self) -> Result<Vec<u8>, Error> {
        Ok(if self.0.is_empty() { Vec::new() } else { self.0.remove(0) })
    }
}

#[tokio::test]
async fn what_is_made_is_an_image_only_when_its_maker_succeeds() {
    let shelf = Shelf::new();
    let root = shell_root();
    let pieces = || Pieces(root.chunks(100_000).map(<[u8]>::to_vec).collect());
    let layer = "5".repeat(64).parse().unwrap();
    let made = Made { source: "a test", layer: &layer, variables: &["GREETING=hello".to_owned()] };
    let importer = shelf.importer(&|_| {});
    let name = "made".parse().unwrap();
    let failed = async { Err(Error::Refused { reason: "the maker failed".to_owned() }) };
    let told = importer.import_stream(&name, &made, &mut pieces(), failed).await.unwrap_err();
    assert!(told.to_string().contains("the maker failed"));
    shelf.assert_empty().await;
    importer.import_stream(&name, &made, &mut pieces(), async { Ok(()) }).await.unwrap();
    assert_eq!(shelf.bash("made", "echo $GREETING").await, "hello");
}

#[tokio::test]
async fn a_layer_goes_with_the_last_image_that_needs_it() {
    let shelf = Shelf::new();
    let [lower, upper] = changes();
    let shell = shell_root();
    let one = shelf.file("one.tar", &saved(&[&shell, &lower]));
    let two = shelf.file("two.tar", &saved(&[&shell, &upper]));
    shelf.must_import("one", &one).await;
    shelf.must_import("two", &two).await;
    // Made for something else than an image.
    let other = "7".repeat(64).parse().unwrap();
    let place = sandbox::Place::Layer(other);
    let mut writer = shelf.ground.backend.unpack(&place).await.unwrap();
    writer.write(&lower).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(shelf.layers().await, 4);

    assert_eq!(shelf.images.remove(&"one".parse().unwrap()).await.unwrap().len(), 1);
    let collected = collect(&shelf, &[]).await.unwrap();
    assert_eq!((collected.removed.len(), collected.kept.len()), (1, 0));
    assert!(collected.bytes > 0);
    assert_eq!(shelf.bash("two", "echo fine").await, "fine");

    let root = shelf.images.root("two").unwrap().root;
    let layers = root.layers.clone();
    let spec = Spec { root, ..shelf.ground.spec() };
    let hands = shelf.ground.provision(&spec).await;
    shelf.images.remove(&"two".parse().unwrap()).await.unwrap();
    let collected = collect(&shelf, &[]).await.unwrap();
    assert_eq!(collected.removed.len(), 0, "a sandbox stands on them");
    assert_eq!(collected.kept.len(), 2);
    assert_eq!(hands.bash("echo still").await, "still");
    shelf.ground.backend.destroy(&spec.session, false).await.unwrap();
    let collected = collect(&shelf, &layers).await.unwrap();
    assert_eq!((collected.removed, collected.in_use.len()), (Vec::new(), 2), "something rests on them");
    let collected = collect(&shelf, &[]).await.unwrap();
    assert_eq!((collected.removed.len(), collected.kept.len()), (2, 0));
    assert_eq!(shelf.layers().await, 1, "what was made for something else stays");
    assert_eq!(collect(&shelf, &[]).await.unwrap().removed.len(), 0);
}
