//! A back end and words for talking to its sandboxes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use api::ids::Ids;
use api::ids::ThreadId;
use api::time::Clock;
use sandbox::Backend;
use sandbox::Call;
use sandbox::Config;
use sandbox::Embedded;
use sandbox::Sandbox;
use sandbox::Spec;
use serde_json::json;
use serde_json::value::RawValue;

const ALIVE_MAX: usize = 1000;

pub(crate) struct Stage {
    pub(crate) backend: Embedded,
    pub(crate) folder: PathBuf,
    pub(crate) spawner: i32,
    ids: Ids,
}

pub(crate) struct Hands {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    thread: ThreadId,
    ids: Ids,
}

impl Stage {
    pub(crate) async fn new(program: &Path, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut config = Config::new(folder).unwrap();
        config.program = program.to_owned();
        config.alive_max = ALIVE_MAX;
        let folder = config.data_dir.clone();
        let backend = Embedded::new(config);
        let spawner = backend.spawner().await.unwrap().pid;
        Self { backend, folder, spawner, ids: Ids::new(Clock::system()) }
    }

    pub(crate) fn spec(&self) -> Spec {
        Spec { network: Some(Arc::new(egress::Policy::unrestricted())), ..Spec::new(self.ids.make()) }
    }

    /// A kind of sandbox that no other is of, so that the spare one never fits.
    pub(crate) fn own_kind(&self) -> Spec {
        let spec = self.spec();
        let variables = [("KIND".to_owned(), spec.session.to_string())].into();
        Spec { variables, ..spec }
    }

    pub(crate) async fn provision(&self, spec: &Spec) -> Hands {
        let sandbox = self.backend.provision(spec).await.unwrap();
        Hands { sandbox, thread: self.ids.make(), ids: self.ids.clone() }
    }

    pub(crate) async fn end(&self, spec: &Spec) {
        self.backend.destroy(&spec.session, false).await.unwrap();
    }

    /// Puts this program where the sandbox finds it.
    pub(crate) async fn lend(&self, spec: &Spec, hands: &Hands) {
        let uploads = self.folder.join("sandboxes").join(spec.session.as_str()).join("uploads");
        std::fs::copy("/proc/self/exe", uploads.join("figures")).unwrap();
        std::fs::set_permissions(uploads.join("figures"), std::fs::Permissions::from_mode(0o755)).unwrap();
        hands.bash("cp /mnt/session/uploads/figures /usr/local/bin/figures").await;
    }
}

impl Hands {
    pub(crate) async fn bash(&self, command: &str) -> String {
        self.tool("bash", &json!({ "command": command })).await
    }

    pub(crate) async fn tool(&self, tool: &str, input: &serde_json::Value) -> String {
        let input: Arc<RawValue> = RawValue::from_string(input.to_string()).unwrap().into();
        let call = Call { id: self.ids.make(), thread: self.thread.clone(), tool: tool.to_owned(), input };
        let outcome = self.sandbox.execute(&call).await.unwrap();
        let block: serde_json::Value = outcome
            .content
            .first()
            .map_or(serde_json::Value::Null, |block| serde_json::from_str(block.get()).unwrap());
        let text = block["text"].as_str().unwrap_or_default().trim_end().to_owned();
        assert!(!outcome.is_error, "{tool} {input}: {text}", input = call.input);
        self.sandbox.acknowledge(&[call.id]).await.unwrap();
        text
    }
}
