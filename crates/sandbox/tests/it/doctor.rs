//! The report on the host.

use sandbox::Backend;

use crate::ground::Ground;

#[tokio::test]
async fn the_report_agrees_with_what_the_spawner_does() {
    let ground = Ground::new();
    let report = ground.backend.report();
    assert_eq!(report.mode, ground.backend.spawner().await.unwrap().status.mode);
    let lines: Vec<String> = report
        .primitives
        .iter()
        .map(|one| format!("{} {}: {}", if one.present { "yes" } else { "no " }, one.name, one.detail))
        .collect();
    println!("{}", lines.join("\n"));
    for name in ["kernel", "sandboxes", "user namespaces", "overlay in a user namespace", "seccomp", "bash"] {
        let found = report.primitives.iter().find(|one| one.name == name).expect(name);
        assert!(found.present, "{name}: {}", found.detail);
    }
    let disk = report.primitives.iter().find(|one| one.name == "disk quota").unwrap();
    let bounds = ["project quota", "btrfs subvolume", "watched"];
    assert!(bounds.iter().any(|name| disk.detail.starts_with(name)), "{}", disk.detail);
    for name in ["memory", "pids", "cpu", "freezer"] {
        let name = format!("control group: {name}");
        assert!(report.primitives.iter().any(|one| one.name == name), "{name}");
    }
    for one in &report.primitives {
        assert!(one.present || (!one.remedy.is_empty() && !one.cost.is_empty()), "{}", one.name);
    }
}
