//! Blobs in a folder.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::Digest;
use store::Blob;
use store::BlobReader;
use store::BlobTarget;
use store::Blobs;

const KEY: &str = "checkpoints/sesn_1/1";

async fn open(folder: &Path) -> Blobs {
    Blobs::open(&BlobTarget::Folder(folder.join("blobs"))).await.unwrap()
}

async fn put(blobs: &Blobs, key: &str, bytes: &[u8]) -> Blob {
    let mut writer = blobs.put(key).await.unwrap();
    for chunk in bytes.chunks(1_000_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read(mut reader: BlobReader) -> (Vec<u8>, String) {
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    (all, reader.sha256())
}

async fn keys(blobs: &Blobs, prefix: &str) -> Vec<(String, u64)> {
    let found: Vec<_> = blobs.list(prefix).map(|entry| entry.unwrap()).collect().await;
    let mut keys: Vec<_> = found.into_iter().map(|entry| (entry.key, entry.bytes)).collect();
    keys.sort_unstable();
    keys
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn a_blob_is_read_back_as_it_was_written_with_its_size_and_digest() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).await;
    let bytes: Vec<u8> =
        (0..20_000_000_u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
    let digest: String =
        sha2::Sha256::digest(&bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let stored = put(&blobs, KEY, &bytes).await;
    assert_eq!(stored, Blob { bytes: 20_000_000, sha256: digest.clone() });
    let reader = open(folder.path()).await.get(KEY).await.unwrap();
    assert_eq!(reader.bytes(), 20_000_000);
    let (found, sha256) = read(reader).await;
    assert!(found == bytes, "the bytes differ");
    assert_eq!(sha256, digest);
}

#[tokio::test]
async fn an_unfinished_blob_is_not_there_and_leaves_the_former_one() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).await;
    let begin = async || {
        let mut writer = blobs.put(KEY).await.unwrap();
        for _ in 0..20 {
            writer.write(Bytes::from(vec![1; 1_000_000])).await.unwrap();
        }
        writer
    };
    drop(begin().await);
    assert!(blobs.get(KEY).await.unwrap_err().is_missing);
    assert_eq!(keys(&blobs, "checkpoints").await, []);
    put(&blobs, KEY, b"former").await;
    begin().await.abort().await.unwrap();
    let half = begin().await;
    assert_eq!(keys(&blobs, "checkpoints").await, [(KEY.to_owned(), 6)]);
    assert_eq!(read(blobs.get(KEY).await.unwrap()).await.0, b"former");
    drop(half);
}

#[tokio::test]
async fn what_a_killed_writer_left_is_tidied_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).await;
    put(&blobs, KEY, b"whole").await;
    let mut writer = blobs.put("checkpoints/sesn_2/1").await.unwrap();
    writer.write(Bytes::from(vec![1; 20_000_000])).await.unwrap();
    // As a kill would: nothing of the writer is run any more.
    std::mem::forget(writer);
    assert_eq!(files(folder.path()), 2);
    assert_eq!(blobs.tidy(Duration::from_hours(1)).await.unwrap(), 0);
    assert_eq!(blobs.tidy(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(files(folder.path()), 1);
    assert_eq!(read(blobs.get(KEY).await.unwrap()).await.0, b"whole");
}

#[tokio::test]
async fn blobs_are_listed_by_the_parts_of_their_keys_and_deleted_twice() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).await;
    for key in ["checkpoints/a/1", "checkpoints/a/2", "checkpoints/ab/1", "layers/x"] {
        put(&blobs, key, key.as_bytes()).await;
    }
    let named = |name: &str| (name.to_owned(), name.len() as u64);
    assert_eq!(keys(&blobs, "checkpoints/a").await, ["checkpoints/a/1", "checkpoints/a/2"].map(named));
    assert_eq!(keys(&blobs, "nothing").await, []);
    for _ in 0..2 {
        blobs.delete("checkpoints/a/1").await.unwrap();
    }
    assert_eq!(keys(&blobs, "checkpoints").await, ["checkpoints/a/2", "checkpoints/ab/1"].map(named));
    assert!(blobs.get("checkpoints/a/1").await.unwrap_err().is_missing);
}

#[tokio::test]
async fn a_bucket_is_opened_by_its_address_and_refuses_unknown_settings() {
    let bucket = |options: &[(&str, &str)]| BlobTarget::Bucket {
        url: "s3://sandboxes/journeyman".to_owned(),
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let options = [
        ("region", "here"),
        ("endpoint", "http://127.0.0.1:9"),
        ("access_key_id", "a"),
        ("secret_access_key", "b"),
    ];
    Blobs::open(&bucket(&options)).await.unwrap();
    let error = Blobs::open(&bucket(&[("colour", "blue")])).await.unwrap_err();
    assert_eq!(error.to_string(), "open the bucket s3://sandboxes/journeyman");
}
