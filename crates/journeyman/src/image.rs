//! `image`: root file systems for sandboxes, built, taken in, listed and removed.
//!
//! Works beside a running server, by the same spawner. Layers are unpacked by its workers, shut in, whoever made them.

pub(crate) mod arguments;
mod build;
mod credentials;
mod packages;
mod pull;
mod reference;
mod sources;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use api::time::Clock;
use sandbox::Backend;
use sandbox::Embedded;
use sandbox::LayerName;
use sandbox::images::Image as Record;
use sandbox::images::Images;
use sandbox::images::Importer;
use sandbox::images::Step;

use self::arguments::Image;
use self::reference::Reference;
use crate::config::Config;
use crate::data;
use crate::environment::Environment;
use crate::serve;

/// `image build | import | pull | list | show | remove | gc`
pub(crate) async fn run(config: &Config, environment: &Environment, command: &Image) -> Result<ExitCode> {
    let data = data::open(&config.settings.server.data)?;
    let data = data.canonicalize().with_context(|| format!("find {}", data.display()))?;
    let images = Images::open(&data);
    match command {
        Image::List { .. } => list(&images)?,
        Image::Show { name, .. } => show(&images.get(&name.parse()?)?)?,
        Image::Remove { name, .. } => {
            let unneeded = images.remove(&name.parse()?).await?;
            match unneeded.len() {
                0 => println!("removed {name}; other images need all of its layers"),
                count => println!(
                    "removed {name}; no image needs {count} layers: `journeyman image gc` removes them"
                ),
            }
        }
        Image::Gc { .. } => match in_use(config).await? {
            Some(in_use) => return collect(&images, &hands(&data)?, &in_use).await,
            None => println!(
                "a server uses this data: within ten minutes it removes what neither an image nor a session needs"
            ),
        },
        Image::Build(_) | Image::Import(_) | Image::Pull(_) => {
            let hands = hands(&data)?;
            let report = |step: &Step| tell(step);
            let importer =
                Importer { images: &images, backend: &hands, clock: Clock::system(), report: &report };
            let image = take(&importer, config, environment, command, &data).await?;
            println!("{} is there: {} layers, {}", image.name, image.layers.len(), size(image.bytes));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The back end of a data folder: it finds the spawner of a server that runs, or starts one.
fn hands(data: &Path) -> Result<Embedded> {
    Ok(Embedded::new(sandbox::Config::new(data).context("set up the sandboxes")?))
}

/// Makes an image of what the command says.
async fn take(
    importer: &Importer<'_>,
    config: &Config,
    environment: &Environment,
    command: &Image,
    data: &Path,
) -> Result<Record> {
    match command {
        Image::Build(flags) => build::build(importer, &flags.name.parse()?, flags, environment, data).await,
        Image::Import(flags) => {
            let imported =
                importer.import(&flags.name.parse()?, &flags.path, flags.reference.as_deref()).await;
            imported.with_context(|| format!("import {}", flags.path.display()))
        }
        Image::Pull(flags) => {
            let reference = Reference::parse(&flags.reference, config.settings.images.registry.as_deref())?;
            let auth = credentials::find(flags, environment, &reference.registry)?;
            let pulled = pull::pull(importer, &flags.name.parse()?, &reference, auth, flags).await;
            pulled.with_context(|| format!("pull {reference}"))
        }
        Image::List { .. } | Image::Show { .. } | Image::Remove { .. } | Image::Gc { .. } => {
            unreachable!("these make no image")
        }
    }
}

fn list(images: &Images) -> Result<()> {
    println!("{:<24} {:>8} {:>10} {:<28} source", "name", "layers", "size", "created");
    for image in images.list()? {
        let Record { name, layers, created_at, source, bytes, .. } = image;
        println!(
            "{:<24} {:>8} {:>10} {:<28} {}",
            name.as_str(),
            layers.len(),
            size(bytes),
            created_at.to_string(),
            crate::terminal::tame(&source)
        );
    }
    Ok(())
}

fn show(image: &Record) -> Result<()> {
    let text = serde_json::to_string_pretty(image).context("write the record")?;
    println!("{text}");
    Ok(())
}

/// The layers on which sessions stand; `None` when only the server that runs can tell.
async fn in_use(config: &Config) -> Result<Option<BTreeSet<LayerName>>> {
    let store = match serve::open_store(&config.settings).await {
        Err(error) if matches!(error.downcast_ref(), Some(store::Error::Locked { .. })) => return Ok(None),
        store => store?,
    };
    harness::layers_in_use(&store).await.map(Some).context("look for what sessions stand on")
}

async fn collect(images: &Images, backend: &dyn Backend, in_use: &BTreeSet<LayerName>) -> Result<ExitCode> {
    let collected = images.collect(backend, in_use).await?;
    if !collected.in_use.is_empty() {
        let count = collected.in_use.len();
        println!(
            "{count} layers stay while the files of sessions stand on them; a running server removes them after"
        );
    }
    for (layer, error) in &collected.kept {
        eprintln!("layer {layer} stays: {error}");
    }
    println!("removed {} layers, {}", collected.removed.len(), size(collected.bytes));
    Ok(if collected.kept.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(step: &Step) {
    match step {
        Step::Waiting => eprintln!("waiting until another command has changed the images"),
        Step::Present { number, count } => eprintln!("layer {number} of {count} is there already"),
        Step::Taking { number, count, bytes: Some(bytes) } => {
            eprintln!("layer {number} of {count}: {}", size(*bytes));
        }
        Step::Taking { number: _, count: _, bytes: None } => {}
    }
}

/// A size for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
