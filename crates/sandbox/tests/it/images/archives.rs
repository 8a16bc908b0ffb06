//! Images for tests: tars, layouts and archives that are made on the spot.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use sandbox::images::Digest;
use sandbox::images::architecture;
use serde_json::Value;
use serde_json::json;

/// A tar that is being written.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(crate) fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    pub(crate) fn folder(mut self, path: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        self.0.append_data(&mut header, path, std::io::empty()).unwrap();
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    /// An entry whose name is written as it is.
    pub(crate) fn raw(mut self, name: &[u8], content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A root file system with a shell and few programs: this machine's, with their libraries.
pub(crate) fn shell_root() -> Vec<u8> {
    let mut tar = Tar::new();
    for folder in ["usr/", "usr/bin/", "usr/lib/", "usr/lib64/", "etc/", "tmp/", "root/"] {
        tar = tar.folder(folder);
    }
    for name in ["bin", "lib", "lib64"] {
        tar = tar.link(name, &format!("usr/{name}"));
    }
    let mut files: Vec<String> = ["bash", "cat", "ls", "id"].map(|name| format!("/usr/bin/{name}")).into();
    for program in files.clone() {
        let told = Command::new("ldd").arg(&program).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        files.extend(told.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    }
    files.sort();
    files.dedup();
    for path in files {
        let inside = if path.starts_with("/usr/") { path[1..].to_owned() } else { format!("usr{path}") };
        tar = tar.file(&inside, 0o755, &std::fs::read(&path).unwrap());
    }
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/bash\n").end()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// An OCI layout: what is put into its folder of blobs, and its index.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
    manifests: Vec<Value>,
}

impl Layout {
    /// What names a blob, which is put in.
    pub(crate) fn blob(&mut self, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.blobs.push((digest.clone(), bytes.to_vec()));
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// Puts in an image of these layers, each with its media type and its digest when it is not compressed.
    pub(crate) fn image(&mut self, architecture: &str, layers: &[(&str, Vec<u8>, Digest)]) -> Value {
        let contents: Vec<&Digest> = layers.iter().map(|(_, _, content)| content).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Env": ["GREETING=hello", "HOME=/evil"], "WorkingDir": "/srv" },
            "rootfs": { "type": "layers", "diff_ids": contents },
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layers: Vec<Value> = layers.iter().map(|(kind, bytes, _)| self.blob(kind, bytes)).collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut entry = self.blob(kind, manifest.to_string().as_bytes());
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        self.manifests.push(entry.clone());
        entry
    }

    pub(crate) fn index(&self) -> Vec<u8> {
        json!({ "schemaVersion": 2, "manifests": self.manifests }).to_string().into_bytes()
    }

    pub(crate) fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        std::fs::write(folder.join("index.json"), self.index()).unwrap();
        for (digest, bytes) in &self.blobs {
            std::fs::write(folder.join(place(digest)), bytes).unwrap();
        }
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut tar = Tar::new().folder("blobs/").folder("blobs/sha256/");
        for (digest, bytes) in &self.blobs {
            tar = tar.file(&place(digest), 0o644, bytes);
        }
        tar.file("index.json", 0o644, &self.index()).file("oci-layout", 0o644, b"{}").end()
    }
}

/// An image of plain, gzipped and zstandard layers in this order, over and over.
pub(crate) fn layout_of(layers: &[&[u8]]) -> Layout {
    let mut layout = Layout::default();
    layout.image(architecture(), &packed(layers));
    layout
}

pub(crate) fn packed(layers: &[&[u8]]) -> Vec<(&'static str, Vec<u8>, Digest)> {
    let kinds = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ];
    let pack = |(number, bytes): (usize, &&[u8])| {
        let packed = match number % 3 {
            0 => bytes.to_vec(),
            1 => gzip(bytes),
            _ => zstandard(bytes),
        };
        (kinds[number % 3], packed, Digest::of(bytes))
    };
    layers.iter().enumerate().map(pack).collect()
}

/// An archive as `docker save` writes it, older versions with links between equal layers.
pub(crate) fn saved(layers: &[&[u8]]) -> Vec<u8> {
    let contents: Vec<Digest> = layers.iter().map(|bytes| Digest::of(bytes)).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "Env": ["GREETING=hello"] },
        "rootfs": { "type": "layers", "diff_ids": contents },
    });
    let config = config.to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).layer());
    let mut tar = Tar::new().file(&config_name, 0o644, config.as_bytes());
    let mut names = Vec::new();
    for (number, bytes) in layers.iter().enumerate() {
        let name = format!("layer{number}/layer.tar");
        tar = tar.folder(&format!("layer{number}/"));
        match layers[..number].iter().position(|other| other == bytes) {
            Some(other) => tar = tar.link(&name, &format!("../layer{other}/layer.tar")),
            None => tar = tar.file(&name, 0o644, bytes),
        }
        names.push(name);
    }
    let manifest = json!([{ "Config": config_name, "RepoTags": ["team/app:1"], "Layers": names }]);
    tar.file("manifest.json", 0o644, manifest.to_string().as_bytes()).end()
}

fn place(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.layer())
}
