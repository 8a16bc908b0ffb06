//! The mock model: a Messages API server whose answers follow from the user's text, started from testkit.

use std::path::Path;

use anyhow::Result;

use crate::process;
use crate::served::Profile;
use crate::served::Served;

/// Builds and starts the mock model.
pub(crate) fn start(profile: Profile, log: &Path) -> Result<Served> {
    let binary = profile.build("testkit", "mock-model")?;
    Served::start(process::command(binary).args(["--listen", "127.0.0.1:0"]), log)
}
