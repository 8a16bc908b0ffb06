//! `image build`: a root file system from Debian packages, made by the program that this machine has for it.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use sandbox::images;
use sandbox::images::Content;
use sandbox::images::Digest;
use sandbox::images::Image;
use sandbox::images::ImageName;
use sandbox::images::Importer;
use sandbox::images::Made;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;

use super::arguments::Build;
use super::packages;
use super::sources;
use super::sources::Source;
use crate::environment::Environment;

const CHUNK_BYTES: usize = 1 << 20;
const FINISH: &str = include_str!("finish.sh");
const DEBOOTSTRAP: &str = include_str!("debootstrap.sh");
/// What programs in the image expect of their environment.
const VARIABLES: [&str; 2] = ["LANG=C.UTF-8", "PIP_BREAK_SYSTEM_PACKAGES=1"];
/// What this machine's apt is told about reaching a mirror, which holds for the build as well.
const REACH: [&str; 5] = [
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Retries",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
];

/// What is to be built.
struct Recipe {
    suite: String,
    packages: Vec<String>,
    sources: Vec<Source>,
    /// Lines for apt's configuration during the build.
    options: Vec<String>,
}

/// The program that builds.
enum Builder {
    Mmdebstrap { program: PathBuf, is_root: bool },
    Debootstrap,
}

/// What a program writes.
struct Output(ChildStdout);

/// Builds and takes in an image.
pub(super) async fn build(
    importer: &Importer<'_>,
    name: &ImageName,
    flags: &Build,
    environment: &Environment,
    data: &Path,
) -> Result<Image> {
    let keyring = flags.keyring.as_ref().map(std::path::absolute).transpose()?;
    let recipe = Recipe {
        suite: flags.suite.clone(),
        packages: packages::list(flags.set, &flags.packages)?,
        sources: sources::find(Path::new("/etc/apt"), &flags.suite, &flags.mirrors, keyring.as_deref())?,
        options: options().await,
    };
    let builder = Builder::find(environment)?;
    eprintln!("building {name} with {} packages by {}", recipe.packages.len(), builder.told());
    for source in &recipe.sources {
        eprintln!("packages of {} from {}", source.suite, without_user(&source.address));
    }
    let mut child = builder.start(&recipe, environment, data)?;
    let mut output = Output(child.stdout.take().expect("its output is piped"));
    let source = format!("packages of {} ({:?} set)", recipe.suite, flags.set).to_lowercase();
    let variables = VARIABLES.map(str::to_owned);
    // It is known only at the end what was built, and nothing is built twice the same.
    let layer = Digest::of(format!("{source}\n{}", getrandom_text()).as_bytes()).layer().clone();
    let made = Made { source: &source, layer: &layer, variables: &variables };
    Ok(importer.import_stream(name, &made, &mut output, ended(&mut child)).await?)
}

impl Builder {
    fn find(environment: &Environment) -> Result<Self> {
        let path = environment.get("PATH").unwrap_or("/usr/sbin:/usr/bin:/sbin:/bin");
        let find = |name: &str| {
            std::env::split_paths(path).map(|folder| folder.join(name)).find(|path| path.is_file())
        };
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
        match (find("mmdebstrap"), find("debootstrap"), is_root) {
            (Some(program), _, is_root) => Ok(Self::Mmdebstrap { program, is_root }),
            (None, Some(_), true) => Ok(Self::Debootstrap),
            (None, Some(_), false) => {
                bail!(
                    "debootstrap works for root only; install mmdebstrap, which does not need that: apt-get install mmdebstrap"
                )
            }
            (None, None, _) => {
                bail!(
                    "there is no program to build with; install one on a Debian or Ubuntu machine: apt-get install mmdebstrap"
                )
            }
        }
    }

    fn told(&self) -> &'static str {
        match self {
            Self::Mmdebstrap { program: _, is_root: true } => "mmdebstrap, as root",
            Self::Mmdebstrap { program: _, is_root: false } => "mmdebstrap, in a user namespace",
            Self::Debootstrap => "debootstrap, as root",
        }
    }

    /// Starts it; the tar comes from its output, and what it has to say goes to ours.
    fn start(&self, recipe: &Recipe, environment: &Environment, data: &Path) -> Result<Child> {
        let Recipe { suite, packages, sources, options } = recipe;
        let packages = packages.join(",");
        let lines: Vec<String> = sources.iter().map(Source::line).collect();
        let mut command = match self {
            Self::Mmdebstrap { program, is_root } => {
                let mut command = Command::new(program);
                let mode = if *is_root { "root" } else { "unshare" };
                command.args(["--variant=minbase", "--format=tar"]);
                command.arg(format!("--mode={mode}")).arg(format!("--include={packages}"));
                command.args(options.iter().map(|option| format!("--aptopt={option}")));
                command.arg(hook()).args([suite.as_str(), "-"]).args(&lines);
                command
            }
            Self::Debootstrap => {
                let main = sources
                    .iter()
                    .find(|source| source.suite == *suite)
                    .context("no source has the release")?;
                let folder = data.join("images").join(format!(".build-{}", std::process::id()));
                let mut command = Command::new("unshare");
                command.args([
                    "--mount",
                    "--propagation",
                    "private",
                    "--",
                    "sh",
                    "-c",
                    DEBOOTSTRAP,
                    "debootstrap",
                ]);
                command.arg(folder).args([
                    suite,
                    &main.address,
                    main.keyring.as_ref().unwrap_or(&String::new()),
                ]);
                command.args([&packages, &lines.join("\n"), &options.join("\n"), FINISH]);
                command
            }
        };
        if environment.get("TMPDIR").is_none() && environment.get("TMP").is_none() {
            // The folder for passing things may be in memory; the one for keeping them is not.
            command.env("TMPDIR", "/var/tmp");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        command.spawn().with_context(|| format!("start {}", self.told()))
    }
}

/// Runs the last step for mmdebstrap, which gives the folder as the first argument.
fn hook() -> OsString {
    let mut hook = OsString::from("--customize-hook=");
    hook.push(FINISH);
    hook
}

/// Waits for a program and takes anything but success for a failure.
async fn ended(child: &mut Child) -> Result<(), images::Error> {
    let read = |source: Box<dyn std::error::Error + Send + Sync>| images::Error::Read {
        what: "what was built".to_owned(),
        source,
    };
    let status = child.wait().await.map_err(|error| read(error.into()))?;
    if status.success() {
        Ok(())
    } else {
        Err(read(format!("the program that built it ended with {status}").into()))
    }
}

#[async_trait::async_trait]
impl Content for Output {
    async fn next(&mut self) -> Result<Vec<u8>, images::Error> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = (&mut self.0).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await;
        read.map_err(|error| images::Error::Read {
            what: "what is being built".to_owned(),
            source: error.into(),
        })?;
        Ok(chunk)
    }
}

/// What this machine's apt is told about reaching mirrors, so that the build reaches them as well.
async fn options() -> Vec<String> {
    let dump =
        Command::new("apt-config").arg("dump").stdin(Stdio::null()).stderr(Stdio::null()).output().await;
    let Ok(dump) = dump else { return Vec::new() };
    let text = String::from_utf8_lossy(&dump.stdout).into_owned();
    text.lines().filter(|line| is_reach(line)).map(str::to_owned).collect()
}

fn is_reach(line: &str) -> bool {
    REACH.iter().any(|prefix| line.starts_with(prefix)) && !line.ends_with(" \"\";")
}

/// An address without who we are there.
fn without_user(address: &str) -> String {
    match address.split_once("://").map(|(scheme, rest)| (scheme, rest.split_once('/').unwrap_or((rest, ""))))
    {
        Some((scheme, (host, path))) => {
            format!("{scheme}://{}/{path}", host.rsplit('@').next().unwrap_or_default())
        }
        None => address.to_owned(),
    }
}

fn getrandom_text() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system always has random bytes once it is up");
    Digest::of(&bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_machines_settings_only_those_for_reaching_mirrors_are_used() {
        assert!(is_reach("Acquire::http::Proxy \"http://127.0.0.1:3128\";"));
        assert!(is_reach("Acquire::Check-Valid-Until \"false\";"));
        for other in ["Acquire::http \"\";", "APT::Install-Recommends \"1\";", "Dir::Etc \"etc/apt\";"] {
            assert!(!is_reach(other), "{other}");
        }
    }

    #[test]
    fn users_of_mirrors_are_not_shown() {
        assert_eq!(without_user("https://user:secret@a.example.com/debian"), "https://a.example.com/debian");
        assert_eq!(without_user("http://a.example.com"), "http://a.example.com/");
    }
}
