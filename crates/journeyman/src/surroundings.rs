//! What the operator says of sandboxes, made into what the harness takes: networks, resource classes, images.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use harness::Operator;
use harness::Surroundings;
use sandbox::Backend;
use sandbox::ImageRoot;
use sandbox::LayerName;
use sandbox::images;
use sandbox::images::Images;

use crate::config::Settings;
use crate::config::settings::Class;
use crate::config::settings::Network;

/// The images of the data folder, as environments name them.
struct Named(Images);

#[async_trait]
impl harness::Images for Named {
    fn find(&self, name: &str) -> Option<ImageRoot> {
        self.0.root(name).ok()
    }

    async fn collect(
        &self,
        backend: &dyn Backend,
        in_use: &BTreeSet<LayerName>,
    ) -> Result<Vec<LayerName>, images::Error> {
        let collected = self.0.try_collect(backend, in_use).await?;
        Ok(collected.map(|collected| collected.removed).unwrap_or_default())
    }
}

/// Everything that environments are set in.
pub(crate) fn of(settings: &Settings, data: &Path) -> Surroundings {
    Surroundings {
        operator: operator(&settings.network),
        classes: classes(settings),
        images: Some(Arc::new(Named(Images::open(data)))),
        image: settings.sandbox.image.clone(),
    }
}

/// Bounds of every sandbox whose environment chooses no class.
pub(crate) fn limits(settings: &Settings) -> sandbox::Limits {
    sandbox::Limits {
        memory_bytes_max: settings.sandbox.memory_bytes_max,
        processes_max: settings.sandbox.processes_max,
        cpu_millis_max: settings.sandbox.cpu_millis_max,
        disk_bytes_max: settings.sandbox.disk_bytes_max,
        disk_files_max: settings.sandbox.disk_files_max,
    }
}

fn classes(settings: &Settings) -> BTreeMap<String, sandbox::Limits> {
    let usual = limits(settings);
    let bounds = |class: &Class| sandbox::Limits {
        memory_bytes_max: class.memory_bytes_max.unwrap_or(usual.memory_bytes_max),
        processes_max: class.processes_max.unwrap_or(usual.processes_max),
        cpu_millis_max: class.cpu_millis_max.unwrap_or(usual.cpu_millis_max),
        disk_bytes_max: class.disk_bytes_max.unwrap_or(usual.disk_bytes_max),
        disk_files_max: class.disk_files_max.unwrap_or(usual.disk_files_max),
    };
    settings.sandbox.classes.iter().map(|(name, class)| (name.clone(), bounds(class))).collect()
}

fn operator(network: &Network) -> Operator {
    let Network {
        enabled,
        package_hosts,
        blocked_hosts,
        refused_networks,
        permitted_networks,
        routes,
        requests,
        bytes_max,
        connections_max,
    } = network.clone();
    Operator {
        is_off: !enabled,
        package_hosts,
        blocked_hosts,
        refused_networks,
        permitted_networks,
        routes,
        requests,
        bytes_max,
        connections_max,
    }
}
