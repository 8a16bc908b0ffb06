//! The report on the host.

use sandbox::Backend;

use crate::ground::Ground;

#[tokio::test]
async fn the_report_agrees_with_what_the_spawner_does() {
    let ground = Ground::new();
    let report = ground.backend.report();
    assert_eq!(report.mode, ground.backend.spawner().await.unwrap().mode);
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
    for one in &report.primitives {
        assert!(one.present || (!one.remedy.is_empty() && !one.cost.is_empty()), "{}", one.name);
    }
}
