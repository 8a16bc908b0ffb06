//! `image`: built by a program, taken in from files and from a registry, listed and removed.

mod registry;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use serde_json::Value;
use serde_json::json;

use self::registry::Registry;
use self::registry::digest;
use crate::program::Program;

/// A program whose spawner is ended with it.
struct Shelf(Program);

impl Shelf {
    fn new() -> Self {
        Self(Program::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.folder.path().join(name)
    }

    fn image(&self, arguments: &[&str]) -> Command {
        self.0.command(&[&["image"], arguments].concat())
    }

    /// What a command prints; panics when it fails.
    fn run(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.image(arguments).output().unwrap();
        assert!(status.success(), "{arguments:?}: {}", text(stderr));
        text(stdout)
    }

    /// What is told by a command that fails.
    fn refused(&self, arguments: &[&str]) -> String {
        told(&mut self.image(arguments))
    }

    fn layers(&self) -> usize {
        std::fs::read_dir(self.path("journeyman-data/layers")).map_or(0, Iterator::count)
    }

    fn shown(&self, name: &str) -> Value {
        serde_json::from_str(&self.run(&["show", name])).unwrap()
    }

    /// A program that an image is built with, and what it was told is put into the file `arguments`.
    fn builder(&self, script: &str) -> Command {
        std::fs::create_dir_all(self.path("bin")).unwrap();
        let path = self.path("bin/mmdebstrap");
        let script =
            format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}\n{script}\n", self.path("arguments").display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = self.image(&["build", "--set", "minimal", "--mirror", "http://127.0.0.1:9/debian"]);
        let others = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{others}", self.path("bin").display()));
        command
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        for id in self.0.spawners() {
            Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().unwrap();
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn told(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    text(output.stderr)
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
}

#[test]
fn a_root_is_imported_listed_removed_and_collected() {
    let shelf = Shelf::new();
    assert_eq!(shelf.run(&["list"]).lines().count(), 1);
    std::fs::write(shelf.path("root.tar"), tar(&[("etc/release", b"one")])).unwrap();
    assert!(shelf.run(&["import", "root.tar", "--name", "base"]).contains("base is there: 1 layers"));
    let listed = shelf.run(&["list"]);
    assert!(listed.contains("base ") && listed.contains("root.tar"), "{listed}");
    assert_eq!(shelf.shown("base")["layers"].as_array().unwrap().len(), 1);
    assert_eq!(shelf.layers(), 1);
    assert!(shelf.run(&["remove", "base"]).contains("image gc"));
    assert_eq!(shelf.layers(), 1);
    assert!(shelf.run(&["gc"]).contains("removed 1 layers"));
    assert_eq!(shelf.layers(), 0);
    assert!(shelf.refused(&["show", "base"]).contains("there is none"));
    assert!(shelf.refused(&["import", "root.tar", "--name", "../base"]).contains("name of an image"));
    assert!(shelf.refused(&["import", "nothing.tar"]).contains("nothing.tar"));
}

#[test]
fn images_are_taken_in_beside_a_running_server() {
    let shelf = Shelf::new();
    let server = shelf.0.serve(&[]);
    std::fs::write(shelf.path("root.tar"), tar(&[("etc/release", b"one")])).unwrap();
    shelf.run(&["import", "root.tar"]);
    assert!(shelf.run(&["list"]).contains("default"));
    assert_eq!(shelf.0.spawners().len(), 1, "it is the server's spawner");
    assert!(server.stop().0);
}

#[test]
fn an_image_is_built_by_the_program_that_is_there() {
    let shelf = Shelf::new();
    std::fs::write(shelf.path("root.tar"), tar(&[("etc/release", b"built")])).unwrap();
    let script = format!("cat {}", shelf.path("root.tar").display());
    let output = shelf.builder(&script).args(["--packages", "jq,g++", "--name", "mine"]).output().unwrap();
    let said = text(output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("mmdebstrap"), "{said}");
    let arguments = std::fs::read_to_string(shelf.path("arguments")).unwrap();
    let include = arguments.lines().find(|line| line.starts_with("--include=")).unwrap();
    assert!(include.contains(",jq,") && include.contains("g++") && include.contains(",git,"), "{include}");
    assert!(
        arguments.contains("\nbookworm\n-\ndeb http://127.0.0.1:9/debian bookworm main\n"),
        "{arguments}"
    );
    let shown = shelf.shown("mine");
    assert_eq!(shown["variables"]["LANG"], "C.UTF-8");
    assert_eq!(shown["digest"], digest(&tar(&[("etc/release", b"built")])));
}

#[test]
fn a_build_that_fails_makes_no_image() {
    let shelf = Shelf::new();
    std::fs::write(shelf.path("root.tar"), tar(&[("etc/release", b"half")])).unwrap();
    let script = format!("cat {}\necho it broke >&2\nexit 3", shelf.path("root.tar").display());
    let said = told(&mut shelf.builder(&script));
    assert!(said.contains("it broke") && said.contains("exit status: 3"), "{said}");
    assert_eq!((shelf.layers(), shelf.run(&["list"]).lines().count()), (0, 1));
    let mut nothing = shelf.image(&["build", "--mirror", "http://127.0.0.1:9/debian"]);
    assert!(told(nothing.env("PATH", "/nowhere")).contains("apt-get install mmdebstrap"));
    let mut option = shelf.image(&["build", "--packages=--evil", "--mirror", "http://127.0.0.1:9/debian"]);
    assert!(told(&mut option).contains("not the name of a package"));
}

/// A registry with an image for this machine and one for another, behind a list.
fn filled(password: Option<&'static str>) -> Registry {
    let registry = Registry::start(password);
    let layer = tar(&[("etc/release", b"pulled")]);
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "Env": ["GREETING=hello"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let blob = |kind: &str, bytes: &[u8]| {
        registry.put_blob(bytes);
        json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "config": blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest(&digest(manifest.as_bytes()), kind, manifest.as_bytes());
    let entry = |digest: &str, bytes: usize, architecture: &str| {
        json!({ "mediaType": kind, "digest": digest, "size": bytes,
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let ours = digest(manifest.as_bytes());
    let index = json!({ "schemaVersion": 2,
        "manifests": [entry(&digest(b"?"), 1, "s390x"), entry(&ours, manifest.len(), architecture())] });
    registry.put_manifest("1", "application/vnd.oci.image.index.v1+json", index.to_string().as_bytes());
    registry
}

#[test]
fn an_image_is_pulled_with_the_password_that_docker_has() {
    let shelf = Shelf::new();
    let registry = filled(Some("dXNlcjpzZWNyZXQ="));
    let reference = format!("{}/team/app:1", registry.address);
    let mut anonymous = shelf.image(&["pull", &reference]);
    let said = told(&mut anonymous);
    assert!(said.contains(&reference), "{said}");
    let auths = json!({ "auths": { registry.address.clone(): { "auth": "dXNlcjpzZWNyZXQ=" } } });
    std::fs::write(shelf.path("config.json"), auths.to_string()).unwrap();
    let mut pull = shelf.image(&["pull", &reference, "--name", "app"]);
    let output = pull.env("DOCKER_CONFIG", shelf.0.folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    let shown = shelf.shown("app");
    assert_eq!(shown["source"], reference.as_str());
    assert_eq!(shown["variables"]["GREETING"], "hello");
    let layer = shelf.path("journeyman-data/layers").join(shown["layers"][0].as_str().unwrap());
    assert_eq!(std::fs::read(layer.join("etc/release")).unwrap(), b"pulled");

    let mut file = std::fs::File::create(shelf.path("password")).unwrap();
    file.write_all(b"secret\n").unwrap();
    shelf.run(&["pull", &reference, "--name", "again", "--user", "user", "--password-file", "password"]);
    assert_eq!(registry.blobs_sent(), 3, "the layer was there; its configuration was read again");
}

#[test]
fn what_a_registry_lies_about_is_refused() {
    let shelf = Shelf::new();
    let registry = filled(None);
    let reference = format!("{}/team/app:1", registry.address);
    registry.spoil(&digest(&tar(&[("etc/release", b"pulled")])));
    let said = shelf.refused(&["pull", &reference]);
    assert!(said.to_lowercase().contains("digest"), "{said}");
    assert_eq!((shelf.layers(), shelf.run(&["list"]).lines().count()), (0, 1));
    let wanted = digest(b"another manifest");
    registry.put_manifest(&wanted, "application/vnd.oci.image.manifest.v1+json", b"{}");
    let said = shelf.refused(&["pull", &format!("{}/team/app@{wanted}", registry.address)]);
    assert!(said.to_lowercase().contains("digest") || said.contains("answered with"), "{said}");
}

#[test]
fn a_name_without_a_host_is_of_the_configured_registry_only() {
    let shelf = Shelf::new();
    let said = shelf.refused(&["pull", "team/app:1"]);
    assert!(said.contains("HOST/team/app:1") && said.contains("images.registry"), "{said}");
    let registry = filled(None);
    let config = format!("[images]\nregistry = \"{}\"\n", registry.address);
    std::fs::write(shelf.path("journeyman.toml"), config).unwrap();
    shelf.run(&["pull", "team/app:1"]);
    assert!(shelf.run(&["list"]).contains("default"));
}
