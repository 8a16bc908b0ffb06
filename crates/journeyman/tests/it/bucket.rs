//! Checkpoints in a bucket, as whoever runs the servers meets them.

use std::fs;

use serde_json::json;
use testkit::bucket::Bucket;

use crate::packages::site::Site;
use crate::packages::site::until;
use crate::program::Program;

/// The lines of configuration that lead to a part of a bucket; who may use it stands in the environment.
fn lines(bucket: &Bucket) -> String {
    let endpoint = &bucket.endpoint;
    format!(
        "[blobs]\nurl = \"s3://blobs/main\"\n[blobs.options]\nendpoint = \"{endpoint}\"\nallow_http = \"true\"\n"
    )
}

#[test]
fn the_files_of_a_session_go_through_a_bucket_to_another_node() {
    let mut bucket = Bucket::start().unwrap();
    let database = testkit::postgres::database().unwrap();
    let lines = format!("{}[database]\nurl = \"{database}\"\n", lines(&bucket));
    let variables = [
        ("AWS_ACCESS_KEY_ID", &*bucket.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &*bucket.secret_access_key),
    ];
    let (one, two) = (Site::with_variables(&lines, &variables), Site::with_variables(&lines, &variables));
    let environment = one.environment(&json!({"type": "cloud"}), &json!({}));
    let session = one.session(&environment);
    let written =
        one.run_in(&session, "head -c 20000000 /dev/urandom > large; md5sum large | tee sum; note=carried");
    assert!(!written.is_error && bucket.keys().unwrap().is_empty(), "{written:?}");
    let read = two.run_in(&session, "md5sum -c sum; echo $note");
    assert!(!read.is_error && read.text.contains("large: OK\ncarried"), "{read:?}");
    let stored = bucket.keys().unwrap();
    assert!(
        matches!(&*stored, [key] if key.starts_with(&format!("main/checkpoints/{session}/"))),
        "{stored:?}"
    );
    two.delete(&format!("/v1/sessions/{session}"));
    until("end of the checkpoint", || bucket.keys().unwrap().is_empty().then_some(()));
}

#[test]
fn doctor_tells_whether_checkpoints_can_be_kept_in_a_bucket() {
    let bucket = Bucket::start().unwrap();
    let program = Program::new();
    fs::write(program.folder.path().join("journeyman.toml"), lines(&bucket)).unwrap();
    let doctor = |secret: &str| {
        let mut command = program.command(&["doctor"]);
        command.env("AWS_ACCESS_KEY_ID", &bucket.access_key_id).env("AWS_SECRET_ACCESS_KEY", secret);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let told = doctor(&bucket.secret_access_key);
    assert!(told.contains("in s3://blobs/main\n"), "{told}");
    let told = doctor("wrong");
    assert!(told.contains("in s3://blobs/main: access is refused; check `access_key_id`"), "{told}");
}
