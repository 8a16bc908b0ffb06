//! Ways out of a sandbox to a host: by the proxy in each of its languages, and by the address that its name stands for.

use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::time::Duration;

use crate::hello::hello;
use crate::network::reason;
use crate::proxy::DOOR;

/// Who answers questions for names.
const NAME_SERVER: &str = "198.18.0.53:53";
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long nothing more has to come before an answer counts as whole.
const QUIET: Duration = Duration::from_millis(100);

/// What the other side said, or why there is none.
pub(crate) type Said = Result<Vec<u8>, String>;

/// By name to the proxy in each of its languages, and by the address that the name stands for.
pub(crate) fn ways(host: &str, port: u16) -> Vec<(&'static str, Said)> {
    let get = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let absolute = format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    let connect_to = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    let bare = host.trim_matches(['[', ']']);
    let mut socks = vec![5, 1, 0, 3, u8::try_from(bare.len()).unwrap_or(u8::MAX)];
    socks.extend_from_slice(bare.as_bytes());
    socks.extend_from_slice(&port.to_be_bytes());
    // Within a tunnel to a port of TLS, the friend is asked by TLS.
    let inside = if port == 443 { hello(Some(bare), false) } else { get.into_bytes() };
    let say = |words: &[&[u8]]| connect(DOOR).map(|stream| converse(stream, words));
    let mut ways = vec![
        ("GET", say(&[absolute.as_bytes()])),
        ("CONNECT", say(&[connect_to.as_bytes(), &inside])),
        ("SOCKS5", say(&[&[5, 1, 0], &socks, &inside])),
    ];
    let address = match host.parse::<Ipv4Addr>() {
        Ok(address) => Ok(address),
        Err(_) if host.starts_with('[') => Err("not by this way".to_owned()),
        Err(_) => stand_in(host),
    };
    let directly = address
        .and_then(|address| connect(&format!("{address}:{port}")))
        .map(|stream| converse(stream, &[&inside]));
    ways.push(("directly", directly));
    ways
}

/// The address that stands for a name.
pub(crate) fn stand_in(name: &str) -> Result<Ipv4Addr, String> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let attempt = || -> std::io::Result<Vec<u8>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(&question, NAME_SERVER)?;
        let mut answer = vec![0; 512];
        let count = socket.recv(&mut answer)?;
        answer.truncate(count);
        Ok(answer)
    };
    let answer = attempt().map_err(|error| format!("no name server: {}", reason(error)))?;
    let has_answer = answer.get(6..8).is_some_and(|count| count != [0, 0]);
    match answer.last_chunk::<4>() {
        Some(address) if has_answer => Ok(Ipv4Addr::from(*address)),
        _ => Err("no address".to_owned()),
    }
}

pub(crate) fn connect(address: &str) -> Result<TcpStream, String> {
    let address: SocketAddr = address.parse().map_err(|_| "no address".to_owned())?;
    TcpStream::connect_timeout(&address, PATIENCE).map_err(reason)
}

/// Says one thing after the other, each after an answer; what came of all of it.
pub(crate) fn converse(stream: TcpStream, words: &[&[u8]]) -> Vec<u8> {
    answers(stream, words).concat()
}

/// Says one thing after the other, each after an answer; the answers. The last one may be no answer.
pub(crate) fn answers(mut stream: TcpStream, words: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (number, word) in words.iter().enumerate() {
        let mut answer = Vec::new();
        let said = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.write_all(word));
        let is_answered = said.is_ok() && hear(&mut stream, &mut answer);
        // One with a body may come in parts.
        let is_long = number + 1 == words.len() || answer.starts_with(b"HTTP/1.1 200 OK");
        let is_long = is_answered && is_long && stream.set_read_timeout(Some(QUIET)).is_ok();
        while is_long && hear(&mut stream, &mut answer) {}
        all.push(answer);
        if !is_answered {
            break;
        }
    }
    all
}

/// Reads some of what the other side says; false when it says nothing more.
fn hear(stream: &mut TcpStream, all: &mut Vec<u8>) -> bool {
    let mut said = [0; 4096];
    let count = stream.read(&mut said).unwrap_or(0);
    all.extend_from_slice(&said[..count]);
    count > 0
}
