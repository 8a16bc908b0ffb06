//! How the packages of an environment are installed, and the name of the layer that holds them. Pure.
//!
//! The name is a digest of everything that the layer depends on: environments that ask for the same share it. Packages are
//! data: each is one quoted word for its manager, and the API has refused what a manager could take for an option.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::environments::Config;
use api::environments::Manager;
use api::environments::Networking;
use api::environments::SessionEnvironment;
use api::time::Timestamp;
use sandbox::LayerName;
use serde_json::json;
use sha2::Digest;
use sha2::Sha256;

/// Rises when the same packages are installed otherwise than before.
const FORMAT: u32 = 1;
/// Where a build keeps what it needs; not part of the layer.
pub(super) const FOLDER: &str = "/tmp/.journeyman-build";
const WEEK_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;
/// The first Monday before the beginning of time.
const MONDAY_MICROS: i64 = -3 * 24 * 3600 * 1_000_000;

/// One thing that a build does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// A package manager, or `setup`.
    pub(super) name: &'static str,
    /// Whether it is one of a package manager.
    pub(super) is_manager: bool,
    /// For bash.
    pub(super) script: String,
}

/// The name of the layer with what an environment installs; `None` when it installs nothing. `base` is what the sandboxes
/// stand on.
pub(super) fn layer(environment: &SessionEnvironment, base: &str, now: Timestamp) -> Option<LayerName> {
    if !environment.installs() {
        return None;
    }
    let packages = environment.packages()?;
    let setup = environment.sandbox.setup.as_deref();
    let lists: BTreeMap<&str, Vec<&str>> =
        packages.each().iter().map(|(manager, packages)| (manager.as_str(), normal(packages))).collect();
    // What is not pinned is looked for anew every week.
    let week = (!packages.are_pinned()).then(|| (now.0 - MONDAY_MICROS).div_euclid(WEEK_MICROS));
    let is_limited = match &environment.config {
        Config::Cloud { networking: Networking::Limited { .. }, packages: _ } => true,
        Config::Cloud { networking: Networking::Unrestricted, packages: _ } | Config::SelfHosted => false,
    };
    let all = json!({
        "format": FORMAT,
        "architecture": std::env::consts::ARCH,
        "base": base,
        "packages": lists,
        "setup": setup,
        "variables": environment.sandbox.variables,
        "is_limited": is_limited,
        "week": week,
    });
    let digest = Sha256::digest(all.to_string().as_bytes());
    let name = digest.iter().fold(String::with_capacity(64), |mut name, byte| {
        write!(name, "{byte:02x}").expect("a text takes everything");
        name
    });
    Some(LayerName::try_from(name).expect("a digest has 64 digits"))
}

fn normal(packages: &[String]) -> Vec<&str> {
    let mut packages: Vec<&str> = packages.iter().map(|package| package.trim()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// What a build does, in order.
pub(super) fn steps(environment: &SessionEnvironment) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(packages) = environment.packages() {
        for (manager, packages) in packages.each() {
            if !packages.is_empty() {
                steps.push(Step {
                    name: manager.as_str(),
                    is_manager: true,
                    script: install(manager, &normal(packages)),
                });
            }
        }
    }
    if let Some(setup) = &environment.sandbox.setup {
        let script = format!("printf %s {} > {FOLDER}/setup\ncd /workspace\n{RUN_SETUP}", quoted(setup));
        steps.push(Step { name: "setup", is_manager: false, script });
    }
    steps
}

/// A script that names its interpreter gets it.
const RUN_SETUP: &str = r#"chmod +x /tmp/.journeyman-build/setup
if [ "$(head -c 2 /tmp/.journeyman-build/setup)" = '#!' ]; then
  exec /tmp/.journeyman-build/setup
fi
exec bash /tmp/.journeyman-build/setup
"#;

fn install(manager: Manager, packages: &[&str]) -> String {
    let words = packages.iter().map(|package| quoted(package)).collect::<Vec<_>>().join(" ");
    match manager {
        Manager::Apt => format!(
            "{}{NEEDS_DPKG}export DEBIAN_FRONTEND=noninteractive\n\
             apt='apt-get -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o Acquire::Retries=3'\n\
             $apt update\n$apt install -y -- {words}\n",
            needs("apt-get")
        ),
        Manager::Cargo => format!("{}cargo install --root /usr/local -- {words}\n", needs("cargo")),
        Manager::Gem => each(needs("gem"), packages, |package| {
            let (name, version) = manager.split(package);
            let version = version.map(|version| format!(" -v {}", quoted(version))).unwrap_or_default();
            // What follows two dashes would be options of a compiler.
            format!("gem install --no-document{version} {}", quoted(name))
        }),
        Manager::Go => each(needs("go"), packages, |package| {
            let newest = if manager.split(package).1.is_none() { "@latest" } else { "" };
            format!("GOBIN=/usr/local/bin go install {}", quoted(&format!("{package}{newest}")))
        }),
        Manager::Npm => format!(
            "{}npm install -g --prefix /usr/local --no-audit --no-fund --no-update-notifier -- {words}\n",
            needs("npm")
        ),
        Manager::Pip => format!(
            "{}export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 \
             PIP_DISABLE_PIP_VERSION_CHECK=1\npython3 -m pip install -- {words}\n",
            needs("python3")
        ),
    }
}

/// `apt` is the host's there, but not what it keeps of installed packages.
const NEEDS_DPKG: &str = r"if [ ! -e /var/lib/dpkg/status ]; then
  echo 'apt cannot install packages here: the sandboxes of this server stand on the files of the host. Make an image with `journeyman image build` and choose it for the environment.'
  exit 1
fi
";

/// A script with one line for each package.
fn each(first: String, packages: &[&str], line: impl Fn(&str) -> String) -> String {
    packages.iter().fold(first, |script, package| script + &line(package) + "\n")
}

fn needs(program: &str) -> String {
    format!(
        "set -e\ncommand -v {program} >/dev/null || {{ echo '{program} is not there: choose an image that has it'; exit 127; }}\n"
    )
}

/// Removes what a later session has no use for.
pub(super) const CLEAN: &str = r"
cd /
if command -v go >/dev/null; then go clean -cache -modcache; fi
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/log/apt /var/log/dpkg.log
rm -rf ~/.cache ~/.npm ~/.cargo/registry ~/.cargo/git ~/go/pkg
find /tmp -mindepth 1 -maxdepth 1 ! -name '.journeyman' -exec rm -rf {} +
true
";

/// A text as one word of bash.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use api::environments::Packages;

    use super::*;

    fn with(packages: Packages, setup: Option<&str>) -> SessionEnvironment {
        let config = Config::Cloud { networking: Networking::Unrestricted, packages };
        let mut environment = SessionEnvironment { config, ..SessionEnvironment::default() };
        environment.sandbox.setup = setup.map(str::to_owned);
        environment
    }

    fn pip(packages: &[&str]) -> SessionEnvironment {
        let pip = packages.iter().map(|package| (*package).to_owned()).collect();
        with(Packages { pip, ..Packages::default() }, None)
    }

    fn at(days: i64) -> Timestamp {
        Timestamp(days * 24 * 3600 * 1_000_000)
    }

    #[test]
    fn nothing_to_install_has_no_layer() {
        assert_eq!(layer(&SessionEnvironment::default(), "base", at(0)), None);
        let worker = SessionEnvironment { config: Config::SelfHosted, ..SessionEnvironment::default() };
        assert_eq!(layer(&worker, "base", at(0)), None);
    }

    #[test]
    fn the_same_packages_in_another_order_are_the_same_layer() {
        let one = layer(&pip(&["a==1", " b==2"]), "base", at(0));
        assert_eq!(one, layer(&pip(&["b==2", "a==1", "a==1"]), "base", at(0)));
        assert_ne!(one, layer(&pip(&["a==1", "b==3"]), "base", at(0)));
        assert_ne!(one, layer(&pip(&["a==1", "b==2"]), "another base", at(0)));
        let mut other = pip(&["a==1", "b==2"]);
        other.sandbox.variables.insert("PIP_INDEX_URL".into(), "https://mirror.example".into());
        assert_ne!(one, layer(&other, "base", at(0)));
        assert_ne!(layer(&with(Packages::default(), Some("x")), "base", at(0)), None);
    }

    #[test]
    fn what_is_not_pinned_is_built_anew_every_week() {
        // 1970-01-05 was a Monday.
        let pinned = pip(&["a==1"]);
        assert_eq!(layer(&pinned, "base", at(3)), layer(&pinned, "base", at(400)));
        let open = pip(&["a"]);
        assert_eq!(layer(&open, "base", at(4)), layer(&open, "base", at(10)));
        assert_ne!(layer(&open, "base", at(3)), layer(&open, "base", at(4)));
        assert_ne!(layer(&open, "base", at(10)), layer(&open, "base", at(11)));
    }

    #[test]
    fn a_package_is_one_word_whatever_is_in_it() {
        let script = &steps(&pip(&["a'; rm -rf / #"]))[0].script;
        assert!(script.ends_with("python3 -m pip install -- 'a'\\''; rm -rf / #'\n"), "{script}");
    }

    #[test]
    fn managers_come_in_order_and_the_setup_last() {
        let one = |name: &str| vec![name.to_owned()];
        let packages = Packages {
            apt: one("jq"),
            cargo: one("a@1.0.0"),
            gem: one("rails:7.1.0"),
            go: one("x.example/a/b"),
            npm: one("@s/p@1.0.0"),
            pip: one("p"),
        };
        let steps = steps(&with(packages, Some("echo it's done")));
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["apt", "cargo", "gem", "go", "npm", "pip", "setup"]);
        for (step, expected) in steps.iter().zip([
            "$apt install -y -- 'jq'\n",
            "cargo install --root /usr/local -- 'a@1.0.0'\n",
            "gem install --no-document -v '7.1.0' 'rails'\n",
            "GOBIN=/usr/local/bin go install 'x.example/a/b@latest'\n",
            "-- '@s/p@1.0.0'\n",
            "python3 -m pip install -- 'p'\n",
        ]) {
            assert!(step.script.ends_with(expected), "{}", step.script);
        }
        assert!(steps[6].script.contains(r"printf %s 'echo it'\''s done' >"), "{}", steps[6].script);
    }
}
