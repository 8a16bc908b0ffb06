//! The server of a run, and the folder in which it keeps everything.

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::MODEL;
use super::Mode;
use crate::install;
use crate::process;
use crate::served;
use crate::served::Profile;
use crate::served::Served;

/// The key of the server.
pub(super) const KEY: &str = "compat";
/// A user id that no host grants subordinate ids, and one that [`GRANT`] grants some.
const PLAIN: u32 = 65_533;
const GRANTED: u32 = 65_532;
/// Runs a program as a user with subordinate ids.
const GRANT: &str = "tests/granted.sh";
/// The spawner ends its sandboxes before it ends.
const REMOVE_MAX: Duration = Duration::from_secs(10);

/// Where a run happens.
pub(super) struct Ground {
    folder: PathBuf,
    data: PathBuf,
    program: PathBuf,
    user: Option<u32>,
}

impl Ground {
    /// Makes the folder and puts the program there: the folder of the build may be out of a user's reach.
    pub(super) fn make(data: Option<&Path>, mode: Mode) -> Result<Self> {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
        let user = match (mode, is_root) {
            (Mode::Root, false) => bail!("only root can run sandboxes as root"),
            (Mode::Unprivileged, true) => Some(PLAIN),
            (Mode::Subordinate, true) => Some(GRANTED),
            (Mode::Own, _) | (Mode::Root, true) | (Mode::Unprivileged | Mode::Subordinate, false) => None,
        };
        if user == Some(GRANTED)
            && let Err(missing) = install::subordinate_ids()
        {
            bail!("run as a user with subordinate ids: {}", missing.0);
        }
        let built = Profile::Debug.build("journeyman", "journeyman")?;
        let folder = std::env::temp_dir().join(format!("journeyman-compat-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let program = folder.join("journeyman");
        std::fs::copy(&built, &program).with_context(|| format!("copy {}", built.display()))?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .context("let it be run")?;
        chown(&folder, user, user).context("give the folder to the user")?;
        let data = match data {
            Some(data) => data.canonicalize().with_context(|| format!("find {}", data.display()))?,
            None => folder.join("data"),
        };
        Ok(Self { folder, data, program, user })
    }

    /// Where the server's log is.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Starts a server with this script for a model.
    pub(super) fn start(&self, image: Option<&str>, script: &str) -> Result<Served> {
        let script_file = self.folder.join("script.toml");
        std::fs::write(&script_file, script).context("write the script")?;
        let image = image.map_or_else(String::new, |image| format!("[sandbox]\nimage = \"{image}\"\n\n"));
        let config = format!(
            "{image}[models.providers.{MODEL}]\nkind = \"scripted\"\nscript = '{}'\n\n\
             [[models.routes]]\npattern = \"*\"\nprovider = \"{MODEL}\"\n",
            script_file.display()
        );
        let config_file = self.folder.join("journeyman.toml");
        std::fs::write(&config_file, config).context("write the configuration")?;
        let mut command = match self.user {
            None => Command::new(&self.program),
            Some(GRANTED) => {
                let mut command = Command::new("sh");
                command.arg(process::root().join(GRANT)).arg(GRANTED.to_string()).arg(&self.program);
                command
            }
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={user}")]);
                command.arg("--clear-groups").arg(&self.program);
                command
            }
        };
        // Nothing of who runs this reaches the server, so that every run is like the others.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("JOURNEYMAN_API_KEY", KEY).current_dir(&self.folder).stdin(std::process::Stdio::null());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&self.data);
        command.arg("--config").arg(&config_file);
        Served::start(&mut command, &self.log())
    }

    /// Ends the spawner of a throw-away data folder; one of a folder that was given may be somebody else's, too.
    pub(super) fn end(&self) -> Result<()> {
        if self.data.starts_with(&self.folder) { served::end_spawner(&self.data) } else { Ok(()) }
    }

    /// Removes the folder, once the spawner has let it go.
    pub(super) fn remove(self) -> Result<()> {
        self.end()?;
        let deadline = Instant::now() + REMOVE_MAX;
        loop {
            match process::read(process::command("rm").arg("-rf").arg(&self.folder)) {
                Ok(_) => return Ok(()),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error.context("remove the folder of the run")),
            }
        }
    }
}
