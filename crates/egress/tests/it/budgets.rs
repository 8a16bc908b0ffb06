//! What a session may use, and what is remembered of it.

use std::sync::Arc;

use egress::Roots;
use egress::decide::Rule;
use egress::session::Session;
use egress::session::Settings;
use egress::usage_log::UsageLog;
use egress::usage_log::Verdict;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::stage::Stage;
use crate::stage::Table;
use crate::stage::client_hello;
use crate::stage::echo_host;
use crate::stage::limited;
use crate::stage::read_all;
use crate::stage::read_head;
use crate::stage::route;

const CONNECT: &[u8] = b"CONNECT allowed.example:443 HTTP/1.1\r\nHost: allowed.example\r\n\r\n";

#[tokio::test]
async fn a_session_that_has_used_up_its_bytes_is_cut_off_also_after_a_restart() {
    let mut tasks = JoinSet::new();
    let mut policy = limited(&["allowed.example"]);
    policy.routes = vec![route("allowed.example", 443, echo_host(&mut tasks).await)];
    policy.bytes_max = Some(100_000);
    let stage = Stage::new(policy.clone());
    let mut stream = stage.connect().await;
    stream.write_all(CONNECT).await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(&client_hello(Some("allowed.example"), &[])).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let flood = async { while writer.write_all(&[0; 4096]).await.is_ok() {} };
    let mut received = Vec::new();
    let ((), _) = tokio::join!(flood, reader.read_to_end(&mut received));
    assert!(received.len() < 500_000, "{}", received.len());
    assert_eq!(stage.decision(2).await.rule, Rule::Budget);
    let answer = stage.ask(CONNECT).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"rule\":\"budget\""), "{answer}");
    while stage.session.connections() > 0 {
        tokio::task::yield_now().await;
    }
    let totals = stage.session.usage_log().totals();
    assert!(totals.bytes_out + totals.bytes_in > 100_000, "{totals:?}");
    let id = stage.session.id().clone();
    let again =
        Session::open(id, Some(Arc::new(policy.into())), Settings::default(), stage.folder.path()).unwrap();
    assert_eq!(again.usage_log().totals(), totals);
    assert_eq!(again.usage_log().recent(1000), stage.session.usage_log().recent(1000));
}

#[tokio::test]
async fn a_session_has_only_so_many_connections_at_once() {
    let mut policy = limited(&["allowed.example"]);
    policy.connections_max = 2;
    let stage = Stage::new(policy);
    let mut kept = vec![stage.connect().await, stage.connect().await];
    while stage.session.connections() < 2 {
        tokio::task::yield_now().await;
    }
    let mut third = stage.connect().await;
    assert_eq!(read_all(&mut third).await, "");
    assert_eq!(stage.decision(1).await.rule, Rule::Budget);
    drop(kept.pop());
    while stage.session.connections() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(stage.ask(b"GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn the_ledger_is_bounded_and_outlives_torn_lines() {
    let stage = Stage::new(limited(&[]));
    for _ in 0..1200 {
        let answer = stage.ask(b"CONNECT blocked.example:443 HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    let recent = stage.session.usage_log().recent(5000);
    assert_eq!((recent.len(), recent[999].number), (1000, 1200));
    assert!(recent.iter().all(|entry| entry.verdict == Verdict::Refused));
    let (folder, id) = (stage.folder.path(), stage.session.id());
    let file = folder.join(format!("{}.jsonl", id.as_str()));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend(b"{\"totals\":{\"connec");
    std::fs::write(&file, bytes).unwrap();
    let again = UsageLog::open(folder, id).unwrap();
    assert_eq!((again.totals().refused, again.recent(5000)), (1200, recent));
    UsageLog::forget(folder, id).unwrap();
    assert!(UsageLog::read(folder, id).unwrap().is_none());
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_grant_reaches_nothing_and_is_told_so() {
    let stage = Stage::granted(None, Table::new(&[("a.example", &["93.184.215.14"])]), Roots::default());
    let answer = stage.ask(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("no_policy"), "{answer}");
    let mut stream = stage.connect_to("a.example", 80).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    assert!(read_all(&mut stream).await.contains("no_policy"));
    // No question left this host either.
    assert!(stage.resolver.asked.lock().unwrap().is_empty());
    let mut waiting = stage.connect().await;
    waiting.write_all(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    stage.session.change(Some(Arc::new(limited(&[]).into())));
    assert!(read_all(&mut waiting).await.contains("host_not_allowed"));
}
