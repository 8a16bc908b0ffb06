//! A server that dies at each point in the life of a job: once the job is written, once it is claimed, and once its effect is
//! there and the job has not ended.
//!
//! The job is the build of an environment's setup script. The next server on the same data ends it without being asked;
//! where nodes share a database, another one that wants the layer ends it for itself. Afterwards there is one layer on each
//! node that has built, no job, and nothing of the attempt that died.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;

use super::points;
use super::points::joined;
use super::traces::Traces;
use crate::http::Client;
use crate::served;
use crate::served::Setup;

const POINTS: [&str; 3] = ["job_written", "job_claimed", "before_job_end"];
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// A lease that runs out and a build take seconds.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Every point at the same time, each with data of its own.
pub(super) fn run(setup: &Setup) -> Result<()> {
    let outcomes: Vec<(String, Result<()>)> = thread::scope(|scope| {
        let mut lives = Vec::new();
        for point in POINTS {
            let own = points::own(setup, point, "");
            lives.push((point.to_owned(), scope.spawn(move || come_back(&own?, point))));
            if setup.database.is_some() {
                let own = points::own(setup, &format!("taken_over_{point}"), "");
                lives.push((
                    format!("{point} and another node"),
                    scope.spawn(move || stay_away(&own?, point)),
                ));
            }
        }
        lives.into_iter().map(|(name, life)| (name, joined(life))).collect()
    });
    for (name, outcome) in outcomes {
        outcome.with_context(|| format!("die at {name}"))?;
        println!("  {name}: passed");
    }
    Ok(())
}

/// The next server on the same data ends the job by itself.
fn come_back(setup: &Setup, point: &str) -> Result<()> {
    let first = setup.start(ANY_PORT, Some(&format!("{point}:1")))?;
    let path = order(first.address, &setup.key)?;
    let second = points::replace(setup, first, point)?;
    until_built(second.address, &setup.key, &path)?;
    Traces(setup).until_one_layer()?;
    drop(second);
    served::end_spawner(&setup.data)
}

/// The server is gone for good, and another node on the same database wants the layer.
fn stay_away(setup: &Setup, point: &str) -> Result<()> {
    let other = Setup { data: setup.data.with_file_name("other"), ..setup.clone() };
    let mut first = setup.start(ANY_PORT, Some(&format!("{point}:1")))?;
    let path = order(first.address, &setup.key)?;
    if !first.ends_within(points::DEATH_MAX)? {
        bail!("the server has not reached {point}");
    }
    let second = other.start(ANY_PORT, None)?;
    Client::new(second.address, &setup.key).post(&path, "")?.json()?;
    until_built(second.address, &setup.key, &path)?;
    Traces(&other).until_one_layer()?;
    drop(second);
    served::end_spawner(&setup.data).and_then(|()| served::end_spawner(&other.data))
}

/// Makes an environment with something to build. Answers where its build is shown.
fn order(address: SocketAddr, key: &str) -> Result<String> {
    let mut client = Client::new(address, key);
    let config = json!({"type": "cloud", "networking": {"type": "unrestricted"}});
    let body = json!({"name": "built", "config": config}).to_string();
    let environment = client.post("/v1/environments", &body)?.json()?;
    let id = environment["id"].as_str().context("an environment has an id")?;
    let settings = json!({"setup": "echo built >> /usr/local/built"}).to_string();
    // The server may die before it answers; what it stored before that counts.
    drop(client.post(&format!("/x/v1/environments/{id}/sandbox"), &settings));
    Ok(format!("/x/v1/environments/{id}/build"))
}

fn until_built(address: SocketAddr, key: &str, path: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let build: Value = Client::new(address, key).get(path)?.json()?;
        if build["status"] == "ready" {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("the build has not ended after {PATIENCE:?}: {build}");
        }
        thread::sleep(PAUSE);
    }
}
