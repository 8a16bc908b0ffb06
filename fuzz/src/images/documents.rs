//! The documents of images.

use std::io::Write;
use std::str::FromStr;

use super::Digest;
use super::document::Blob;
use super::document::Configuration;
use super::document::Document;
use super::document::Manifest;
use super::document::Saved;
use super::document::choose;
use super::variables;

/// What is read is within its bounds, is chosen from what is there, and says the same when it is read again.
pub fn check(bytes: &[u8]) {
    let document = Document::parse(bytes);
    match document {
        Ok(Document::Manifest(Manifest { config, layers })) => {
            assert!(layers.len() <= 127);
            for blob in layers.iter().chain([&config]) {
                check_blob(blob);
            }
            let again =
                Document::parse(manifest(&config, &layers).as_bytes()).expect("it was accepted before");
            assert_eq!(again, Document::Manifest(Manifest { config, layers }));
        }
        Ok(Document::Index(entries)) => {
            assert!(entries.len() <= 1000);
            let blobs: Vec<Blob> = entries.iter().map(|entry| entry.blob.clone()).collect();
            blobs.iter().for_each(check_blob);
            for wanted in [None, Some("latest"), Some("a")] {
                if let Ok(chosen) = choose(entries.clone(), wanted) {
                    assert!(blobs.contains(&chosen));
                }
            }
        }
        Err(error) => drop(error.to_string()),
    }
    if let Ok(configuration) = Configuration::parse(bytes) {
        let Configuration { variables, working_dir, contents } = &configuration;
        assert!(working_dir.as_ref().is_none_or(|path| path.starts_with('/') && !path.contains('\0')));
        assert!(configuration.expect_layers(contents.len()).is_ok() == (contents.len() <= 127));
        assert!(configuration.expect_layers(contents.len() + 1).is_err());
        for (name, value) in variables::filter(variables) {
            assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
            assert!(
                variables.contains(&format!("{name}={value}")) && name != "IFS" && !name.starts_with("BASH")
            );
        }
    }
    if let Ok(saved) = Saved::parse(bytes) {
        for wanted in [None, Some("latest"), Some("a:1")] {
            if let Ok(chosen) = Saved::choose(saved.clone(), wanted) {
                assert!(saved.contains(&chosen));
                assert!(wanted.is_some() || saved.len() == 1);
            }
        }
    }
}

fn check_blob(blob: &Blob) {
    let text = blob.digest.to_string();
    let digits = text.strip_prefix("sha256:").expect("only one kind is taken");
    assert!(digits.len() == 64 && digits.bytes().all(|digit| b"0123456789abcdef".contains(&digit)));
    assert_eq!(Digest::from_str(&text).ok().as_ref(), Some(&blob.digest));
}

fn manifest(config: &Blob, layers: &[Blob]) -> String {
    let blob = |blob: &Blob| {
        serde_json::json!({
            "mediaType": blob.media_type, "digest": blob.digest.to_string(), "size": blob.bytes,
        })
    };
    let mut text = Vec::new();
    let layers: Vec<_> = layers.iter().map(blob).collect();
    write!(text, "{}", serde_json::json!({ "schemaVersion": 2, "config": blob(config), "layers": layers }))
        .expect("writing to memory cannot fail");
    String::from_utf8(text).expect("JSON is text")
}
