//! Blobs in a bucket, and what is told when it cannot be used.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use store::BlobError;
use store::BlobTarget;
use store::Blobs;
use testkit::bucket::Bucket;

use super::KEY;
use super::an_unfinished_blob_is_not_there;
use super::begin;
use super::lists_by_the_parts_of_keys_and_deletes_twice;
use super::put;
use super::reads_back_what_was_written;

/// Opens what these settings of a bucket lead to.
async fn open(url: &str, options: &[(&str, &str)]) -> Result<Blobs, BlobError> {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let patience = Duration::from_millis(300);
    Blobs::open(&BlobTarget::Bucket { url: url.to_owned(), options, patience }).await
}

/// The settings that lead to a bucket.
fn options(bucket: &Bucket) -> [(&str, &str); 4] {
    [
        ("endpoint", &bucket.endpoint),
        ("allow_http", "true"),
        ("access_key_id", &bucket.access_key_id),
        ("secret_access_key", &bucket.secret_access_key),
    ]
}

/// What each of the operations is refused with. None of them says that a blob is missing.
async fn refusals(blobs: &Blobs) -> Vec<String> {
    let stored = async { put_small(blobs).await.expect_err("a blob was stored") };
    let read = async { blobs.get(KEY).await.expect_err("a blob was read") };
    let deleted = async { blobs.delete(KEY).await.expect_err("a blob was deleted") };
    let listed = async { blobs.check(KEY).await.expect_err("a check went well") };
    let errors: [BlobError; 4] = tokio::join!(stored, read, deleted, listed).into();
    assert!(errors.iter().all(|error| !error.is_missing), "{errors:?}");
    errors.map(|error| error.to_string()).to_vec()
}

async fn put_small(blobs: &Blobs) -> Result<(), BlobError> {
    let mut writer = blobs.put(KEY).await?;
    writer.write(Bytes::from_static(b"small")).await?;
    writer.finish().await.map(drop)
}

fn told(place: &str, why: &str) -> Vec<String> {
    let told = |op: &str| format!("{op} blob {KEY} in {place}: {why}");
    ["store", "read", "delete", "store"].map(told).to_vec()
}

const REFUSED: &str = "access is refused; check `access_key_id`, `secret_access_key`, this machine's clock, and that the \
                       credentials may read, write, list and delete there";
const UNREACHABLE: &str = "no answer; check `endpoint`, `region`, and that this machine can reach the server";

#[tokio::test]
async fn a_bucket_keeps_blobs_as_a_folder_does() {
    let mut bucket = Bucket::start().unwrap();
    for (number, url) in ["s3://blobs", "s3://blobs/a", "s3://blobs/b/c/"].into_iter().enumerate() {
        let options = options(&bucket);
        let blobs = open(url, &options).await.unwrap();
        match number {
            0 => an_unfinished_blob_is_not_there(&blobs).await,
            1 => lists_by_the_parts_of_keys_and_deletes_twice(&blobs).await,
            _ => reads_back_what_was_written(&blobs, &open(url, &options).await.unwrap()).await,
        }
    }
    let mut stored = bucket.keys().unwrap();
    stored.sort_unstable();
    let prefixed = ["a/checkpoints/a/2", "a/checkpoints/ab/1", "a/layers/x", "b/c/checkpoints/sesn_1/1"];
    assert_eq!(stored, [&prefixed[..], &[KEY]].concat());
    // Writers that were dropped take back what they had sent.
    while !bucket.uploads().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_told_with_what_to_do() {
    let bucket = Bucket::start().unwrap();
    let [endpoint, http, id, secret] = options(&bucket);
    let wrong = open("s3://blobs", &[endpoint, http, id, ("secret_access_key", "wrong")]).await.unwrap();
    assert_eq!(refusals(&wrong).await, told("s3://blobs", REFUSED));
    let stranger =
        open("s3://blobs", &[endpoint, http, ("access_key_id", "stranger"), secret]).await.unwrap();
    assert_eq!(refusals(&stranger).await, told("s3://blobs", REFUSED));
    let absent = open("s3://other/x", &[endpoint, http, id, secret]).await.unwrap();
    let why = "there is no such bucket; make it, or correct its address or `endpoint`";
    assert_eq!(refusals(&absent).await, told("s3://other/x", why));
    // Without keys this machine's role is asked for; here nobody knows of one.
    let nobody = ("metadata_endpoint", "http://127.0.0.1:9");
    let nameless = open("s3://blobs", &[endpoint, http, nobody]).await.unwrap();
    let why =
        "there are no credentials; set `access_key_id` and `secret_access_key`, or give this machine a role";
    assert_eq!(refusals(&nameless).await, told("s3://blobs", why));
}

#[tokio::test]
async fn another_server_in_the_place_of_the_bucket_loses_no_blob() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let answer = |mut stream: std::net::TcpStream| {
            let _ = stream.read(&mut [0; 4096])?;
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        };
        listener.incoming().flatten().for_each(|stream| drop(answer(stream)));
    });
    let options = [
        ("endpoint", endpoint.as_str()),
        ("allow_http", "true"),
        ("access_key_id", "a"),
        ("secret_access_key", "b"),
    ];
    let error = open("s3://blobs", &options).await.unwrap().get(KEY).await.map(drop).unwrap_err();
    assert!(!error.is_missing);
    assert_eq!(error.to_string(), format!("read blob {KEY} in s3://blobs"));
}

#[tokio::test]
async fn a_server_that_goes_in_the_middle_is_told() {
    let mut bucket = Bucket::start().unwrap();
    let blobs = open("s3://blobs", &options(&bucket)).await.unwrap();
    put(&blobs, KEY, &super::bytes(24 << 20)).await;
    let mut reader = blobs.get(KEY).await.unwrap();
    reader.next().await.unwrap();
    let half = begin(&blobs).await;
    bucket.kill();
    let error = loop {
        match reader.next().await {
            Ok(bytes) => assert!(bytes.is_some(), "the blob came to its end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), format!("read blob {KEY} in s3://blobs: {UNREACHABLE}"));
    let error = half.finish().await.unwrap_err();
    assert_eq!(error.to_string(), format!("store blob {KEY} in s3://blobs: {UNREACHABLE}"));
    assert_eq!(refusals(&blobs).await, told("s3://blobs", UNREACHABLE));
}

#[tokio::test]
async fn settings_of_a_bucket_that_make_no_sense_are_refused_at_once() {
    let refused = async |url: &str, options: &[(&str, &str)]| {
        let error = anyhow::Error::from(open(url, options).await.unwrap_err());
        format!("{error:#}")
    };
    let keys = [("access_key_id", "a"), ("secret_access_key", "b")];
    for (url, option, told) in [
        ("s3://b", ("colour", "blue"), "Configuration key: 'colour' is not valid"),
        (
            "s3://b",
            ("endpoint", "http://127.0.0.1:9"),
            "`http://127.0.0.1:9` is not encrypted; use https, or set",
        ),
        ("s3:///b", ("region", "here"), "`s3:///b` names no bucket"),
        ("https://b.example/c", ("region", "here"), "an address such as `s3://bucket/prefix` is wanted"),
    ] {
        let error = refused(url, &[keys[0], keys[1], option]).await;
        assert!(error.starts_with(&format!("open the blobs in {url}: ")) && error.contains(told), "{error}");
    }
    let error = refused("s3://b", &keys[..1]).await;
    assert!(error.contains("Missing SecretAccessKey"), "{error}");
}
