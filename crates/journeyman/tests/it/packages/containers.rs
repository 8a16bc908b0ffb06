//! The same with sandboxes in containers, whose image is a tar of a Debian root or a few programs of this host.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use testkit::engine::Engine;

use super::registries;
use super::site::Site;

/// An engine, and the lines of configuration that choose it.
struct Dock {
    engine: Engine,
}

impl Dock {
    fn start(image: &Path) -> Option<Self> {
        let engine = Engine::start().unwrap()?;
        engine.import(image, "tools").unwrap();
        Some(Self { engine })
    }

    fn configuration(&self) -> String {
        let socket = self.engine.socket();
        format!(
            "[sandbox]\nbackend = \"docker\"\n[sandbox.docker]\nsocket = \"{}\"\nimage = \"tools\"\n",
            socket.display()
        )
    }

    fn site(&self, more: &str) -> Site {
        Site::new(&format!("{}{more}", self.configuration()))
    }

    fn layers(&self) -> Vec<String> {
        let listed =
            self.engine.ask(&["images", "--filter", "label=journeyman.layer", "--format", "{{.Tag}}"]);
        listed.lines().map(str::to_owned).collect()
    }
}

/// A tar of a shell and the programs that a build needs.
fn small(folder: &Path) -> PathBuf {
    let (root, archive) = (folder.join("root"), folder.join("root.tar"));
    let script = format!(
        "set -e; mkdir -p '{0}/tmp' '{0}/usr/local/bin'; chmod 1777 '{0}/tmp'; \
         for name in bash cat chmod date find head ls mkdir mkfifo rm setsid sh tail timeout tr; do \
           program=$(type -P $name); for file in $program $(ldd $program | grep -o '/[^ :]*' | sort -u); do \
             mkdir -p \"{0}$(dirname $file)\"; cp -L $file \"{0}$file\"; done; done; \
         mkdir -p '{0}/bin'; for name in bash sh; do test -e '{0}/bin/'$name || cp -L /bin/$name '{0}/bin/'; done; \
         tar -C '{0}' -cf '{1}' .",
        root.display(),
        archive.display(),
    );
    let made = Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(made.success());
    archive
}

#[test]
fn what_a_setup_writes_is_there_in_every_container() {
    let folder = tempfile::tempdir().unwrap();
    let Some(dock) = Dock::start(&small(folder.path())) else { return };
    let site = dock.site("");
    let setup = "set -e\nprintf '#!/bin/sh\\necho hello\\n' > /usr/local/bin/greet\nchmod +x /usr/local/bin/greet\n\
                 date +%s%N > made\n";
    let environment = site.environment(&json!({"type": "cloud"}), &json!({"setup": setup}));
    let build = site.built(&environment);
    assert_eq!(build["status"], "ready", "{build}");
    let first = site.run(&environment, "greet; cat /workspace/made");
    assert!(!first.is_error && first.text.starts_with("hello\n"), "{first:?}");
    assert_eq!(site.run(&environment, "greet; cat /workspace/made"), first, "it was made once");
    assert_eq!(dock.layers(), [build["layer"].as_str().unwrap()]);

    let broken = site.environment(&json!({"type": "cloud"}), &json!({"setup": "echo so; exit 3\n"}));
    let build = site.built(&broken);
    assert_eq!((&build["status"], &build["log"]), (&json!("failed"), &json!(["so"])), "{build}");
    assert_eq!(dock.layers().len(), 1, "nothing is half-installed");
}

/// The image is the one of `apt_installs_in_an_image_from_a_mirror`, with pip.
#[test]
#[expect(clippy::print_stdout, reason = "a test says what it could not cover")]
fn packages_are_installed_in_containers_from_a_mirror() {
    let Some(image) = std::env::var_os("JOURNEYMAN_TEST_IMAGE") else {
        println!("JOURNEYMAN_TEST_IMAGE names no tar of a root: packages in containers are not covered");
        return;
    };
    let Some(dock) = Dock::start(Path::new(&image)) else { return };
    registries::check_pip(|more| Some(dock.site(more)));
    registries::check_apt(|more| Some(dock.site(more)));
}

/// What `doctor` says of the engine.
#[test]
fn doctor_tells_of_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let Some(dock) = Dock::start(&small(folder.path())) else { return };
    let program = crate::program::Program::new();
    fs::write(program.folder.path().join("journeyman.toml"), dock.configuration()).unwrap();
    let output = program.run(&["doctor"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for word in ["container engine", "image of containers", "runc", "mode", "in containers of an engine"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let absent = dock.configuration().replace("image = \"tools\"", "image = \"absent\"");
    fs::write(program.folder.path().join("journeyman.toml"), absent).unwrap();
    let output = program.run(&["doctor"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("docker pull absent"), "{told}");
}
