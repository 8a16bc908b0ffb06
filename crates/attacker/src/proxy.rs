//! The door to the network, asked to lead to where the host is soft: its own loopback, and metadata, in every spelling.

use std::net::TcpStream;
use std::time::Duration;

use crate::context::Context;
use crate::network::answer;
use crate::network::reason;
use crate::network::refusal;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;

/// Where the door is, if there is a network.
pub(crate) const DOOR: &str = "127.0.0.1:61128";
const PATIENCE: Duration = Duration::from_millis(800);

/// The host's loopback.
const LOOPBACK: [&str; 14] = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
];
/// Where clouds tell secrets.
const METADATA: [&str; 9] = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "[64:ff9b::a9fe:a9fe]",
    "metadata.google.internal",
];

/// Rows 27 to 29.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for host in LOOPBACK {
        let attack = move |context: &Context| every_way(context, host, context.port);
        probes.push(Probe::new(
            27,
            format!("the host's port through the proxy, as {host}"),
            "403 or refused",
            attack,
        ));
    }
    for host in METADATA {
        let attack = move |context: &Context| every_way(context, host, 80);
        probes.push(Probe::new(
            28,
            format!("metadata through the proxy, as {host}"),
            "403 or refused",
            attack,
        ));
    }
    for (name, request) in [
        ("two Host lines", "GET / HTTP/1.1\r\nHost: example.invalid\r\nHost: 127.0.0.1\r\n\r\n"),
        ("another Host than the address", "GET http://127.0.0.1/ HTTP/1.1\r\nHost: example.invalid\r\n\r\n"),
        ("CONNECT to port 22", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: example.invalid\r\n\r\n"),
        (
            "two lengths of one request",
            "POST http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a line with a bare carriage return",
            "GET http://127.0.0.1/\rx HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        ),
    ] {
        let attack = move |context: &Context| through(context, request.as_bytes());
        probes.push(Probe::new(29, format!("a request with {name}"), "4xx or closed", attack));
    }
    probes
}

fn every_way(context: &Context, host: &str, port: u16) -> Outcome {
    let bare = host.trim_matches(['[', ']']);
    let length = u8::try_from(bare.len()).expect("constants are short");
    let mut socks = vec![5, 1, 0, 5, 1, 0, 3, length];
    socks.extend_from_slice(bare.as_bytes());
    socks.extend_from_slice(&port.to_be_bytes());
    let connect = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    let get =
        format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    all([
        ("CONNECT".to_owned(), through(context, connect.as_bytes())),
        ("GET".to_owned(), through(context, get.as_bytes())),
        ("SOCKS5".to_owned(), through(context, &socks)),
    ])
}

fn through(context: &Context, request: &[u8]) -> Outcome {
    let door = DOOR.parse().expect("a constant address");
    let mut stream = match TcpStream::connect_timeout(&door, PATIENCE) {
        Ok(stream) => stream,
        Err(error) => return Outcome::Held(format!("no door: {}", reason(error))),
    };
    let mut said = answer(&mut stream, request);
    if context.is_betrayed_by(&said) {
        return Outcome::Escaped("the host answered".to_owned());
    }
    // SOCKS5 answers twice: to the greeting, then with the result, whose second byte is 0 for success.
    if said.first() == Some(&5) {
        if said.len() < 4 {
            said.extend(answer(&mut stream, b""));
        }
        return match said.get(3) {
            Some(0) => Outcome::Escaped("SOCKS5 went through".to_owned()),
            Some(code) => Outcome::Held(format!("SOCKS5 code {code}")),
            None => Outcome::Held("closed".to_owned()),
        };
    }
    refusal(&said)
}
