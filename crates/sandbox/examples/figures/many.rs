//! Many sandboxes: at once, and idle.

use std::time::Duration;
use std::time::Instant;

use sandbox::Spec;

use crate::stage::Stage;
use crate::table::Bound;
use crate::table::times;
use crate::table::value;

const AT_ONCE: usize = 100;

/// Until all of a hundred new sandboxes, asked for in the same moment, have answered their first command.
pub(crate) async fn at_once(stage: &Stage, rounds: usize) {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let specs: Vec<Spec> = (0..AT_ONCE).map(|_| stage.spec()).collect();
        let begin = Instant::now();
        crowd(stage, &specs).await;
        all.push(begin.elapsed());
        end(stage, &specs).await;
        // What was written is removed in the background.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    times("100 sandboxes at once, until all have answered", &all, Bound::AtMost(1000.0), Bound::None);
}

async fn crowd(stage: &Stage, specs: &[Spec]) {
    let starting = specs.iter().map(|spec| async { stage.provision(spec).await.bash(":").await });
    futures_util::future::join_all(starting).await;
}

async fn end(stage: &Stage, specs: &[Spec]) {
    futures_util::future::join_all(specs.iter().map(|spec| stage.end(spec))).await;
}

/// What a sandbox with an idle shell takes of memory.
pub(crate) async fn idle(stage: &Stage, count: usize) {
    let before = Memory::now(stage);
    let specs: Vec<Spec> = (0..count).map(|_| stage.spec()).collect();
    for some in specs.chunks(50) {
        crowd(stage, some).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = Memory::now(stage);
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / count as f64;
    let private = each(after.private, before.private);
    let shared = each(after.shared, before.shared);
    let kernel = each(after.kernel, before.kernel);
    let caches = each(after.caches, before.caches);
    let what = format!("memory of each of {count} idle sandboxes, each with a shell");
    value(&what, (private + shared + kernel) / 1024.0, "MiB", Bound::AtMost(1.0));
    value("of which private to hand and shell", private, "KiB", Bound::None);
    value("of which their part of what they share", shared, "KiB", Bound::None);
    value("of which slab, page tables and kernel stacks", kernel, "KiB", Bound::None);
    value("besides, slab that the kernel gives up when memory is wanted", caches, "KiB", Bound::None);
    end(stage, &specs).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// Kibibytes.
struct Memory {
    private: u64,
    shared: u64,
    kernel: u64,
    caches: u64,
}

impl Memory {
    fn now(stage: &Stage) -> Self {
        let (mut private, mut shared) = (0, 0);
        for pid in below(stage.spawner) {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let own = field(&text, "Private_Clean:") + field(&text, "Private_Dirty:");
            private += own;
            shared += field(&text, "Pss:").saturating_sub(own);
        }
        let all = std::fs::read_to_string("/proc/meminfo").unwrap();
        let kernel =
            ["SUnreclaim:", "PageTables:", "KernelStack:"].into_iter().map(|name| field(&all, name)).sum();
        Self { private, shared, kernel, caches: field(&all, "SReclaimable:") }
    }
}

/// Processes below the spawner, of any depth.
fn below(spawner: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pairs: Vec<(i32, i32)> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![spawner];
    let mut next = 0;
    while next < found.len() {
        let above = found[next];
        found.extend(pairs.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn field(text: &str, name: &str) -> u64 {
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.unwrap_or(0)
}
