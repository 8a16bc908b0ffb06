//! Every package manager, from a registry on loopback that a route leads to.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;
use testkit::registry::Registry;

use super::root::Root;
use super::site::Site;
use super::site::is_there;
use super::site::limited;
use super::site::route;
use super::site::text;

/// A manager and what is asked of it.
struct Sample {
    manager: &'static str,
    /// The host of its registry.
    host: &'static str,
    files: BTreeMap<String, Vec<u8>>,
    variables: Value,
    /// The image to install in, if not over the files of this host.
    image: Option<&'static str>,
    package: &'static str,
    /// A package that does not exist.
    missing: &'static str,
    command: &'static str,
    says: &'static str,
}

fn pip() -> Sample {
    Sample {
        manager: "pip",
        host: "pip.test",
        files: testkit::registry::python_index("thing", "1.0", "print('hello from pip')\n"),
        variables: json!({"PIP_INDEX_URL": "http://pip.test/simple/", "PIP_TRUSTED_HOST": "pip.test"}),
        image: None,
        package: "thing==1.0",
        missing: "nothing==1.0",
        command: "python3 -c 'import thing'",
        says: "hello from pip",
    }
}

fn npm() -> Sample {
    let source = "console.log('hello from npm')\n";
    Sample {
        manager: "npm",
        host: "npm.test",
        files: testkit::registry::node_registry("http://npm.test", "greet-npm", "1.0.0", source).unwrap(),
        variables: json!({"npm_config_registry": "http://npm.test/"}),
        image: None,
        package: "greet-npm@1.0.0",
        missing: "nothing@1.0.0",
        command: "greet-npm",
        says: "hello from npm",
    }
}

fn go() -> Sample {
    let source = "package main\nimport \"fmt\"\nfunc main() { fmt.Println(\"hello from go\") }\n";
    Sample {
        manager: "go",
        host: "go.test",
        files: testkit::registry::go_modules("code.test/greet", "v1.0.0", source),
        variables: json!({"GOPROXY": "http://go.test", "GONOSUMDB": "*", "GOTOOLCHAIN": "local"}),
        image: None,
        package: "code.test/greet@v1.0.0",
        missing: "code.test/nothing@v1.0.0",
        command: "greet",
        says: "hello from go",
    }
}

fn apt() -> Sample {
    let after = "#!/bin/sh\nset -e\nuseradd --system --user-group greeter\n\
                 install -d -o greeter -g greeter /var/lib/greeter\n";
    let program = "#!/bin/sh\necho hello from apt, $(stat -c %U /var/lib/greeter)\n";
    Sample {
        manager: "apt",
        host: "apt.test",
        files: testkit::registry::debian_repository("greet-apt", "1.0", program, after).unwrap(),
        variables: json!({}),
        image: Some("tools"),
        package: "greet-apt=1.0",
        missing: "nothing=1.0",
        command: "greet-apt",
        says: "hello from apt, greeter",
    }
}

fn gem() -> Sample {
    Sample {
        manager: "gem",
        host: "gem.test",
        files: testkit::registry::ruby_repository("greet-gem", "1.0.0", "puts 'hello from gem'\n").unwrap(),
        variables: json!({}),
        image: None,
        package: "greet-gem:1.0.0",
        missing: "nothing:1.0.0",
        command: "greet-gem",
        says: "hello from gem",
    }
}

fn cargo() -> Sample {
    let source = "fn main() { println!(\"hello from cargo\") }\n";
    let files =
        testkit::registry::rust_registry("http://cargo.test", "greet-cargo", "1.0.0", source).unwrap();
    Sample {
        manager: "cargo",
        host: "cargo.test",
        files,
        variables: json!({
            "CARGO_REGISTRIES_MIRROR_INDEX": "sparse+http://cargo.test/index/", "CARGO_REGISTRY_DEFAULT": "mirror",
        }),
        image: None,
        package: "greet-cargo@1.0.0",
        missing: "nothing@1.0.0",
        command: "greet-cargo",
        says: "hello from cargo",
    }
}

/// Installs, uses, uses again, asks the registry itself, and fails.
fn check(sample: Sample, open: impl Fn(&str) -> Option<Site>) {
    let Sample { manager, host, files, variables, image, package, missing, command, says } = sample;
    let registry = Registry::start(files).unwrap();
    let Some(site) = open(&route("*.test", registry.address())) else { return };
    let settings = json!({"variables": variables, "image": image});
    let config = |packages: &[&str], networking| {
        let packages = json!({manager: packages});
        json!({"type": "cloud", "packages": packages, "networking": networking})
    };
    let environment = site.environment(&config(&[package], limited(&[], true)), &settings);
    let build = site.built(&environment);
    assert_eq!(build["status"], "ready", "{build}");
    let rule = json!({"host": host, "reason": "package_managers"});
    assert!(site.egress(&environment)["rules"].as_array().unwrap().contains(&rule));
    let asked = registry.asked();
    for session in ["first", "second"] {
        let ran = site.run(&environment, command);
        assert!(!ran.is_error && ran.text.contains(says), "{session}: {ran:?}");
    }
    assert_eq!(registry.asked(), asked, "sessions do not install");

    let ask = format!("curl -s -w '%{{http_code}}' http://{host}/from-a-session");
    let ran = site.run(&environment, &ask);
    assert!(ran.text.contains("there is no such file") && ran.text.contains("404"), "{ran:?}");
    let closed = site.environment(&config(&[], limited(&[], false)), &settings);
    let ran = site.run(&closed, &ask);
    assert!(ran.text.contains("403") && ran.text.contains(&format!("blocked host {host}")), "{ran:?}");

    let broken = site.environment(&config(&[package, missing], limited(&[], true)), &settings);
    let build = site.built(&broken);
    assert_eq!((text(&build, "status"), text(&build, "step")), ("failed", manager), "{build}");
    assert!(build["log"].to_string().contains("nothing"), "{build}");
    let ran = site.run(&broken, command);
    assert!(ran.is_error && ran.text.contains(&format!("{manager} failed")), "{ran:?}");
    assert!(ran.text.contains("nothing"), "its last lines are shown: {ran:?}");
    site.post(&format!("/v1/environments/{broken}"), &json!({"config": config(&[], limited(&[], false))}));
    let ran = site.run(&broken, command);
    assert!(!ran.text.contains(says), "nothing is half-installed: {ran:?}");
    site.post(
        &format!("/v1/environments/{broken}"),
        &json!({"config": config(&[package], limited(&[], true))}),
    );
    let ran = site.run(&broken, command);
    assert!(!ran.is_error && ran.text.contains(says), "{ran:?}");
    assert_eq!(site.built(&broken)["layer"], site.built(&environment)["layer"], "they share the layer");
}

#[test]
fn pip_installs_from_a_mirror() {
    check(pip(), |more| Some(Site::new(more)));
}

#[test]
fn pip_installs_for_a_user_with_a_single_id() {
    check(pip(), Site::of_single_id);
}

#[test]
fn npm_installs_from_a_mirror() {
    if is_there("npm") && is_there("node") {
        check(npm(), |more| Some(Site::new(more)));
    }
}

#[test]
fn go_installs_from_a_mirror() {
    if is_there("go") {
        check(go(), |more| Some(Site::new(more)));
    }
}

/// The image is a tar of a Debian root whose only source is `deb [trusted=yes] http://apt.test ./`, and which has curl.
#[test]
#[expect(clippy::print_stdout, reason = "a test says what it could not cover")]
fn apt_installs_in_an_image_from_a_mirror() {
    match std::env::var("JOURNEYMAN_TEST_IMAGE") {
        Ok(tar) => check(apt(), |more| Some(Site::with_image("tools", &tar, more))),
        Err(_) => println!("JOURNEYMAN_TEST_IMAGE names no tar of a root with apt: apt is not covered"),
    }
}

#[test]
fn gem_installs_from_a_mirror() {
    if is_there("gem") && is_there("ruby") {
        let root = Root::with_compilers();
        // Of all managers only this one takes no source from a variable.
        root.write("etc/gemrc", "---\n:sources:\n- http://gem.test/\n");
        check(gem(), |more| Some(Site::new(&root.under(more))));
    }
}

#[test]
fn cargo_installs_from_a_mirror() {
    if is_there("cc") {
        let root = Root::with_compilers();
        root.add_rust();
        check(cargo(), |more| Some(Site::new(&root.under(more))));
    }
}
