//! What holds for every back end, as bodies of tests that are given one.

use std::time::Duration;

use api::ids::Ids;
use api::ids::SessionId;
use sandbox::Backend;
use sandbox::Error;
use sandbox::Recall;
use sandbox::Spec;

use crate::ground::Ground;
use crate::ground::Hands;
use crate::ground::chain;
use crate::ground::text;

/// A back end that is tested.
pub(crate) struct Subject<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) ids: &'a Ids,
}

impl Subject<'_> {
    pub(crate) fn spec(&self) -> Spec {
        Spec::new(self.ids.make())
    }

    pub(crate) async fn provision(&self, spec: &Spec) -> Hands {
        let sandbox = self.backend.provision(spec).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        Hands::new(sandbox, self.ids)
    }

    pub(crate) async fn sandbox(&self) -> (SessionId, Hands) {
        let spec = self.spec();
        let hands = self.provision(&spec).await;
        (spec.session, hands)
    }
}

/// Files are kept when that is wanted, and not when not.
pub(crate) async fn what_a_session_writes_outlives_its_sandbox(on: &Subject<'_>) {
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
pub(crate) async fn a_shell_at_rest_goes_on_in_the_next_life(on: &Subject<'_>) {
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

/// A hog is killed, and the shell that started it is not.
pub(crate) async fn a_memory_hog_dies_and_its_session_lives(on: &Subject<'_>) {
    let mut spec = on.spec();
    spec.limits.memory_bytes_max = 256 << 20;
    let hands = on.provision(&spec).await;
    hands.bash("export SHELL_STATE=kept").await;
    let hog = "perl -e '$x = \"x\" x (1 << 30); print length $x' 2>/dev/null; echo \"ended $?\"";
    assert_eq!(hands.bash(hog).await.lines().last(), Some("ended 137"));
    assert_eq!(hands.bash("echo $SHELL_STATE").await, "kept");
    on.backend.destroy(&spec.session, false).await.unwrap();
}

/// The server dies while a call runs; its successor gets the result.
pub(crate) async fn another_server_adopts_what_runs(on: &Subject<'_>, successor: &Subject<'_>) {
    let spec = on.spec();
    let hands = on.provision(&spec).await;
    let slow = hands.call("for i in 1 2 3 4 5; do sleep 0.1; done; echo slow result");
    let start = hands.sandbox.execute(&slow);
    assert!(tokio::time::timeout(Duration::from_millis(100), start).await.is_err());
    drop(hands);
    let adopted = successor.backend.adopt(&spec.session).await.unwrap().sandbox.expect("it still runs");
    let hands = Hands::new(adopted, successor.ids);
    let Recall::Finished(outcome) = hands.sandbox.recall(&slow.id).await.unwrap() else {
        panic!("it is known")
    };
    assert_eq!(text(&outcome), "slow result");
    // Asked for again, it does not run again.
    assert_eq!(text(&hands.sandbox.execute(&slow).await.unwrap()), "slow result");
    let same = successor.backend.provision(&spec).await.unwrap();
    same.acknowledge(std::slice::from_ref(&slow.id)).await.unwrap();
    assert!(matches!(same.recall(&slow.id).await.unwrap(), Recall::Unknown));
    successor.backend.destroy(&spec.session, false).await.unwrap();
}

/// A frozen sandbox does nothing until it is wanted again.
pub(crate) async fn a_frozen_sandbox_stands_still_and_thaws(on: &Subject<'_>) {
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
pub(crate) async fn asking_twice_at_once_makes_one_sandbox(on: &Subject<'_>, other: &Subject<'_>) {
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

#[tokio::test]
async fn the_embedded_back_end_does_the_same() {
    let ground = Ground::new();
    let other = sandbox::Embedded::new(ground.config.clone());
    let on = Subject { backend: &ground.backend, ids: &ground.ids };
    let successor = Subject { backend: &other, ids: &ground.ids };
    what_a_session_writes_outlives_its_sandbox(&on).await;
    a_shell_at_rest_goes_on_in_the_next_life(&on).await;
    a_memory_hog_dies_and_its_session_lives(&on).await;
    another_server_adopts_what_runs(&on, &successor).await;
    a_frozen_sandbox_stands_still_and_thaws(&on).await;
    asking_twice_at_once_makes_one_sandbox(&on, &successor).await;
    assert_eq!(on.backend.kept().await.unwrap(), Vec::new());
}
