//! What the routes of environments ask of the harness.

use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use egress::Policy;

use super::Build;
use crate::Error;
use crate::Harness;
use crate::Inner;

impl Harness {
    /// Begins to build what an environment installs, in the background, so that its first session need not wait.
    pub fn prepare_environment(&self, environment: SessionEnvironment) {
        let environments = self.0.hands.environments.clone();
        let announced = environments.layer(&environment).map(|layer| environments.0.builds.announce(layer));
        drop(self.0.tasks.spawn("prepare an environment", async move {
            if let Err(error) = environments.prepare(&environment) {
                tracing::warn!(error = %error, "prepare an environment failed: {error}");
            }
            drop(announced);
        }));
    }

    /// How the build of what an environment installs is going.
    pub async fn build(&self, environment: &SessionEnvironment) -> Result<Build, Error> {
        let environments = &self.0.hands.environments;
        let Some(layer) = environments.layer(environment) else { return Ok(Build::none()) };
        Ok(environments.0.builds.view(&layer).await?)
    }

    /// Tries again to build what an environment installs, unless it is there or being built.
    pub async fn rebuild(&self, environment: &SessionEnvironment) -> Result<Build, Error> {
        let prepared = self.0.hands.environments.prepare(environment);
        prepared.map_err(|source| Error::invalid(source.to_string()))?;
        self.build(environment).await
    }

    /// What the sandboxes of an environment may reach; `None` when they have no network.
    pub async fn egress(&self, environment: &SessionEnvironment) -> Option<Policy> {
        self.0.hands.environments.policy(environment).await
    }

    /// Refuses settings that name an image or a resource class that is not here.
    pub fn check_settings(&self, settings: &SandboxSettings) -> Result<(), Error> {
        let Inner { hands, .. } = &*self.0;
        let surroundings = &hands.environments.0.surroundings;
        if let (Some(name), Some(images)) = (&settings.image, &surroundings.images)
            && images.find(name).is_none()
        {
            return Err(Error::invalid(format!("image: There is no image '{name}' on this server")));
        }
        if let Some(name) = &settings.resources
            && !surroundings.classes.contains_key(name)
        {
            let known: Vec<&str> = surroundings.classes.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::invalid(format!(
                "resources: This server has no resource class '{name}'; it has {known}"
            )));
        }
        Ok(())
    }
}
