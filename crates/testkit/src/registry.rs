//! A server of fixed files on loopback, and a wheel to serve: a registry of packages small enough for a test.

use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a client may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A running server. It lives as long as the process.
pub struct Registry {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Serves `files` by their paths, which begin with a slash.
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
        let address = listener.local_addr().context("read the address of a listener")?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, seen) = (files.clone(), Arc::clone(&seen));
                // A client that hangs up early is no concern of the others.
                std::thread::spawn(move || drop(answer(stream, &files, &seen)));
            }
        });
        Ok(Self { address, asked })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The paths that were asked for, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
    let (status, kind, body) = match files.get(&path) {
        Some(body) if path.ends_with('/') => ("200 OK", "text/html", body.as_slice()),
        Some(body) => ("200 OK", "application/octet-stream", body.as_slice()),
        None => ("404 Not Found", "text/plain", b"there is no such file".as_slice()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    if !head.starts_with("HEAD ") {
        stream.write_all(body)?;
    }
    stream.flush()
}

/// An index (PEP 503) of one pure package of one module, whose text is `source`.
pub fn python_index(name: &str, version: &str, source: &str) -> BTreeMap<String, Vec<u8>> {
    let wheel = format!("{name}-{version}-py3-none-any.whl");
    let info = format!("{name}-{version}.dist-info");
    let files = [
        (format!("{name}.py"), source.to_owned()),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: testkit\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
        (
            format!("{info}/RECORD"),
            format!("{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"),
        ),
    ];
    let list = format!("<!DOCTYPE html><html><body><a href=\"/files/{wheel}\">{wheel}</a></body></html>");
    [(format!("/simple/{name}/"), list.into_bytes()), (format!("/files/{wheel}"), zip(&files))].into()
}

/// A zip archive of uncompressed files.
fn zip(files: &[(String, String)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let place = length(archive.len());
        // Version, flags, method, time, date (the first day that there is), checksum, both sizes, length of the name.
        let mut common = Vec::new();
        common.extend_from_slice(&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend_from_slice(&checksum(text.as_bytes()).to_le_bytes());
        common.extend_from_slice(&length(text.len()).to_le_bytes());
        common.extend_from_slice(&length(text.len()).to_le_bytes());
        common.extend_from_slice(&length(name.len()).to_le_bytes()[..2]);
        common.extend_from_slice(&[0, 0]);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&common);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(text.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        // Comment, disk, internal and external attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&place.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (count, start, size) =
        (length(files.len()).to_le_bytes(), length(archive.len()), length(directory.len()));
    archive.append(&mut directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&count[..2]);
    archive.extend_from_slice(&count[..2]);
    archive.extend_from_slice(&size.to_le_bytes());
    archive.extend_from_slice(&start.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("files of tests are small")
}

/// The checksum of zip archives.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_zip_archives() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_index_leads_to_the_wheel() {
        let files = python_index("thing", "1.0", "x = 1\n");
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["/files/thing-1.0-py3-none-any.whl", "/simple/thing/"]);
        assert!(files["/files/thing-1.0-py3-none-any.whl"].starts_with(b"PK\x03\x04"));
    }
}
