//! The DNS server over real sockets.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use egress::Policy;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;

use crate::stage::Stage;
use crate::stage::Table;
use crate::stage::limited;

/// A query with EDNS, as programs send it.
pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    message
}

/// The code and the address of an answer.
fn read(answer: &[u8]) -> (u8, Option<Ipv4Addr>) {
    assert_eq!(answer[..2], [0x12, 0x34]);
    let address = (answer[7] == 1).then(|| {
        let octets: [u8; 4] = answer[answer.len() - 4..].try_into().unwrap();
        Ipv4Addr::from(octets)
    });
    (answer[3] & 15, address)
}

/// Asks over datagrams: the code, and the address if there is one.
pub(crate) async fn ask(server: SocketAddr, name: &str, kind: u16) -> (u8, Option<Ipv4Addr>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&query(name, kind), server).await.unwrap();
    let mut buffer = [0; 600];
    let length = socket.recv(&mut buffer).await.unwrap();
    read(&buffer[..length])
}

#[tokio::test]
async fn a_limited_session_gets_an_address_for_every_name_and_nothing_is_looked_up() {
    let stage = Stage::new(limited(&["example.com"]));
    let (code, first) = ask(stage.dns, "example.com", 1).await;
    assert_eq!((code, first), (0, Some(Ipv4Addr::new(198, 18, 1, 0))));
    assert_eq!(ask(stage.dns, "EXAMPLE.com", 1).await, (0, first));
    assert_eq!(ask(stage.dns, "stolen-data.evil.example", 1).await, (0, Some(Ipv4Addr::new(198, 18, 1, 1))));
    assert!(stage.resolver.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_addresses_of_host_names_are_told() {
    let stage = Stage::new(limited(&["example.com"]));
    let table = [
        ("example.com", 28, 0),
        ("example.com", 65, 0),
        ("example.com", 64, 0),
        ("example.com", 15, 0),
        ("example.com", 16, 5),
        ("example.com", 10, 5),
        ("example.com", 255, 5),
        ("example.com", 252, 5),
        ("single", 1, 3),
        ("_dmarc.example.com", 1, 3),
        ("1.2.3.4", 1, 3),
        ("with space.example.com", 1, 3),
        ("", 1, 3),
    ];
    for (name, kind, code) in table {
        assert_eq!(ask(stage.dns, name, kind).await, (code, None), "{name} {kind}");
    }
    assert_eq!(ask(stage.dns, "localhost", 1).await, (0, Some(Ipv4Addr::LOCALHOST)));
    assert_eq!(ask(stage.dns, "localhost", 28).await, (0, None));
}

#[tokio::test]
async fn an_unrestricted_session_is_told_which_names_do_not_exist() {
    let stage = Stage::with(Policy::unrestricted(), Table::new(&[("there.example", &["1.1.1.1"])]));
    assert_eq!(ask(stage.dns, "there.example", 1).await, (0, Some(Ipv4Addr::new(198, 18, 1, 0))));
    assert_eq!(ask(stage.dns, "not-there.example", 1).await, (3, None));
    assert_eq!(ask(stage.dns, "there.example", 1).await.0, 0);
    assert_eq!(*stage.resolver.asked.lock().unwrap(), ["there.example", "not-there.example"]);
}

#[tokio::test]
async fn queries_on_a_connection_are_answered_one_after_another() {
    let stage = Stage::new(limited(&[]));
    let mut stream = TcpStream::connect(stage.queries).await.unwrap();
    for _ in 0..3 {
        let message = query("example.com", 1);
        stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
        stream.write_all(&message).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(read(&answer), (0, Some(Ipv4Addr::new(198, 18, 1, 0))));
    }
    // One that is no query ends the connection.
    stream.write_all(&[0, 1, 7]).await.unwrap();
    assert!(stream.read_u8().await.is_err());
}

#[tokio::test]
async fn two_questions_at_once_are_an_error() {
    let stage = Stage::new(limited(&[]));
    let mut message = query("example.com", 1);
    message[5] = 2;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&message, stage.dns).await.unwrap();
    let mut buffer = [0; 600];
    let length = socket.recv(&mut buffer).await.unwrap();
    assert_eq!(read(&buffer[..length]), (1, None));
}
