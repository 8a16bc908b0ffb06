//! What a session that rests stands on stays, whatever becomes of the image that it comes from, and goes with the session.

use std::process::Command;

use serde_json::json;

use crate::packages::site::Site;
use crate::packages::site::text;
use crate::packages::site::until;
use crate::program::Program;

/// A root file system with a shell and `cat`: this machine's, with their libraries.
fn shell_root() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    for name in ["bin", "lib", "lib64"] {
        tar.append_link(&mut header, name, format!("usr/{name}")).unwrap();
    }
    let mut files = vec!["/usr/bin/bash".to_owned(), "/usr/bin/cat".to_owned()];
    for program in files.clone() {
        let told = Command::new("ldd").arg(&program).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        files.extend(told.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    }
    files.sort();
    files.dedup();
    for path in files {
        let inside = if path.starts_with("/usr/") { path[1..].to_owned() } else { format!("usr{path}") };
        tar.append_path_with_name(&path, inside).unwrap();
    }
    tar.into_inner().unwrap()
}

fn collect(program: &Program) -> String {
    let output = program.run(&["image", "gc"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn layers(program: &Program) -> usize {
    std::fs::read_dir(program.folder.path().join("journeyman-data/layers")).unwrap().count()
}

#[test]
fn layers_of_an_image_that_is_gone_stay_for_a_session_at_rest_and_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("root.tar");
    std::fs::write(&tar, shell_root()).unwrap();
    let site = Site::with_image("tools", tar.to_str().unwrap(), "");
    let environment = site.environment(&json!({"type": "cloud"}), &json!({"image": "tools"}));
    let session = site.session(&environment);
    let ran = site.run_in(&session, "echo kept > /note; cat /note");
    assert_eq!((ran.text.trim(), ran.is_error), ("kept", false));
    let removed = site.program.run(&["image", "remove", "tools"]);
    assert!(removed.status.success(), "{removed:?}");
    assert!(collect(&site.program).contains("a server uses this data"));
    // From here on the session has files, and nothing that runs.
    let program = site.end();
    let told = collect(&program);
    assert!(told.contains("1 layers stay") && told.contains("removed 0 layers"), "{told}");
    assert_eq!(layers(&program), 1);
    let site = Site::again(program);
    let ran = site.run_in(&session, "cat /note");
    assert_eq!((ran.text.trim(), ran.is_error), ("kept", false));
    let refused = site.run(&environment, "true");
    assert!(refused.is_error && refused.text.contains("there is no image of that name"), "{refused:?}");

    let archived = site.post(&format!("/v1/sessions/{session}/archive"), &json!({}));
    assert_eq!(text(&archived, "status"), "terminated");
    let site = Site::again(site.end());
    until("removal of the layer", || (layers(&site.program) == 0).then_some(()));
}
