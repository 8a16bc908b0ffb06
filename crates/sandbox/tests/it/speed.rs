//! How long things take. The figures are printed; the bounds are far above them, to catch what is wrong by an order.

use std::fmt::Write;
use std::time::Duration;
use std::time::Instant;

use sandbox::Backend;

use crate::ground::Ground;

const ROUNDS: usize = 100;

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

#[tokio::test]
async fn a_sandbox_is_up_in_milliseconds() {
    let ground = Ground::new();
    ground.backend.spawner().await.unwrap();
    let (mut cold, mut provisioned, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let spec = ground.spec();
        let start = Instant::now();
        let hands = ground.provision(&spec).await;
        provisioned.push(start.elapsed());
        assert_eq!(hands.bash("echo up").await, "up");
        cold.push(start.elapsed());
        let start = Instant::now();
        ground.backend.destroy(&spec.session, false).await.unwrap();
        ended.push(start.elapsed());
    }
    let (_, hands) = ground.sandbox().await;
    hands.bash("true").await;
    let mut warm = Vec::new();
    let mut external = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        hands.bash("echo warm").await;
        warm.push(start.elapsed());
        let start = Instant::now();
        hands.bash("/bin/true").await;
        external.push(start.elapsed());
    }
    let mut said = String::new();
    for (what, times) in [
        ("provision", &mut provisioned),
        ("provision to first result", &mut cold),
        ("warm builtin", &mut warm),
        ("warm /bin/true", &mut external),
        ("end", &mut ended),
    ] {
        let (middle, high) = (percentile(times, 50), percentile(times, 99));
        let low = percentile(times, 0);
        writeln!(said, "{what}: least {low:?}, p50 {middle:?}, p99 {high:?}").unwrap();
    }
    println!("{said}");
    assert!(percentile(&mut cold, 50) < Duration::from_millis(250), "{said}");
    assert!(percentile(&mut warm, 50) < Duration::from_millis(50), "{said}");
}
