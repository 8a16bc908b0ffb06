//! Blobs: the same of a folder and of a bucket, and what only a folder has to tidy.

mod bucket;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::Digest;
use store::Blob;
use store::BlobReader;
use store::BlobTarget;
use store::BlobWriter;
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

/// Bytes of any number, of which no part is like another.
fn bytes(count: usize) -> Vec<u8> {
    let pattern: Vec<u8> =
        (0..1_000_003_u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
    let mut bytes = pattern.repeat(count.div_ceil(pattern.len()));
    bytes.truncate(count);
    bytes
}

/// Small ones, one of exactly one part, and one that is sent in many parts. Both handles are to the same blobs.
async fn reads_back_what_was_written(blobs: &Blobs, again: &Blobs) {
    for count in [0, 5, 8 << 20, 64 << 20] {
        let bytes = bytes(count);
        let digest = sha2::Sha256::digest(&bytes);
        let digest = digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let stored = put(blobs, KEY, &bytes).await;
        assert_eq!(stored, Blob { bytes: count as u64, sha256: digest.clone() });
        let reader = again.get(KEY).await.unwrap();
        assert_eq!(reader.bytes(), count as u64);
        let (found, sha256) = read(reader).await;
        assert!(found == bytes, "the bytes differ");
        assert_eq!(sha256, digest);
    }
}

async fn begin(blobs: &Blobs) -> BlobWriter {
    let mut writer = blobs.put(KEY).await.unwrap();
    for _ in 0..20 {
        writer.write(Bytes::from(vec![1; 1_000_000])).await.unwrap();
    }
    writer
}

async fn an_unfinished_blob_is_not_there(blobs: &Blobs) {
    drop(begin(blobs).await);
    assert!(blobs.get(KEY).await.unwrap_err().is_missing);
    assert_eq!(keys(blobs, "checkpoints").await, []);
    put(blobs, KEY, b"former").await;
    begin(blobs).await.abort().await.unwrap();
    let half = begin(blobs).await;
    assert_eq!(keys(blobs, "checkpoints").await, [(KEY.to_owned(), 6)]);
    assert_eq!(read(blobs.get(KEY).await.unwrap()).await.0, b"former");
    drop(half);
}

async fn lists_by_the_parts_of_keys_and_deletes_twice(blobs: &Blobs) {
    for key in ["checkpoints/a/1", "checkpoints/a/2", "checkpoints/ab/1", "layers/x"] {
        put(blobs, key, key.as_bytes()).await;
    }
    let named = |name: &str| (name.to_owned(), name.len() as u64);
    assert_eq!(keys(blobs, "checkpoints/a").await, ["checkpoints/a/1", "checkpoints/a/2"].map(named));
    assert_eq!(keys(blobs, "nothing").await, []);
    for _ in 0..2 {
        blobs.delete("checkpoints/a/1").await.unwrap();
    }
    assert_eq!(keys(blobs, "checkpoints").await, ["checkpoints/a/2", "checkpoints/ab/1"].map(named));
    let error = blobs.get("checkpoints/a/1").await.unwrap_err();
    assert!(error.is_missing);
    assert_eq!(error.to_string(), format!("read blob checkpoints/a/1 in {}: there is none", blobs.place()));
    blobs.check("checks/1").await.unwrap();
    assert_eq!(keys(blobs, "checks").await, []);
}

#[tokio::test]
async fn a_blob_is_read_back_as_it_was_written_with_its_size_and_digest() {
    let folder = tempfile::tempdir().unwrap();
    reads_back_what_was_written(&open(folder.path()).await, &open(folder.path()).await).await;
}

#[tokio::test]
async fn an_unfinished_blob_is_not_there_and_leaves_the_former_one() {
    let folder = tempfile::tempdir().unwrap();
    an_unfinished_blob_is_not_there(&open(folder.path()).await).await;
}

#[tokio::test]
async fn blobs_are_listed_by_the_parts_of_their_keys_and_deleted_twice() {
    let folder = tempfile::tempdir().unwrap();
    lists_by_the_parts_of_keys_and_deletes_twice(&open(folder.path()).await).await;
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
