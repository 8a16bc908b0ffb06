//! What a container engine offers, for `doctor`.

use bollard::models::SystemInfo;

use super::Config;
use super::engine;
use super::engine::Engine;
use crate::Error;
use crate::Mode;
use crate::Primitive;
use crate::Report;
use crate::Status;

const DISK: &str = "bound on disk space";
const GROUPS: &str = "bound on memory and processes";

/// Asks the engine.
pub(super) async fn look(config: &Config, engine: &Engine) -> Report {
    let asked = engine.info().await;
    let mut primitives = vec![reached(config, &asked)];
    let mut mode = None;
    if let Ok(info) = &asked {
        let needed = [image(config, &engine.base().await), runtime(config, info)];
        mode = needed.iter().all(|primitive| primitive.present).then_some(Mode::Containers);
        primitives.extend(needed);
        primitives.extend([disk(info), groups(info), filter(info), owners(info), checkpoints()]);
    }
    Report { mode, primitives }
}

/// The same from outside of any runtime, or from inside one that must not be blocked by another: on a thread of its own.
/// Blocks for as long as that takes.
pub(super) fn report(config: &Config) -> Report {
    let config = config.clone();
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| runtime.block_on(look(&config, &Engine::new(&config))))
    });
    match asked.join() {
        Ok(Ok(report)) => report,
        Ok(Err(_)) | Err(_) => Report { mode: None, primitives: Vec::new() },
    }
}

/// What a report says in short.
pub(super) fn status(report: &Report) -> Status {
    let is_present = |name: &str| report.primitives.iter().any(|one| one.name == name && one.present);
    let missing = report.primitives.iter().filter(|primitive| !primitive.present);
    Status {
        mode: report.mode,
        disk: if is_present(DISK) {
            "by the engine, for all files of a container"
        } else {
            "each single file"
        }
        .to_owned(),
        can_freeze: is_present(GROUPS),
        missing: missing.map(|primitive| primitive.name.to_owned()).collect(),
    }
}

fn reached(config: &Config, asked: &Result<SystemInfo, Error>) -> Primitive {
    Primitive {
        name: "container engine",
        present: asked.is_ok(),
        detail: match asked {
            Ok(info) => {
                let version = info.server_version.as_deref().unwrap_or("of no known version");
                format!("version {version} at {}", config.socket.display())
            }
            Err(error) => error.to_string(),
        },
        cost: "no sandbox can be made",
        remedy: format!(
            "start it, and let this server use its socket, which usually is {}",
            engine::usual_socket().display()
        ),
    }
}

fn image(config: &Config, found: &Result<String, Error>) -> Primitive {
    Primitive {
        name: "image of containers",
        present: found.is_ok(),
        detail: match found {
            Ok(id) => format!("{}, {id}", config.image),
            Err(error) => error.to_string(),
        },
        cost: "no sandbox can be made",
        remedy: format!("`docker pull {}`, or name another one as sandbox.docker.image", config.image),
    }
}

fn disk(info: &SystemInfo) -> Primitive {
    let driver = info.driver.as_deref().unwrap_or("unknown");
    let backing = engine::backing(info).unwrap_or("an unknown file system");
    Primitive {
        name: DISK,
        present: engine::bounds_disk(info),
        detail: format!("storage driver {driver} on {backing}"),
        cost: "each file is bounded, but not all files of a sandbox together",
        remedy: "keep the engine's data on XFS mounted with `pquota`, or on btrfs or ZFS".to_owned(),
    }
}

fn groups(info: &SystemInfo) -> Primitive {
    let version = info.cgroup_version.map_or_else(|| "none".to_owned(), |version| version.to_string());
    let bounds = [info.memory_limit, info.cpu_cfs_quota.or(info.cpu_cfs_period), info.pids_limit];
    Primitive {
        name: GROUPS,
        present: bounds.iter().all(|bound| *bound == Some(true)),
        detail: format!("control groups, version {version}"),
        cost: "memory, processor time or processes of a sandbox are not bounded",
        remedy: "enable the controllers memory, cpu and pids on the engine's host".to_owned(),
    }
}

fn filter(info: &SystemInfo) -> Primitive {
    let options = info.security_options.as_deref().unwrap_or_default();
    Primitive {
        name: "the engine's own walls",
        present: options.iter().any(|option| option.contains("seccomp")),
        detail: options.join(" "),
        cost: "the filter of the hand is the only one",
        remedy: "run the engine on a kernel with seccomp".to_owned(),
    }
}

fn owners(info: &SystemInfo) -> Primitive {
    let options = info.security_options.as_deref().unwrap_or_default();
    let has = |name: &str| options.iter().any(|option| option.contains(name));
    let (remaps, is_rootless) = (has("name=userns"), has("name=rootless"));
    Primitive {
        name: "owners apart from the host's",
        present: remaps || is_rootless,
        detail: match (remaps, is_rootless) {
            (_, true) => "the engine is without root",
            (true, false) => "one range of ids for all containers",
            (false, false) => "root in a container has the id of the host's root",
        }
        .to_owned(),
        cost: "whoever gets through the other walls is root on the host",
        remedy: "set `userns-remap` in the configuration of the engine".to_owned(),
    }
}

fn checkpoints() -> Primitive {
    Primitive {
        name: "checkpoints",
        present: false,
        detail: "what a session writes stays with its container, in this engine".to_owned(),
        cost: "no other node can go on with the files of a session, and they are gone with the engine's data",
        remedy: "keep the engine's data; where sessions are to move, use the embedded back end".to_owned(),
    }
}

fn runtime(config: &Config, info: &SystemInfo) -> Primitive {
    let mut names: Vec<&str> = info.runtimes.iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let default = info.default_runtime.as_deref().unwrap_or("none");
    let wanted = config.runtime.as_deref().unwrap_or(default);
    Primitive {
        name: "runtime of containers",
        present: names.contains(&wanted),
        detail: format!("{wanted}, of {}", names.join(", ")),
        cost: "no sandbox can be made",
        remedy: "install the runtime and tell the engine of it, or choose another one".to_owned(),
    }
}
