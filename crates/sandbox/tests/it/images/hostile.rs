//! Images that lie, and archives that were made to do harm.

use sandbox::images::Digest;
use sandbox::images::Error;
use sandbox::images::architecture;
use serde_json::json;

use super::Shelf;
use super::archives::Layout;
use super::archives::Tar;
use super::archives::gzip;
use super::archives::layout_of;
use super::archives::packed;
use super::archives::saved;
use super::changes;
use crate::ground::chain;

/// Imports an archive that is to be refused; what was told.
async fn refused(shelf: &Shelf, bytes: &[u8]) -> String {
    let path = shelf.file("hostile.tar", bytes);
    let error = shelf.import("hostile", &path).await.unwrap_err();
    shelf.assert_empty().await;
    chain(&error)
}

#[tokio::test]
async fn a_layer_with_another_digest_is_refused_and_nothing_is_left() {
    let shelf = Shelf::new();
    let [lower, upper] = changes();
    let mut layout = layout_of(&[&lower, &upper]);
    let wanted = Digest::of(&gzip(&upper));
    // Of the right size, so that only the digest tells; the layer below it was fine.
    for (digest, bytes) in &mut layout.blobs {
        if *digest == wanted {
            *bytes.last_mut().unwrap() ^= 1;
        }
    }
    let path = shelf.file("hostile.tar", &layout.tar());
    let error = shelf.import("hostile", &path).await.unwrap_err();
    assert!(
        matches!(&error, Error::Mismatch { expected, .. } if *expected == wanted)
            || matches!(error, Error::Backend(_))
    );
    shelf.assert_empty().await;

    let mut longer = layout_of(&[&lower, &upper]);
    longer.blobs.iter_mut().find(|(digest, _)| *digest == wanted).unwrap().1.push(0);
    let told = refused(&shelf, &longer.tar()).await;
    assert!(told.contains("more came"), "{told}");
    let mut shorter = layout_of(&[&lower, &upper]);
    shorter.blobs.iter_mut().find(|(digest, _)| *digest == Digest::of(&lower)).unwrap().1.truncate(512);
    refused(&shelf, &shorter.tar()).await;
}

#[tokio::test]
async fn a_document_or_a_saved_layer_with_another_digest_is_refused() {
    let shelf = Shelf::new();
    let [lower, _] = changes();
    let mut layout = layout_of(&[&lower]);
    let config = layout.blobs.iter_mut().find(|(_, bytes)| bytes.starts_with(b"{\"architecture")).unwrap();
    config.1 = String::from_utf8(config.1.clone()).unwrap().replace("hello", "HELLO").into_bytes();
    assert!(refused(&shelf, &layout.tar()).await.contains("check sha256:"));
    let old = saved(&[&lower]);
    let at = old.windows(3).rposition(|bytes| bytes == b"old").unwrap();
    let mut changed = old;
    changed[at] = b'O';
    assert!(refused(&shelf, &changed).await.contains("check sha256:"));
}

#[tokio::test]
async fn a_layer_that_its_worker_refuses_leaves_nothing() {
    let shelf = Shelf::new();
    let [lower, _] = changes();
    let out = Tar::new().raw(b"../../etc/evil", b"x").end();
    refused(&shelf, &layout_of(&[&lower, &out]).tar()).await;
    refused(&shelf, &saved(&[&lower, b"this is no tar archive"])).await;
}

#[tokio::test]
async fn names_in_an_archive_lead_nowhere_else() {
    let shelf = Shelf::new();
    let secret = shelf.file("secret", b"{}");
    let secret = secret.to_str().unwrap();
    for config in [secret, "../secret", "blobs/../../secret", "link"] {
        let manifest = json!([{ "Config": config, "Layers": [] }]).to_string();
        let bytes = Tar::new().link("link", secret).file("manifest.json", 0o644, manifest.as_bytes()).end();
        let told = refused(&shelf, &bytes).await;
        assert!(told.contains("there is no file"), "{config}: {told}");
    }
    let circle = Tar::new().link("a", "b").link("b", "a");
    let manifest = br#"[{"Config":"a","Layers":[]}]"#;
    assert!(refused(&shelf, &circle.file("manifest.json", 0o644, manifest).end()).await.contains("no file"));
    let twice = Tar::new().file("manifest.json", 0o644, b"[]").file("manifest.json", 0o644, manifest).end();
    assert!(refused(&shelf, &twice).await.contains("the same name"));
}

#[tokio::test]
async fn archives_that_are_broken_or_too_large_are_refused() {
    let shelf = Shelf::new();
    refused(&shelf, b"").await;
    refused(&shelf, b"this is no archive").await;
    refused(&shelf, &gzip(b"this is no archive")).await;
    refused(&shelf, &gzip(&[0; 100])[..20]).await;
    let [lower, _] = changes();
    let whole = layout_of(&[&lower]).tar();
    refused(&shelf, &whole[..1000]).await;
    let mut lying = Tar::new().file("index.json", 0o644, b"{}").end();
    // A size that reaches far beyond the end.
    lying[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 = lying[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { (*byte).into() })
        .sum();
    lying[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(refused(&shelf, &lying).await.contains("ends early"));
    let large = Tar::new().file("index.json", 0o644, &vec![b' '; 5 << 20]).end();
    assert!(refused(&shelf, &large).await.contains("larger than"));
    let folder = shelf.folder.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    assert!(shelf.import("folder", &folder).await.unwrap_err().to_string().contains("index.json"));
    assert!(shelf.import("nothing", &shelf.folder.path().join("nothing")).await.is_err());
}

#[tokio::test]
async fn an_index_is_followed_to_this_machines_image_and_not_in_circles() {
    let shelf = Shelf::new();
    let [lower, upper] = changes();
    let mut layout = Layout::default();
    layout.image("s390x", &packed(&[&upper]));
    layout.image(architecture(), &packed(&[&lower]));
    let path = shelf.file("both.tar", &layout.tar());
    let image = shelf.must_import("both", &path).await;
    assert_eq!(image.layers, [Digest::of(&lower).layer().clone()]);

    let shelf = Shelf::new();
    let mut other = Layout::default();
    other.image("s390x", &packed(&[&lower]));
    let told = refused(&shelf, &other.tar()).await;
    assert!(told.contains("linux/s390x") && told.contains(architecture()), "{told}");

    let mut deep = Layout::default();
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut entry = deep.image(architecture(), &packed(&[&lower]));
    for _ in 0..5 {
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        entry = deep.blob(kind, index.to_string().as_bytes());
    }
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let mut tar = Tar::new();
    for (digest, bytes) in &deep.blobs {
        tar = tar.file(&format!("blobs/sha256/{}", digest.layer()), 0o644, bytes);
    }
    let told = refused(&shelf, &tar.file("index.json", 0o644, index.as_bytes()).end()).await;
    assert!(told.contains("leads through more than"), "{told}");
}
