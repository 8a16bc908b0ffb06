//! What runs in a sandbox.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use crate::table::percentile;

pub(crate) const HOST: &str = "measured.test";
/// What a server that speaks first would not mind; nothing is looked at behind it.
pub(crate) const GREETING: &[u8] = b"SSH-2.0-figures\r\n";
pub(crate) const BYTES: usize = 2 << 30;
const PROXY: &str = "127.0.0.1:61128";
const CONNECTIONS: usize = 1000;
const FILES: usize = 4_400;
const FILE_BYTES: usize = 70_000;

pub(crate) fn main(arguments: &[String]) {
    match arguments {
        [word, folder] if word == "tree" => tree(folder),
        [word] if word == "network" => network(),
        other => panic!("{other:?}"),
    }
}

/// About 300 MB, of which a half can be compressed, as in what package managers install.
fn tree(folder: &str) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for index in 0..FILES {
        let folder = format!("{folder}/folder-{}", index / 40);
        std::fs::create_dir_all(&folder).unwrap();
        let mut content = Vec::with_capacity(FILE_BYTES);
        while content.len() < FILE_BYTES {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            content.extend(random.to_le_bytes());
            content.extend(b"a word, ");
        }
        content.truncate(FILE_BYTES);
        std::fs::write(format!("{folder}/file-{index}"), content).unwrap();
    }
}

fn network() {
    let request = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n");
    let (mut connected, mut answered, mut caught) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let begin = Instant::now();
        let mut stream = tunnel(&request);
        connected.push(begin.elapsed());
        first_byte(&mut stream);
        answered.push(begin.elapsed());
        let begin = Instant::now();
        first_byte(&mut TcpStream::connect((HOST, 2222)).unwrap());
        caught.push(begin.elapsed());
    }
    let p50 = |times| percentile(times, 50);
    println!("bounded proxy: connect, p50 of {CONNECTIONS} {:.3}", p50(&connected));
    println!("plain proxy: connect, p99 {:.3}", percentile(&connected, 99));
    println!("plain proxy: connect and the server's first byte, p50 {:.3}", p50(&answered));
    println!("plain caught without a proxy: name, connect and first byte, p50 {:.3}", p50(&caught));
    println!("rate proxy: upload {:.0}", upload(tunnel(&request)));
    println!("rate proxy: download {:.0}", download(tunnel(&request)));
    println!("rate caught without a proxy: upload {:.0}", upload(TcpStream::connect((HOST, 2222)).unwrap()));
    println!(
        "rate caught without a proxy: download {:.0}",
        download(TcpStream::connect((HOST, 2222)).unwrap())
    );
}

fn tunnel(request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(PROXY).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 64];
        let length = stream.read(&mut byte).unwrap();
        answer.extend(&byte[..length]);
        assert!(length > 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    stream
}

fn greet(stream: &mut TcpStream, wish: u8) {
    stream.write_all(&[GREETING, &[wish]].concat()).unwrap();
}

fn first_byte(stream: &mut TcpStream) {
    greet(stream, b'e');
    stream.read_exact(&mut [0]).unwrap();
}

fn upload(mut stream: TcpStream) -> f64 {
    greet(&mut stream, b'u');
    let buffer = vec![0; 1 << 20];
    let begin = Instant::now();
    (0..BYTES / buffer.len()).for_each(|_| stream.write_all(&buffer).unwrap());
    stream.read_exact(&mut [0]).unwrap();
    rate(begin)
}

fn download(mut stream: TcpStream) -> f64 {
    greet(&mut stream, b'd');
    let mut buffer = vec![0; 1 << 20];
    let (begin, mut left) = (Instant::now(), BYTES);
    while left > 0 {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{left} bytes are missing");
        left -= length;
    }
    rate(begin)
}

fn rate(begin: Instant) -> f64 {
    (BYTES >> 20) as f64 / begin.elapsed().as_secs_f64()
}
