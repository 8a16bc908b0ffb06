//! Sockets of every family, the network's settings, and addresses that must not be reached.

use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::probe::judge;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;
use crate::sys::Errno;

const SHUT: [i32; 4] = [libc::EAFNOSUPPORT, libc::EPERM, libc::EPROTONOSUPPORT, libc::EACCES];
/// Families that exist in a sandbox.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// The highest family that any kernel has, and some room.
const FAMILY_MAX: i32 = 63;
const NETLINK_MAX: i32 = 31;
/// How long an address may take to answer.
const PATIENCE: Duration = Duration::from_millis(800);

/// Metadata of clouds, private networks, and how they look through IPv6.
const ADDRESSES: [&str; 15] = [
    "169.254.169.254:80",
    "169.254.170.2:80",
    "100.100.100.200:80",
    "192.0.0.192:80",
    "10.0.0.1:443",
    "172.17.0.1:2375",
    "192.168.0.1:80",
    "100.64.0.1:80",
    "0.0.0.0:80",
    "[fd00:ec2::254]:80",
    "[fe80::1]:80",
    "[::ffff:169.254.169.254]:80",
    "[::ffff:10.0.0.1]:80",
    "[64:ff9b::a9fe:a9fe]:80",
    "[2002:a9fe:a9fe::1]:80",
];

/// Rows 25 to 28, and 30.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = vec![
        Probe::new(25, "packet sockets", "EAFNOSUPPORT", |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
        Probe::new(25, "raw sockets", "EPERM", |_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
        Probe::new(25, "raw sockets of IPv6", "EPERM", |_| {
            socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)
        }),
        Probe::new(25, "sockets to the hypervisor", "EAFNOSUPPORT", |_| {
            socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
        }),
        Probe::new(25, "sockets to the kernel's ciphers", "EAFNOSUPPORT", |_| {
            socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)
        }),
        Probe::new(25, "every other family", "EAFNOSUPPORT", |_| families()),
        Probe::new(25, "netlink but for routes", "EAFNOSUPPORT", |_| netlink()),
        Probe::new(26, "interfaces", "only lo", |_| interfaces()),
        Probe::new(26, "take lo down", "EPERM", |_| loopback_down()),
        Probe::new(26, "make a link", "EPERM", |_| ask_routes(16, 0x0600, 16)),
        Probe::new(26, "make a route", "EPERM", |_| ask_routes(24, 0x0600, 12)),
        Probe::new(26, "replace the filter tables", "EPERM", |_| replace_tables()),
        Probe::new(27, "the host's port on 127.0.0.1", "ECONNREFUSED", |context| {
            host(context, &["127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::ffff:127.0.0.1"])
        }),
        Probe::new(30, "UDP to the outside", "unreachable or no answer", |_| datagrams()),
    ];
    for address in ADDRESSES {
        let attack = move |_: &Context| reach(address);
        probes.push(Probe::new(28, format!("reach {address}"), "refused, unreachable or 403", attack));
    }
    for (name, kind) in [("TXT", 16), ("NULL", 10), ("ANY", 255), ("HTTPS", 65), ("MX", 15)] {
        let attack = move |_: &Context| ask_names(kind);
        probes.push(Probe::new(30, format!("{name} records, for carrying data out"), "no record", attack));
    }
    probes
}

fn socket(family: i32, kind: i32, protocol: i32) -> Outcome {
    judge(sys::socket(family, kind, protocol), &SHUT)
}

fn families() -> Outcome {
    let others = (0..=FAMILY_MAX).filter(|family| !FAMILIES.contains(family));
    let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET];
    all(others.flat_map(|family| kinds.map(|kind| (format!("family {family}"), socket(family, kind, 0)))))
}

fn netlink() -> Outcome {
    all((1..=NETLINK_MAX)
        .map(|part| (format!("part {part}"), socket(libc::AF_NETLINK, libc::SOCK_RAW, part))))
}

fn interfaces() -> Outcome {
    let listed = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    if names == ["lo"] { Outcome::Held("lo".to_owned()) } else { Outcome::Escaped(names.join(", ")) }
}

/// Sets the flags that it has but for the one that says it is up.
fn loopback_down() -> Outcome {
    let socket = match sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) {
        Ok(socket) => socket,
        Err(errno) => return judge::<()>(Err(errno), &SHUT),
    };
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    let fd = Number(socket.as_raw_fd().into());
    let set_flags = Number(libc::SIOCSIFFLAGS.cast_signed());
    judge(sys::call(libc::SYS_ioctl, &mut [fd, set_flags, Bytes(&mut request)]), &SHUT)
}

/// One message to the routing part of netlink: its type, its flags (create and acknowledge), the size of its body.
fn ask_routes(kind: u16, flags: u16, body: usize) -> Outcome {
    const REQUEST_AND_ACKNOWLEDGE: u16 = 5;
    let attempt = || -> Result<(), Errno> {
        let mut socket = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        let mut message = vec![0; 16 + body];
        let length = u32::try_from(message.len()).map_err(|_| Errno(libc::EINVAL))?;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[6..8].copy_from_slice(&(flags | REQUEST_AND_ACKNOWLEDGE).to_ne_bytes());
        if kind == 24 {
            message[16] = 2;
        }
        socket.write_all(&message)?;
        if !sys::is_readable(&socket, PATIENCE) {
            return Err(Errno(libc::ETIMEDOUT));
        }
        let mut answer = [0; 256];
        let count = socket.read(&mut answer)?;
        let error = answer.get(16..20).filter(|_| count >= 20).and_then(|bytes| bytes.try_into().ok());
        match error.map_or(0, i32::from_ne_bytes) {
            0 => Ok(()),
            error => Err(Errno(-error)),
        }
    };
    judge(attempt(), &SHUT)
}

fn replace_tables() -> Outcome {
    const IPT_SO_SET_REPLACE: i64 = 64;
    let attempt = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).and_then(|socket| {
        let fd = Number(socket.as_raw_fd().into());
        let mut table = [0; 96];
        let option = Number(IPT_SO_SET_REPLACE);
        sys::call(libc::SYS_setsockopt, &mut [fd, Number(0), option, Bytes(&mut table), Number(96)])
    });
    judge(attempt, &[libc::EPERM, libc::ENOPROTOOPT, libc::EACCES])
}

fn host(context: &Context, addresses: &[&str]) -> Outcome {
    all(addresses.iter().map(|address| {
        let address: IpAddr = address.parse().expect("a constant address");
        let outcome = match TcpStream::connect_timeout(&SocketAddr::new(address, context.port), PATIENCE) {
            Ok(mut stream) => {
                let said = answer(&mut stream, b"");
                if context.is_betrayed_by(&said) {
                    Outcome::Escaped("the host answered".to_owned())
                } else {
                    Outcome::Held("something else answered".to_owned())
                }
            }
            Err(error) => Outcome::Held(Errno::from(error).to_string()),
        };
        (address.to_string(), outcome)
    }))
}

/// What the other side says within the time.
pub(crate) fn answer(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    let mut said = vec![0; 2048];
    let asked = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.write_all(request));
    let count = asked.and_then(|()| stream.read(&mut said)).unwrap_or(0);
    said.truncate(count);
    said
}

/// Where there is a network, its door takes every connection, and must then refuse to carry it on.
fn reach(address: &str) -> Outcome {
    let address: SocketAddr = address.parse().expect("a constant address");
    let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => stream,
        Err(error) => return Outcome::Held(reason(error)),
    };
    let request =
        format!("GET /latest/meta-data/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", address.ip());
    refusal(&answer(&mut stream, request.as_bytes()))
}

/// Only silence, an end, or a plain refusal is none of the other side's words.
pub(crate) fn refusal(said: &[u8]) -> Outcome {
    let line =
        String::from_utf8_lossy(said.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
    match status {
        _ if said.is_empty() => Outcome::Held("closed".to_owned()),
        "400" | "403" | "405" | "421" => Outcome::Held(line),
        _ => Outcome::Escaped(format!("it was answered: {line}")),
    }
}

pub(crate) fn reason(error: std::io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => Errno::from(error).to_string(),
        None => error.to_string(),
    }
}

/// To addresses that are kept for documentation: no such machine exists.
fn datagrams() -> Outcome {
    all(["192.0.2.1:9", "192.0.2.1:443", "[2001:db8::1]:443", "224.0.0.251:5353"].map(|address| {
        let address: SocketAddr = address.parse().expect("a constant address");
        let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let attempt = || -> std::io::Result<usize> {
            let socket = UdpSocket::bind(own)?;
            socket.set_read_timeout(Some(PATIENCE / 2))?;
            socket.send_to(b"escape", address)?;
            socket.recv_from(&mut [0; 64]).map(|(count, _)| count)
        };
        let outcome = match attempt() {
            Ok(_) => Outcome::Escaped("it was answered".to_owned()),
            Err(error) => Outcome::Held(reason(error)),
        };
        (address.to_string(), outcome)
    }))
}

/// Asks whatever answers for names, of the sandbox's own and of the world, for records that could carry data.
fn ask_names(kind: u16) -> Outcome {
    all(["198.18.0.53:53", "127.0.0.1:53", "192.0.2.53:53"].map(|server| {
        let outcome = match ask(server, kind) {
            Ok(answer) => match (answer.get(3).map(|byte| byte & 15), answer.get(6..8)) {
                (Some(code), Some([0, 0])) => Outcome::Held(format!("no record, code {code}")),
                _ => Outcome::Escaped("it was answered with records".to_owned()),
            },
            Err(error) => Outcome::Held(reason(error)),
        };
        (server.to_owned(), outcome)
    }))
}

fn ask(server: &str, kind: u16) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE / 2))?;
    // One question; the longest labels that the protocol has, under a name that leads nowhere.
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let label = "5345435245542d".repeat(4);
    for label in [label.as_str(), label.as_str(), "escape", "invalid"] {
        question.push(u8::try_from(label.len()).expect("labels of at most 63 bytes"));
        question.extend_from_slice(label.as_bytes());
    }
    question.push(0);
    question.extend_from_slice(&kind.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    socket.send_to(&question, server)?;
    let mut answer = vec![0; 1024];
    let (count, _) = socket.recv_from(&mut answer)?;
    answer.truncate(count);
    Ok(answer)
}
