//! Groups of this machine, where it lets this user make some.

#![expect(clippy::print_stdout, reason = "a test that cannot be had here says so")]

use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::*;

/// The groups of a test, by version, as far as the host has them.
fn grounds(name: &str) -> Vec<(&'static str, Groups)> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let without = |kind: &str| {
        let lines = mounts.lines().filter(|line| !line.contains(&format!(" - {kind} ")));
        lines.collect::<Vec<_>>().join("\n")
    };
    let name = format!("journeyman-test-{name}-{}", std::process::id());
    [("version 2", without("cgroup")), ("version 1", without("cgroup2"))]
        .into_iter()
        .map(|(version, mounts)| (version, Groups::below(places::find(&mounts, &own, &name))))
        .filter(|(version, groups)| {
            let is_there = groups.can_freeze();
            if !is_there {
                println!("skipped: no group of {version} can be made here");
            }
            is_there
        })
        .collect()
}

/// A shell that counts, taken into a group.
fn counter(group: &Group) -> Child {
    let script = "while :; do :; done";
    let child = Command::new("/bin/bash").args(["-c", script]).stdout(Stdio::null()).spawn().unwrap();
    let unified = group.unified.iter().map(|unified| &unified.folder);
    for folder in unified.chain(group.separate.iter().map(|(_, folder)| folder)) {
        std::fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    child
}

fn ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_held_process_makes_no_progress_and_goes_on_afterwards() {
    for (version, mut groups) in grounds("hold") {
        let group = groups.make("one").unwrap();
        let mut child = counter(&group);
        until("the process runs", || ticks(&child) > 1);
        group.freeze().unwrap();
        until("the process is held", || group.is_frozen());
        let held = ticks(&child);
        // The time that another process needs to count is time in which this one did not.
        let mut other = Command::new("/bin/bash")
            .args(["-c", "for ((i = 0; i < 100000; i++)); do :; done"])
            .spawn()
            .unwrap();
        other.wait().unwrap();
        assert_eq!(ticks(&child), held, "{version}");
        group.thaw().unwrap();
        until("the process goes on", || ticks(&child) > held);
        assert!(!group.is_frozen(), "{version}");
        child.kill().unwrap();
        child.wait().unwrap();
        groups.retire(group);
        until("the group is gone", || groups.tidy());
        groups.close();
    }
}

#[test]
fn a_held_process_can_be_killed() {
    for (version, mut groups) in grounds("kill") {
        let group = groups.make("one").unwrap();
        let mut child = counter(&group);
        group.freeze().unwrap();
        until("the process is held", || group.is_frozen());
        child.kill().unwrap();
        group.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "{version}");
        groups.retire(group);
        until("the group is gone", || groups.tidy());
        groups.close();
    }
}

#[test]
fn the_next_spawner_ends_what_is_held_in_a_group_of_the_last() {
    for (version, groups) in grounds("sweep") {
        let group = groups.make("one").unwrap();
        let mut child = counter(&group);
        group.freeze().unwrap();
        until("the process is held", || group.is_frozen());
        let parents =
            Parents { unified: groups.parents.unified.clone(), separate: groups.parents.separate.clone() };
        drop((group, groups));
        let next = Groups::below(parents);
        assert!(!child.wait().unwrap().success(), "{version}");
        assert!(next.folders().all(|parent| !parent.join("one").exists()), "{version}");
        next.close();
    }
}

#[test]
fn what_a_group_uses_is_counted() {
    let groups = Groups::open(&format!("journeyman-test-usage-{}", std::process::id()));
    if !groups.missing().is_empty() {
        println!("skipped: {}", groups.missing().join(", "));
        return groups.close();
    }
    let mut groups = groups;
    let group = groups.make("one").unwrap();
    group.limit(&Limits::default()).unwrap();
    let mut child = counter(&group);
    until("time is counted", || group.usage().cpu_micros.is_some_and(|micros| micros > 0));
    let usage = group.usage();
    assert_eq!((usage.processes, usage.oom_kills), (Some(1), Some(0)));
    assert!(usage.memory_bytes.is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    groups.retire(group);
    until("the group is gone", || groups.tidy());
    groups.close();
}
