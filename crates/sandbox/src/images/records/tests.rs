//! Records in a folder, without a back end.

use std::collections::BTreeMap;

use api::time::Timestamp;

use super::*;
use crate::images::Digest;

fn image(name: &str, layers: &[&str]) -> Image {
    Image {
        name: name.parse().unwrap(),
        digest: Digest::of(name.as_bytes()),
        layers: layers.iter().map(|text| layer(text)).collect(),
        architecture: "amd64".to_owned(),
        variables: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        working_dir: Some("/app".to_owned()),
        created_at: Timestamp(1_700_000_000_000_000),
        source: "a test".to_owned(),
        bytes: 7,
    }
}

fn layer(text: &str) -> LayerName {
    Digest::of(text.as_bytes()).layer().clone()
}

#[test]
fn what_is_put_is_found_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path());
    assert_eq!(images.list().unwrap(), []);
    let (one, two) = (image("one", &["a"]), image("two", &["a", "b"]));
    images.put(&two).unwrap();
    images.put(&image("one", &[])).unwrap();
    images.put(&one).unwrap();
    assert_eq!(Images::open(folder.path()).list().unwrap(), [one.clone(), two]);
    assert_eq!(images.get(&one.name).unwrap(), one);
    let root = images.root("one").unwrap();
    assert_eq!(root.root, Root { base: Base::Empty, layers: one.layers });
    assert_eq!(root.variables, one.variables);
    assert!(matches!(images.root("three"), Err(Error::Absent { .. })));
    assert!(matches!(images.root("../one"), Err(Error::Name { .. })));
}

#[test]
fn a_record_that_is_broken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path());
    images.put(&image("one", &[])).unwrap();
    let path = folder.path().join("images/one.json");
    std::fs::copy(&path, folder.path().join("images/two.json")).unwrap();
    assert!(images.list().unwrap_err().to_string().contains("of another image"));
    std::fs::write(&path, "{").unwrap();
    assert!(images.get(&"one".parse().unwrap()).unwrap_err().to_string().contains("one.json"));
}

#[tokio::test]
async fn removal_tells_the_layers_that_nobody_else_uses() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path());
    images.make_folders().unwrap();
    for name in ["a", "b", "c"] {
        images.claim(&layer(name)).unwrap();
    }
    images.note(&layer("a"), Taken { bytes: 9 }).unwrap();
    images.claim(&layer("a")).unwrap();
    assert_eq!(images.taken(&layer("a")).unwrap().bytes, 9, "claiming again forgets nothing");
    images.put(&image("one", &["a", "b"])).unwrap();
    images.put(&image("two", &["a", "c", "never taken in for an image"])).unwrap();
    assert_eq!(images.remove(&"one".parse().unwrap()).await.unwrap(), [layer("b")]);
    let mut left = images.remove(&"two".parse().unwrap()).await.unwrap();
    let mut wanted = vec![layer("a"), layer("b"), layer("c")];
    left.sort();
    wanted.sort();
    assert_eq!(left, wanted);
    assert!(matches!(images.remove(&"two".parse().unwrap()).await, Err(Error::Absent { .. })));
}
