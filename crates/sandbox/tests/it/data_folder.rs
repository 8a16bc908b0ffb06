//! What other accounts of the host may do with the data folder.

use std::os::unix::fs::MetadataExt;

use crate::ground::Ground;
use crate::ground::until;

/// The top is the server's to close; what the spawner makes in it is closed whatever becomes of that.
#[tokio::test]
async fn no_other_account_can_enter_a_folder_or_open_a_file_of_the_spawner() {
    for (mode, ground) in Ground::of_every_mode() {
        let (_, hands) = ground.sandbox().await;
        hands.bash("cp /bin/sh /workspace/shell && chmod 4755 /workspace/shell").await;
        // The folders that the next session gets are there too.
        let next = ground.data_dir().join("prepared/spare/upper");
        until("the next sandbox is prepared", || next.exists()).await;
        let open: Vec<String> = std::fs::read_dir(ground.data_dir())
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.metadata().unwrap().mode() & 0o077 != 0)
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        assert_eq!(open, [] as [&str; 0], "{mode}");
    }
}
