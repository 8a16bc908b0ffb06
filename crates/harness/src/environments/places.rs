//! What is known of the file systems that sandboxes stand on: who they are, and where their package managers look.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use api::time::Timestamp;
use egress::policy::HostPattern;
use sandbox::Backend;
use sandbox::Base;
use sandbox::Limits;
use sandbox::Root;
use sandbox::Spec;
use tokio::sync::OnceCell;

use super::builds::Builds;
use super::builds::script;
use super::managers;
use crate::limits;

/// Hosts that package managers look at.
pub(crate) type Hosts = Arc<[HostPattern]>;

/// What is known of each file system, by its identity.
#[derive(Default)]
pub(crate) struct Places {
    /// What the release files of bases say.
    releases: Mutex<HashMap<String, String>>,
    asked: Mutex<HashMap<String, Arc<Asked>>>,
}

struct Asked {
    at: Timestamp,
    hosts: OnceCell<Hosts>,
}

impl Places {
    /// A text that differs where the files differ, as far as can be told without reading them all.
    pub(crate) fn identity(&self, root: &Root) -> String {
        let Root { base, layers } = root;
        let mut identity = match base {
            Base::Empty => "empty".to_owned(),
            Base::Host | Base::Directory(_) => {
                let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
                releases.entry(format!("{base:?}")).or_insert_with(|| release(base)).clone()
            }
        };
        for layer in layers {
            identity.push('\n');
            identity.push_str(layer.as_str());
        }
        identity
    }

    /// The hosts that the package managers of a file system are configured for, by its files and by the variables that
    /// programs there get. They are asked once a week.
    pub(crate) async fn hosts(
        &self,
        root: &Root,
        variables: &BTreeMap<String, String>,
        limits: Limits,
        backend: &dyn Backend,
        builds: &Builds,
        now: Timestamp,
    ) -> Result<Hosts, String> {
        let asked = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|_, asked| now.millis_since(asked.at) < limits::PACKAGE_HOSTS_KNOWN_MS);
            let key = format!("{}\n{variables:?}", self.identity(root));
            Arc::clone(asked.entry(key).or_insert_with(|| Asked::at(now)))
        };
        asked.hosts.get_or_try_init(|| ask(root, variables, limits, backend, builds)).await.cloned()
    }
}

impl Asked {
    fn at(at: Timestamp) -> Arc<Self> {
        Arc::new(Self { at, hosts: OnceCell::new() })
    }
}

/// Asks the managers in a sandbox that is thrown away.
async fn ask(
    root: &Root,
    variables: &BTreeMap<String, String>,
    limits: Limits,
    backend: &dyn Backend,
    builds: &Builds,
) -> Result<Hosts, String> {
    let ids = builds.ids();
    let (root, variables) = (root.clone(), variables.clone());
    let spec = Spec { limits, root, variables, ..Spec::new(ids.make()) };
    let answers = async {
        let sandbox = backend.provision(&spec).await.map_err(|error| error.to_string())?;
        script::run(&*sandbox, &ids, managers::QUESTIONS).await
    };
    let answers = answers.await;
    if let Err(error) = backend.destroy(&spec.session, false).await {
        tracing::warn!(error = %error, "throw a sandbox away failed; the sweep removes it");
    }
    Ok(managers::hosts(&answers?).into())
}

/// The operating system whose files these are.
fn release(base: &Base) -> String {
    let folder = match base {
        Base::Host | Base::Empty => Path::new("/"),
        Base::Directory(folder) => folder,
    };
    let text = fs::read_to_string(folder.join("usr/lib/os-release")).unwrap_or_default();
    let is_said = |line: &&str| {
        let name = line.split('=').next().unwrap_or(line);
        matches!(name, "ID" | "VERSION" | "VERSION_ID" | "BUILD_ID")
    };
    let said: Vec<&str> = text.lines().filter(is_said).collect();
    format!("{base:?}\n{}", said.join("\n"))
}
