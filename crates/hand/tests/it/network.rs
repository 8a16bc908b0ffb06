//! Connections to the outside, caught inside a sandbox.

#![expect(unsafe_code, reason = "asks a connection where it was to lead")]

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddrV4;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::walled::Ground;
use crate::walled::Maker;

const PATIENCE: Duration = Duration::from_secs(20);

/// Says what comes back from a TCP connection and from a datagram to the same place.
const ASK: &str = r"
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(20)
try:
    s.connect((host, port))
    s.send(b'question')
    print(s.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
";

/// Serves on ports that might be taken.
const SERVE: &str = r#"
import socket
for port in (53, 80, 443, 3128, 8080):
    for host, there in (("", "127.0.0.1"), ("::1", "::1")):
        server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        server.bind((host, port))
        server.listen()
        client = socket.create_connection((there, port), 20)
        server.accept()[0].send(b"own")
        assert client.recv(10) == b"own"
    socket.socket(type=socket.SOCK_DGRAM).bind(("", port))
print("served")
"#;

fn ask(kind: &str, host: &str, port: u16) -> String {
    format!("python3 -c \"$ASK\" {kind} {host} {port}")
}

/// Where a redirected connection was to lead.
fn original(stream: &TcpStream) -> io::Result<SocketAddrV4> {
    const SO_ORIGINAL_DST: i32 = 80;
    // SAFETY: all bits zero is a valid value of this plain structure, and the kernel is told its size.
    unsafe {
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap();
        let place = (&raw mut address).cast();
        if libc::getsockopt(stream.as_raw_fd(), libc::SOL_IP, SO_ORIGINAL_DST, place, &raw mut length) < 0 {
            return Err(io::Error::last_os_error());
        }
        let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
        Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)))
    }
}

/// The next connection, which a listener that does not wait may still be without.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(false).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connections_are_caught(maker: Maker) {
    let ground = Ground::new(maker);
    let mut walled = ground.start(|spec| spec.has_network = true);
    assert_eq!(walled.listeners.len(), 3);
    let mut listeners = walled.listeners.drain(..);
    let questions: UdpSocket = listeners.next().unwrap().into();
    let long_questions: TcpListener = listeners.next().unwrap().into();
    let proxy: TcpListener = listeners.next().unwrap().into();
    drop(listeners);
    questions.set_nonblocking(false).unwrap();
    questions.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = walled.hand.connect();
    client.bash(&format!("export ASK=\"{ASK}\""));

    for (host, port) in
        [("203.0.113.7", 5432), ("198.18.7.7", 443), ("10.0.0.5", 80), ("169.254.169.254", 22)]
    {
        let answerer = std::thread::spawn({
            let proxy = proxy.try_clone().unwrap();
            move || {
                let mut stream = accept(&proxy);
                let mut question = [0; 8];
                stream.read_exact(&mut question).unwrap();
                stream.write_all(&question).unwrap();
                original(&stream).unwrap()
            }
        });
        assert_eq!(client.bash(&ask("tcp", host, port)), "question", "{host}:{port}");
        assert_eq!(answerer.join().unwrap(), SocketAddrV4::new(host.parse().unwrap(), port));
    }
    for host in ["198.18.0.53", "8.8.8.8"] {
        let answerer = std::thread::spawn({
            let questions = questions.try_clone().unwrap();
            move || {
                let mut question = [0; 100];
                let (length, from) = questions.recv_from(&mut question).unwrap();
                questions.send_to(&question[..length], from).unwrap();
            }
        });
        assert_eq!(client.bash(&ask("udp", host, 53)), "question", "{host}");
        answerer.join().unwrap();
    }
    let answerer = std::thread::spawn(move || {
        let mut stream = accept(&long_questions);
        stream.write_all(b"answer").unwrap();
        original(&stream).unwrap()
    });
    assert_eq!(client.bash(&ask("tcp", "8.8.8.8", 53)), "answer");
    assert_eq!(answerer.join().unwrap(), SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 53));
    // A proxy is asked by its own name, so to say.
    let answerer = std::thread::spawn(move || {
        let mut stream = accept(&proxy);
        stream.write_all(b"answer").unwrap();
        stream.local_addr().unwrap().to_string()
    });
    assert_eq!(client.bash(&ask("tcp", "127.0.0.1", 61128)), "answer");
    assert_eq!(answerer.join().unwrap(), "127.0.0.1:61128");
    for host in ["8.8.8.8", "198.18.0.53", "127.0.0.1"] {
        assert_eq!(client.bash(&ask("udp", host, 443)), "ConnectionRefusedError", "{host}");
    }
    let newer = "python3 -c 'import socket; print(socket.socket(socket.AF_INET6).connect_ex((\"2001:db8::1\", 443)))'";
    assert_eq!(client.bash(newer), libc::ENETUNREACH.to_string());
    assert!(!client.bash("ls -l /proc/self/fd /proc/$$/fd").contains("socket:"));
}

#[test]
fn connections_are_caught_by_walls_that_root_made() {
    connections_are_caught(Maker::Root);
}

#[test]
fn connections_are_caught_by_walls_that_a_user_made() {
    connections_are_caught(Maker::Nobody);
}

#[test]
fn every_port_is_the_sandboxs_own() {
    let ground = Ground::new(Maker::Root);
    let walled = ground.start(|spec| spec.has_network = true);
    let mut client = walled.hand.connect();
    let said = client.bash(&format!("python3 - <<'SERVE'\n{SERVE}SERVE"));
    assert_eq!(said, "served");
}

#[test]
fn a_sandbox_without_network_reaches_nothing() {
    let ground = Ground::new(Maker::Root);
    let walled = ground.start(|_| {});
    assert!(walled.listeners.is_empty());
    let mut client = walled.hand.connect();
    client.bash(&format!("export ASK=\"{ASK}\""));
    assert_eq!(client.bash(&ask("tcp", "203.0.113.7", 80)), "OSError");
    assert_eq!(client.bash(&ask("tcp", "127.0.0.1", 61128)), "ConnectionRefusedError");
}
