//! Packages: what may stand in a list of them, and whether one says exactly which version it is.
//!
//! A package is data for its manager and never an option of it: nothing that begins with a dash, and no control character,
//! is accepted.

use crate::body::Field;
use crate::environments::Networking;
use crate::environments::PACKAGE_MANAGERS;
use crate::environments::Packages;
use crate::environments::PackagesParams;
use crate::errors::Error;
use crate::limits::PACKAGE_CHARS_MAX;
use crate::limits::PACKAGES_MAX;

impl Packages {
    /// There is nothing to install.
    pub fn is_empty(&self) -> bool {
        self.each().iter().all(|(_, packages)| packages.is_empty())
    }

    /// Every manager with its packages, in the order in which they install.
    pub fn each(&self) -> [(Manager, &[String]); 6] {
        let Self { apt, cargo, gem, go, npm, pip } = self;
        [
            (Manager::Apt, apt),
            (Manager::Cargo, cargo),
            (Manager::Gem, gem),
            (Manager::Go, go),
            (Manager::Npm, npm),
            (Manager::Pip, pip),
        ]
    }

    /// Every package says exactly which version it is, so that installing them later gives the same.
    pub fn are_pinned(&self) -> bool {
        let is_pinned = |(manager, packages): &(Manager, &[String])| {
            packages.iter().all(|package| manager.is_pinned(package.trim()))
        };
        self.each().iter().all(is_pinned)
    }
}

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// `apt`
    Apt,
    /// `cargo`
    Cargo,
    /// `gem`
    Gem,
    /// `go`
    Go,
    /// `npm`
    Npm,
    /// `pip`
    Pip,
}

impl Manager {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Cargo => "cargo",
            Self::Gem => "gem",
            Self::Go => "go",
            Self::Npm => "npm",
            Self::Pip => "pip",
        }
    }

    /// Name and version of a package in the manager's own syntax.
    pub fn split(self, package: &str) -> (&str, Option<&str>) {
        let parts = match self {
            Self::Apt => package.split_once('='),
            Self::Pip => package.split_once("=="),
            Self::Gem => package.rsplit_once(':'),
            // A scope begins with the same sign: `@scope/name@1.0.0`.
            Self::Npm | Self::Cargo | Self::Go => {
                package.rsplit_once('@').filter(|(name, _)| !name.is_empty())
            }
        };
        parts.map_or((package, None), |(name, version)| (name, Some(version)))
    }

    fn is_pinned(self, package: &str) -> bool {
        let (_, Some(version)) = self.split(package) else {
            return false;
        };
        match self {
            Self::Apt => !version.contains('*'),
            Self::Pip => !version.contains(['*', ',']),
            Self::Gem => version.starts_with(|first: char| first.is_ascii_digit()),
            Self::Npm | Self::Cargo => is_exact(version),
            Self::Go => version.strip_prefix('v').is_some_and(is_exact),
        }
    }
}

/// Three numbers and what may follow them; two or one of them name a range.
fn is_exact(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or(version);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    core.split('.').count() == 3 && core.split('.').all(is_number)
}

/// Reads `packages`.
pub(super) fn parse(field: &Field<'_>) -> Result<PackagesParams, Error> {
    let names: Vec<&str> = std::iter::once("type").chain(PACKAGE_MANAGERS).collect();
    let object = field.object_of(&names)?;
    object.opt("type", |kind| kind.choice(&["packages"]))?;
    let mut packages = PackagesParams::default();
    for (slot, manager) in packages.iter_mut().zip(PACKAGE_MANAGERS) {
        *slot = object.opt(manager, |field| field.items(0, PACKAGES_MAX, package))?;
    }
    Ok(packages)
}

fn package(item: Field<'_>) -> Result<String, Error> {
    let text = item.text_within(1, PACKAGE_CHARS_MAX)?;
    let name = text.trim();
    if name.is_empty() || name.starts_with('-') || name.contains(char::is_control) {
        let message = "Input should be a package and optionally its version; it must not begin with a hyphen \
                       or hold line breaks";
        return Err(item.error(message));
    }
    Ok(text.to_owned())
}

/// Packages come from somewhere: limited networking has to let their managers through.
pub(super) fn check_access(networking: &Networking, packages: &Packages) -> Result<(), Error> {
    let is_open = match networking {
        Networking::Unrestricted => true,
        Networking::Limited { allow_package_managers, .. } => *allow_package_managers,
    };
    if is_open || packages.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "config.networking.allow_package_managers: Input should be true when `packages` are specified",
    ))
}
