//! What go installs.

use std::collections::BTreeMap;

use super::zip::zip;

/// A module proxy with one version of one module, whose program is `source`. The program is called like the last part of
/// the module's path.
pub fn go_modules(module: &str, version: &str, source: &str) -> BTreeMap<String, Vec<u8>> {
    let definition = format!("module {module}\n\ngo 1.18\n");
    let info = format!("{{\"Version\":\"{version}\",\"Time\":\"2024-01-01T00:00:00Z\"}}");
    let folder = format!("{module}@{version}");
    let archive = zip(&[
        (format!("{folder}/go.mod"), definition.clone()),
        (format!("{folder}/main.go"), source.to_owned()),
    ]);
    let place = format!("/{module}/@v");
    [
        (format!("{place}/list"), format!("{version}\n").into_bytes()),
        (format!("{place}/{version}.info"), info.into_bytes()),
        (format!("{place}/{version}.mod"), definition.into_bytes()),
        (format!("{place}/{version}.zip"), archive),
    ]
    .into()
}
