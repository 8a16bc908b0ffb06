//! What a sandbox reaches.

use std::sync::Arc;

use egress::Reports;
use sandbox::Spec;

use super::Subject;
use crate::ground::Hands;
use crate::ground::until;
use crate::network;

/// Nothing without a policy; what it allows with one; what it allows now when it has changed.
pub(super) async fn a_session_reaches_what_it_may_and_no_more(on: &Subject<'_>) {
    let address = network::server().await;
    let closed = on.spec();
    let unreachable = "exec 3<>/dev/tcp/203.0.113.7/80 || echo unreachable";
    assert!(on.provision(&closed).await.bash(unreachable).await.contains("unreachable"));
    on.backend.destroy(&closed.session, true).await.unwrap();

    // The same files with a network, as when the operator has switched it on.
    let limited = |host| Some(Arc::new(network::limited_to(host, address)));
    let spec = Spec { network: limited("one.test"), ..closed.clone() };
    let hands = on.provision(&spec).await;
    assert!(hands.bash(&network::ask("one.test", 80)).await.ends_with("hello"));
    let said = hands.bash(&network::ask("two.test", 80)).await;
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("two.test"), "{said}");
    let report = Reports::open(on.data_dir).report(&spec.session).await.unwrap().unwrap();
    assert_eq!((report.totals.allowed, report.totals.refused), (1, 1), "{report:?}");

    let changed = Spec { network: limited("two.test"), ..spec };
    // One that is asked for anew, as after it stood still, is told what holds now.
    on.backend.freeze(&changed.session).await.unwrap();
    let hands = Hands { sandbox: on.provision(&changed).await.sandbox, ..hands };
    assert!(hands.bash(&network::ask("two.test", 80)).await.ends_with("hello"));
    assert!(hands.bash(&network::ask("one.test", 80)).await.starts_with("HTTP/1.1 403"));
    on.backend.destroy(&changed.session, true).await.unwrap();
    assert!(on.provision(&changed).await.bash(&network::ask("two.test", 80)).await.ends_with("hello"));
    on.backend.destroy(&changed.session, true).await.unwrap();
    assert!(on.provision(&closed).await.bash(unreachable).await.contains("unreachable"));
    on.backend.destroy(&closed.session, false).await.unwrap();
    let ledger = on.data_dir.join("egress").join(format!("{}.jsonl", closed.session));
    until("what it reached is forgotten", || !ledger.exists()).await;
}
