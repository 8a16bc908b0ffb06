//! Documents that are right, and documents that lie.

use serde_json::Value;
use serde_json::json;

use super::*;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn blob(media_type: &str, text: &str) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(text.as_bytes()).to_string(), "size": 5 })
}

fn manifest(layer: &str) -> Value {
    json!({ "schemaVersion": 2, "config": blob(CONFIGS[0], "c"), "layers": [blob(layer, "l")], "annotations": {} })
}

fn parse(document: &Value) -> Result<Document, Error> {
    Document::parse(document.to_string().as_bytes())
}

fn told(document: &Value) -> String {
    parse(document).unwrap_err().to_string()
}

fn entry(text: &str, os: &str, architecture: &str, name: Option<&str>) -> Value {
    let mut entry = blob("application/vnd.oci.image.manifest.v1+json", text);
    entry["platform"] = json!({ "os": os, "architecture": architecture, "variant": "v8" });
    if let Some(name) = name {
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name, "other": "x" });
    }
    entry
}

fn chosen(entries: &[Value], wanted: Option<&str>) -> Result<Digest, Error> {
    let Document::Index(entries) = parse(&json!({ "schemaVersion": 2, "manifests": entries })).unwrap()
    else {
        panic!("it is an index")
    };
    choose(entries, wanted).map(|blob| blob.digest)
}

#[test]
fn layers_of_every_kind_are_read_and_foreign_ones_refused() {
    for kind in LAYERS {
        assert!(matches!(parse(&manifest(kind)), Ok(Document::Manifest(_))), "{kind}");
    }
    for foreign in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ] {
        assert!(told(&manifest(foreign)).contains("elsewhere"), "{foreign}");
    }
    assert!(told(&manifest("application/wasm")).contains("unknown kind"));
}

#[test]
fn documents_that_can_be_read_in_two_ways_are_refused() {
    let mut both = manifest(LAYER);
    both["manifests"] = json!([]);
    assert!(told(&both).contains("neither"));
    let mut old = manifest(LAYER);
    old["schemaVersion"] = json!(1);
    assert!(told(&old).contains("schema"));
    let mut other = manifest(LAYER);
    other["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    assert!(told(&other).contains("not the configuration of a container image"));
    let mut negative = manifest(LAYER);
    negative["layers"][0]["size"] = json!(-1);
    assert!(parse(&negative).is_err());
    let mut out = manifest(LAYER);
    out["layers"][0]["digest"] = json!("sha256:../../../etc/shadow");
    assert!(told(&out).contains("digest"));
    let twice = manifest(LAYER).to_string().replacen('{', "{\"layers\":[],", 1);
    assert!(Document::parse(twice.as_bytes()).unwrap_err().to_string().contains("duplicate"));
    let mut many = manifest(LAYER);
    many["layers"] = vec![blob(LAYER, "l"); 128].into();
    assert!(told(&many).contains("128 layers"));
}

#[test]
fn of_an_index_the_image_for_this_machine_is_chosen() {
    let ours = architecture();
    let other = entry("other", "linux", "s390x", None);
    let windows = entry("windows", "windows", ours, None);
    let proof = entry("proof", "unknown", "unknown", None);
    let all = [other.clone(), windows, proof, entry("ours", "linux", ours, None)];
    assert_eq!(chosen(&all, None).unwrap(), Digest::of(b"ours"));
    let told = chosen(&[other], None).unwrap_err().to_string();
    assert!(told.contains("linux/s390x") && told.contains(ours), "{told}");
    assert!(chosen(&[], None).is_err());
}

#[test]
fn of_several_images_one_has_to_be_named() {
    let ours = architecture();
    let all = [entry("a", "linux", ours, Some("one")), entry("b", "linux", ours, Some("team/two:1"))];
    let told = chosen(&all, None).unwrap_err().to_string();
    assert!(told.contains("--reference") && told.contains("one, team/two:1"), "{told}");
    assert_eq!(chosen(&all, Some("one")).unwrap(), Digest::of(b"a"));
    assert_eq!(chosen(&all, Some("two:1")).unwrap(), Digest::of(b"b"));
    assert!(chosen(&all, Some("three")).unwrap_err().to_string().contains("three"));
}

#[test]
fn a_configuration_is_for_this_machine_and_has_plain_layers() {
    let content = Digest::of(b"x").to_string();
    let right = json!({ "architecture": architecture(), "os": "linux", "config": null, "history": [],
        "rootfs": { "type": "layers", "diff_ids": [content] } });
    let parse = |value: &Value| Configuration::parse(value.to_string().as_bytes());
    let read = parse(&right).unwrap();
    assert_eq!(read, Configuration { contents: vec![Digest::of(b"x")], ..Configuration::default() });
    assert!(read.expect_layers(1).is_ok() && read.expect_layers(2).is_err());
    let mut full = right.clone();
    full["config"] = json!({ "Env": ["A=1"], "WorkingDir": "/app", "Cmd": ["x"] });
    assert_eq!(parse(&full).unwrap().working_dir.as_deref(), Some("/app"));
    assert_eq!(parse(&full).unwrap().variables, ["A=1"]);
    for (key, value) in [("architecture", json!("s390x")), ("os", json!("windows"))] {
        let mut wrong = right.clone();
        wrong[key] = value;
        assert!(parse(&wrong).unwrap_err().to_string().contains("this machine"), "{key}");
    }
}

#[test]
fn of_a_saved_archive_one_image_is_chosen() {
    let saved = |name: &str| json!({ "Config": "c.json", "RepoTags": [name], "Layers": ["a/layer.tar"] });
    let parse = |value: Value| Saved::parse(value.to_string().as_bytes()).unwrap();
    let one = parse(json!([saved("team/one:1")]));
    assert_eq!(Saved::choose(one.clone(), None).unwrap(), one[0]);
    let two = parse(json!([saved("team/one:1"), saved("two:1")]));
    assert!(Saved::choose(two.clone(), None).unwrap_err().to_string().contains("team/one:1, two:1"));
    assert_eq!(Saved::choose(two.clone(), Some("one:1")).unwrap(), two[0]);
    assert!(Saved::choose(two, Some("three")).is_err());
    assert!(Saved::choose(Vec::new(), None).is_err());
    let nameless = parse(json!([{ "Config": "c.json", "RepoTags": null, "Layers": [] }]));
    assert!(Saved::choose(nameless, None).is_ok());
}
