//! What a sandbox reaches, from the inside: through its own namespace, the egress process, and out to a server here.

use std::net::SocketAddr;
use std::sync::Arc;

use egress::Policy;
use egress::Reports;
use egress::policy::HostPattern;
use egress::policy::HostRule;
use egress::policy::Reason;
use egress::policy::Route;
use sandbox::Backend;
use sandbox::Spec;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::ground::Ground;
use crate::ground::kill;
use crate::ground::until;

/// Answers every connection with the same few lines, whatever it says.
#[expect(clippy::disallowed_methods, reason = "it answers until the test ends")]
pub(crate) async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                drop(stream.read(&mut asked).await);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                drop(stream.write_all(answer).await);
            });
        }
    });
    address
}

fn pattern(host: &str) -> HostPattern {
    HostPattern::parse(host).unwrap()
}

pub(crate) fn limited_to(host: &str, to: SocketAddr) -> Policy {
    let rule = HostRule { pattern: pattern(host), reason: Reason::AllowedHosts };
    let mut policy = Policy::limited(vec![rule]);
    policy.routes = vec![Route { host: pattern("*.test"), port: None, to }];
    policy
}

fn with(ground: &Ground, policy: Policy) -> Spec {
    Spec { network: Some(Arc::new(policy)), ..ground.spec() }
}

/// Asks without a proxy, as a program that knows of none does.
pub(crate) fn ask(host: &str, port: u16) -> String {
    format!(
        "exec 3<>/dev/tcp/{host}/{port} && printf 'GET / HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n' >&3 && cat <&3; exec 3>&-"
    )
}

#[tokio::test]
async fn an_allowed_host_is_reached_and_another_is_refused_by_name() {
    for ground in [Ground::new(), Ground::of_nobody(), Ground::of_granted()] {
        let spec = with(&ground, limited_to("allowed.test", server().await));
        let hands = ground.provision(&spec).await;
        let said = hands.bash(&ask("allowed.test", 80)).await;
        assert!(said.ends_with("hello"), "{said}");
        let said = hands.bash(&ask("blocked.test", 80)).await;
        assert!(said.starts_with("HTTP/1.1 403") && said.contains("blocked.test"), "{said}");
        let report = Reports::open(ground.data_dir()).report(&spec.session).await.unwrap().unwrap();
        assert_eq!((report.totals.allowed, report.totals.refused), (1, 1), "{report:?}");
    }
}

#[tokio::test]
async fn every_port_is_caught_and_servers_inside_keep_theirs() {
    let ground = Ground::new();
    let mut policy = Policy::unrestricted();
    policy.routes = vec![Route { host: pattern("db.test"), port: None, to: server().await }];
    let hands = ground.provision(&with(&ground, policy)).await;
    let said = hands.bash(&ask("db.test", 5432)).await;
    assert!(said.ends_with("hello"), "{said}");
    // Nobody outside is asked for an address that is not public.
    let said = hands.try_bash(&ask("10.0.0.1", 80)).await.unwrap();
    assert!(!crate::ground::text(&said).contains("hello"));
}

#[tokio::test]
async fn without_a_network_nothing_answers() {
    let ground = Ground::new();
    let (_, hands) = ground.sandbox().await;
    let said = hands
        .bash(
            "exec 3<>/dev/tcp/203.0.113.7/80 || echo unreachable; getent hosts allowed.test || echo nameless",
        )
        .await;
    assert!(said.contains("unreachable") && said.contains("nameless"), "{said}");
}

#[tokio::test]
async fn a_changed_policy_holds_and_a_killed_egress_process_is_replaced() {
    let ground = Ground::new();
    let address = server().await;
    let spec = with(&ground, limited_to("one.test", address));
    let hands = ground.provision(&spec).await;
    assert!(hands.bash(&ask("one.test", 80)).await.ends_with("hello"));
    let spawner = ground.backend.spawner().await.unwrap().pid;
    let egress = || crate::ground::children(spawner).into_iter().find(|pid| crate::ground::is_egress(*pid));
    let first = egress().unwrap();
    kill(first);
    until("another one runs", || egress().is_some_and(|pid| pid != first)).await;
    assert!(
        hands.bash(&ask("one.test", 80)).await.ends_with("hello"),
        "the connection waits for the next one"
    );
    let changed = Spec { network: Some(Arc::new(limited_to("two.test", address))), ..spec.clone() };
    // Another server of the same data folder, which asks first what became of a call.
    let ground = {
        let mut ground = ground;
        ground.restarted(|_| {});
        ground
    };
    assert!(ground.backend.adopt(&spec.session).await.unwrap().sandbox.is_some());
    let hands = ground.provision(&changed).await;
    assert!(hands.bash(&ask("two.test", 80)).await.ends_with("hello"));
    assert!(hands.bash(&ask("one.test", 80)).await.starts_with("HTTP/1.1 403"));
    let report = Reports::open(ground.data_dir()).report(&spec.session).await.unwrap().unwrap();
    assert_eq!((report.totals.allowed, report.totals.refused), (3, 1), "it outlives the process: {report:?}");
    ground.backend.destroy(&spec.session, false).await.unwrap();
    until("it is forgotten", || {
        !ground.data_dir().join("egress").join(format!("{}.jsonl", spec.session)).exists()
    })
    .await;
}
