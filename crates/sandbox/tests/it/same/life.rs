//! Made, adopted, frozen, ended, and made again.

use std::time::Duration;

use sandbox::Error;
use sandbox::Recall;

use super::Subject;
use crate::ground::Hands;
use crate::ground::chain;
use crate::ground::text;

/// Files are kept when that is wanted, and not when not.
pub(super) async fn what_a_session_writes_outlives_its_sandbox(on: &Subject<'_>) {
    let spec = on.spec();
    let hands = on.provision(&spec).await;
    hands.bash("echo kept > /workspace/file; echo too > /etc/added").await;
    on.backend.destroy(&spec.session, true).await.unwrap();
    assert!(matches!(hands.try_bash("true").await, Err(Error::Lost { .. })));
    assert!(!on.backend.list().await.unwrap().contains(&spec.session));
    assert!(on.backend.kept().await.unwrap().contains(&spec.session));
    let hands = on.provision(&spec).await;
    assert_eq!(hands.bash("cat /workspace/file /etc/added").await, "kept\ntoo");
    on.backend.destroy(&spec.session, false).await.unwrap();
    assert!(!on.backend.kept().await.unwrap().contains(&spec.session));
    let hands = on.provision(&spec).await;
    assert_eq!(hands.bash("ls -A /workspace | wc -l").await, "0");
    on.backend.destroy(&spec.session, false).await.unwrap();
}

/// What a shell knows comes back in the next life.
pub(super) async fn a_shell_at_rest_goes_on_in_the_next_life(on: &Subject<'_>) {
    let mut spec = on.spec();
    spec.variables.insert("GIVEN".to_owned(), "from outside".to_owned());
    let first = on.provision(&spec).await;
    first.bash("mkdir -p /workspace/deep && cd /workspace/deep && export KNOWN=this").await;
    first.sandbox.rest().await.unwrap();
    on.backend.destroy(&spec.session, true).await.unwrap();
    let next = on.provision(&spec).await;
    let next = Hands { sandbox: next.sandbox, ..first };
    let said = next.bash("pwd; echo $KNOWN; echo $GIVEN").await;
    assert!(said.starts_with("/workspace/deep\nthis\nfrom outside"), "{said}");
    on.backend.destroy(&spec.session, false).await.unwrap();
}

/// A frozen sandbox does nothing until it is wanted again.
pub(super) async fn a_frozen_sandbox_stands_still_and_thaws(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    hands.bash("export KNOWN=this").await;
    assert!(!on.backend.usage(&session).await.unwrap().unwrap().is_frozen);
    if !on.backend.freeze(&session).await.unwrap() {
        println!("SKIPPED: this host cannot freeze sandboxes");
        return;
    }
    let usage = on.backend.usage(&session).await.unwrap().unwrap();
    assert!(usage.is_frozen && usage.processes.is_none_or(|count| count > 1), "{usage:?}");
    let adopted = on.backend.adopt(&session).await.unwrap().sandbox.expect("it runs again");
    let hands = Hands { sandbox: adopted, ..hands };
    assert_eq!(hands.bash("echo $KNOWN").await, "this");
    assert!(!on.backend.usage(&session).await.unwrap().unwrap().is_frozen);
    // Ended while it stands still.
    assert!(on.backend.freeze(&session).await.unwrap());
    on.backend.destroy(&session, false).await.unwrap();
    assert!(on.backend.usage(&session).await.unwrap().is_none());
}

/// Two who want it at once get the same one.
pub(super) async fn asking_twice_at_once_makes_one_sandbox(on: &Subject<'_>, other: &Subject<'_>) {
    let spec = on.spec();
    let (one, two, three) = tokio::join!(
        on.backend.provision(&spec),
        on.backend.provision(&spec),
        other.backend.provision(&spec)
    );
    for sandbox in [one, two, three] {
        let sandbox = sandbox.unwrap_or_else(|error| panic!("{}", chain(&error)));
        Hands::new(sandbox, on.ids).bash("echo line >> /tmp/lines").await;
    }
    assert_eq!(on.provision(&spec).await.bash("wc -l < /tmp/lines").await, "3");
    assert_eq!(on.backend.list().await.unwrap(), vec![spec.session.clone()]);
    on.backend.destroy(&spec.session, false).await.unwrap();
}

/// The server dies while a call runs and while something goes on in the background; its successor gets the result.
pub(super) async fn another_server_adopts_what_runs(on: &Subject<'_>, successor: &Subject<'_>) {
    let spec = on.spec();
    let hands = on.provision(&spec).await;
    hands.bash("(while :; do echo tick >> /workspace/ticks; sleep 0.01; done) > /dev/null 2>&1 &").await;
    let slow = hands.call("for i in 1 2 3 4 5; do sleep 0.1; done; echo slow result");
    let start = hands.sandbox.execute(&slow);
    assert!(tokio::time::timeout(Duration::from_millis(100), start).await.is_err());
    drop(hands);
    let adopted = successor.backend.adopt(&spec.session).await.unwrap();
    // Nobody else can have run a call that is wanted from now on and that this one does not know.
    assert!(adopted.sole_since.is_some());
    let hands = Hands::new(adopted.sandbox.expect("it still runs"), successor.ids);
    let Recall::Finished(outcome) = hands.sandbox.recall(&slow.id).await.unwrap() else {
        panic!("it is known")
    };
    assert_eq!(text(&outcome), "slow result");
    // Asked for again, it does not run again.
    assert_eq!(text(&hands.sandbox.execute(&slow).await.unwrap()), "slow result");
    let same = successor.backend.provision(&spec).await.unwrap();
    same.acknowledge(std::slice::from_ref(&slow.id)).await.unwrap();
    assert!(matches!(same.recall(&slow.id).await.unwrap(), Recall::Unknown));
    let before: u64 = hands.bash("wc -l < /workspace/ticks").await.parse().unwrap();
    let grow =
        format!("until test $(wc -l < /workspace/ticks) -gt {before}; do sleep 0.01; done; echo goes on");
    assert_eq!(hands.bash(&grow).await, "goes on");
    successor.backend.destroy(&spec.session, false).await.unwrap();
}

/// Where nothing is, nothing is found, made, or missed.
pub(super) async fn what_is_not_there_is_not_made(on: &Subject<'_>) {
    let spec = on.spec();
    let session = &spec.session;
    assert!(on.backend.adopt(session).await.unwrap().sandbox.is_none());
    assert!(!on.backend.freeze(session).await.unwrap());
    assert_eq!(on.backend.usage(session).await.unwrap(), None);
    on.backend.destroy(session, true).await.unwrap();
    on.backend.destroy(session, false).await.unwrap();
    assert_eq!(on.backend.list().await.unwrap(), Vec::new());
    assert_eq!(on.backend.kept().await.unwrap(), Vec::new());
    on.provision(&spec).await;
    assert!(on.backend.adopt(session).await.unwrap().sandbox.is_some());
    on.backend.destroy(session, true).await.unwrap();
    let adopted = on.backend.adopt(session).await.unwrap();
    assert!(adopted.sandbox.is_none(), "its files are not a sandbox");
    on.backend.destroy(session, false).await.unwrap();
}

/// Files, processes and memory of one are not another's.
pub(super) async fn two_sessions_see_nothing_of_each_other(on: &Subject<'_>) {
    let (first, one) = on.sandbox().await;
    let (second, other) = on.sandbox().await;
    one.bash("echo mine > /tmp/mine; mkfifo /dev/shm/pipe; sleep 4711 > /dev/null 2>&1 &").await;
    let sleepers = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep 471[1]'; true";
    assert_eq!(one.bash(sleepers).await, "1");
    assert_eq!(one.bash("test -e /tmp/mine -a -e /dev/shm/pipe && echo there").await, "there");
    assert_eq!(other.bash(sleepers).await, "0");
    assert_eq!(other.bash("test -e /tmp/mine -o -e /dev/shm/pipe || echo absent").await, "absent");
    for session in [first, second] {
        on.backend.destroy(&session, false).await.unwrap();
    }
}

/// As many as are allowed, and no more; those that rest do not count.
pub(super) async fn no_more_than_allowed_are_alive(on: &Subject<'_>) {
    let mut alive = Vec::new();
    for _ in 0..on.alive_max {
        alive.push(on.sandbox().await.0);
    }
    let mut listed = on.backend.list().await.unwrap();
    listed.sort_unstable();
    alive.sort_unstable();
    assert_eq!(listed, alive);
    let one_more = on.spec();
    let refused = on.backend.provision(&one_more).await.err();
    assert!(matches!(refused, Some(Error::Full { limit }) if limit == on.alive_max), "{refused:?}");
    on.backend.destroy(&alive[0], true).await.unwrap();
    on.provision(&one_more).await.bash("true").await;
    alive.push(one_more.session);
    for session in alive {
        on.backend.destroy(&session, false).await.unwrap();
    }
}
