//! What another server finds after somebody died in the middle of an operation.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::ids::SessionId;
use sandbox::Backend;
use sandbox::Base;
use sandbox::Call;
use sandbox::Embedded;
use sandbox::LayerName;
use sandbox::Recall;
use sandbox::Root;
use sandbox::Spec;

use super::FILE_BYTES;
use super::LOOK;
use super::LOOK_AT_FILE;
use super::Operation;
use super::Outcome;
use super::Scene;
use super::Stage;
use super::is_of_late;
use super::shown;
use crate::ground::children;
use crate::ground::exists;
use crate::ground::until;

impl Stage {
    /// Another server comes. What it finds is whole and works.
    pub(super) async fn audit(&mut self, operation: Operation, scene: Scene, outcome: &Outcome) {
        let Scene { backend, spec, layer, packed: _, sandbox, call } = scene;
        drop((backend, sandbox));
        self.backend = Arc::new(Embedded::new(self.ground.config.clone()));
        let spawner = self.backend.spawner().await.unwrap();
        assert_eq!(self.hands(&self.bystander.clone()).await.bash(LOOK).await, "whole");
        self.backend.destroy(&self.bystander.session, true).await.unwrap();
        self.until_nothing_comes_in().await;
        match operation {
            Operation::Mount | Operation::Unmount => self.audit_mount(operation, &spec, outcome).await,
            Operation::PutFile => {
                let found = self.hands(&spec).await.bash(LOOK_AT_FILE).await;
                let is_new = found == format!("{FILE_BYTES} b");
                assert!(
                    is_new || (found == format!("{FILE_BYTES} a") && !outcome.is_done()),
                    "{found}, {outcome:?}"
                );
            }
            Operation::Provision | Operation::Freeze | Operation::Thaw | Operation::Pack => {
                assert_eq!(self.hands(&spec).await.bash(LOOK).await, "whole");
            }
            Operation::Execute => self.audit_call(&spec, &call, outcome).await,
            Operation::UnpackFiles => {
                let found = self.hands(&spec).await.bash(LOOK).await;
                assert!(
                    found == "whole" || (found == "absent" && !outcome.is_done()),
                    "{found}, {outcome:?}"
                );
            }
            Operation::Destroy => {
                // Another one may have been killed than was to be ended; then it is not wanted any more either.
                let found = self.hands(&spec).await.bash(LOOK).await;
                assert!(
                    found == "absent" || (found == "whole" && !outcome.is_done()),
                    "{found}, {outcome:?}"
                );
            }
            Operation::Commit => {
                let as_layer = self.look_on_layer(&layer).await;
                let plain = Spec { makes_layer: false, ..spec.clone() };
                let as_files = self.hands(&plain).await.bash(LOOK).await;
                let pair = (as_layer.as_str(), as_files.as_str());
                assert!(
                    pair == ("whole", "absent") || (pair == ("no layer", "whole") && !outcome.is_done()),
                    "{pair:?}, {outcome:?}"
                );
            }
            Operation::UnpackLayer => {
                let found = self.look_on_layer(&layer).await;
                assert!(
                    found == "whole" || (found == "no layer" && !outcome.is_done()),
                    "{found}, {outcome:?}"
                );
            }
            Operation::RemoveLayer => {
                let found = self.look_on_layer(&layer).await;
                assert!(
                    found == "no layer" || (found == "whole" && !outcome.is_done()),
                    "{found}, {outcome:?}"
                );
            }
        }
        self.clear(&spec.session, &layer, spawner.pid).await;
    }

    /// Nothing is left of what was done, nor of whoever was there before this spawner.
    async fn clear(&mut self, session: &SessionId, layer: &LayerName, spawner: i32) {
        self.backend.remove_layer(layer).await.unwrap();
        self.backend.destroy(session, false).await.unwrap();
        assert_eq!(self.backend.list().await.unwrap(), []);
        assert_eq!(self.backend.layers().await.unwrap(), []);
        assert_eq!(self.backend.kept().await.unwrap(), std::slice::from_ref(&self.bystander.session));
        // Those of a former spawner, and those that were killed.
        let own: BTreeSet<i32> = children(spawner).into_iter().collect();
        let gone =
            || self.seen.iter().all(|pid| own.contains(pid) || !exists(*pid) || is_of_late(*pid, spawner));
        until("processes of before are gone", gone).await;
    }

    /// A call was run at most once, and exactly once when its result is known.
    async fn audit_call(&self, spec: &Spec, call: &Call, outcome: &Outcome) {
        let hands = self.hands(spec).await;
        let recalled = hands.sandbox.recall(&call.id).await.unwrap();
        let lines = hands.bash("cat /workspace/log 2>/dev/null | wc -l; true").await;
        assert_eq!(hands.bash(LOOK).await, "whole");
        let is_known = matches!(recalled, Recall::Finished(_)) || outcome.is_done();
        assert!(lines == "1" || (lines == "0" && !is_known), "{lines} lines, {recalled:?}, {outcome:?}");
    }

    /// A folder is shown once or not at all, and with it goes what was in it.
    async fn audit_mount(&self, operation: Operation, spec: &Spec, outcome: &Outcome) {
        let hands = self.hands(spec).await;
        assert_eq!(hands.bash(LOOK).await, "whole");
        // Whatever became of it, it can be had.
        self.backend.mount(&spec.session, &shown()).await.unwrap();
        let found = hands.bash("grep -c ' /mnt/shown ' /proc/self/mountinfo; ls /mnt/shown | wc -l").await;
        let may_be_left = operation == Operation::Unmount && !outcome.is_done();
        assert!(found == "1\n0" || (found == "1\n1" && may_be_left), "{found}, {outcome:?}");
        self.backend.unmount(&spec.session, &shown().target).await.unwrap();
        assert_eq!(hands.bash("grep -c /mnt/shown /proc/self/mountinfo; true").await, "0");
    }

    /// What a sandbox finds of a layer, if it is there.
    async fn look_on_layer(&self, layer: &LayerName) -> String {
        let all = self.backend.layers().await.unwrap();
        if all.is_empty() {
            return "no layer".to_owned();
        }
        assert_eq!(all, std::slice::from_ref(layer));
        let root = Root { base: Base::Host, layers: all };
        let spec = Spec { root, ..self.ground.spec() };
        let found = self.hands(&spec).await.bash(LOOK).await;
        self.backend.destroy(&spec.session, false).await.unwrap();
        found
    }

    async fn until_nothing_comes_in(&self) {
        let incoming = self.ground.data_dir().join("incoming");
        until("nothing comes in", || std::fs::read_dir(&incoming).unwrap().next().is_none()).await;
    }
}
