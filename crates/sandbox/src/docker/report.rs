//! What a container engine offers, for `doctor`.

use bollard::models::SystemInfo;

use super::Config;
use super::engine;
use super::engine::Engine;
use crate::Error;
use crate::Primitive;
use crate::Report;

/// Asks the engine. Blocks for as long as that takes, on a thread of its own: a report is wanted outside of any runtime, or
/// inside one that must not be blocked by another.
pub(super) fn report(config: &Config) -> Report {
    let config = config.clone();
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let asked = runtime.map(|runtime| runtime.block_on(Engine::new(&config).info()));
        (asked, config)
    });
    let Ok((Ok(asked), config)) = asked.join() else {
        return Report { mode: None, primitives: Vec::new() };
    };
    let mut primitives = vec![reached(&config, &asked)];
    if let Ok(info) = asked {
        primitives.extend([disk(&info), groups(&info), filter(&info), runtime(&config, &info)]);
    }
    Report { mode: None, primitives }
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

fn disk(info: &SystemInfo) -> Primitive {
    let driver = info.driver.as_deref().unwrap_or("unknown");
    let backing = engine::backing(info).unwrap_or("an unknown file system");
    Primitive {
        name: "bound on disk space",
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
        name: "control groups",
        present: bounds.iter().all(|bound| *bound == Some(true)),
        detail: format!("version {version}"),
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
        remedy: "run the engine on a kernel with seccomp; user namespaces (`userns-remap`) help too"
            .to_owned(),
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
