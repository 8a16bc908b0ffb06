//! The network of a sandbox: nothing but a loopback device, which takes connections to every address.
//!
//! A route makes all addresses local. A connection to anywhere thus ends at a listener that is made here and handed to the
//! outside; no packet leaves the namespace. With the kernel's packet filter one chain sends connections to every port of
//! the outside to one listener, and questions about names to another. Without it there are listeners on the ports that
//! matter. Ports of 127.0.0.0/8 are the sandbox's own, but for ours.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;

use super::error::Error;
use super::error::Step;
use super::netlink;
use super::netlink::Messages;
use super::netlink::attribute;
use super::netlink::nested;
use super::netlink::number;
use super::netlink::text;

/// Where proxies are asked inside, and where every connection to the outside is sent.
pub const PROXY_PORT: u16 = 61128;
/// Where questions about names are sent.
pub const NAMES_PORT: u16 = 61053;
/// The name server that a sandbox is told of.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);
/// The port that questions about names go to.
const DOMAIN: u16 = 53;
/// Ports of the outside that are listened on where connections cannot be redirected.
const WEB: [u16; 2] = [80, 443];

/// The kernel's routes and devices: its default.
const ROUTE: Option<rustix::net::Protocol> = None;
/// Connections that wait to be accepted, per listener.
const BACKLOG: i32 = 512;

/// The loopback device of every network namespace.
const LOOPBACK: u32 = 1;

/// How connections to the outside are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// All of them, by the packet filter.
    Redirected,
    /// Those to the name server and to the ports of the web.
    Listening,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redirected => "every TCP port is caught, by nf_tables",
            Self::Listening => "the ports 80 and 443 are caught; nf_tables is missing, so others are refused",
        })
    }
}

/// Makes every address local and answers the listeners: UDP and TCP for names, TCP for the proxy, then any others.
pub(super) fn open() -> Result<Vec<OwnedFd>, Error> {
    match catch().step("make every address local")? {
        Rung::Redirected => listen(Ipv4Addr::LOCALHOST, NAMES_PORT, &[]),
        Rung::Listening => listen(NAME_SERVER, DOMAIN, &WEB),
    }
    .step("listen for connections to the outside")
}

/// Makes every address local, and redirects connections if the kernel can.
pub(super) fn catch() -> io::Result<Rung> {
    add_route()?;
    Ok(if redirect().is_ok() { Rung::Redirected } else { Rung::Listening })
}

fn listen(names: Ipv4Addr, names_port: u16, others: &[u16]) -> io::Result<Vec<OwnedFd>> {
    let questions = UdpSocket::bind((names, names_port))?;
    questions.set_nonblocking(true)?;
    let mut listeners =
        vec![questions.into(), listen_at(names, names_port)?, listen_at(Ipv4Addr::LOCALHOST, PROXY_PORT)?];
    for port in others {
        listeners.push(listen_at(Ipv4Addr::UNSPECIFIED, *port)?);
    }
    Ok(listeners)
}

fn listen_at(address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let listener = TcpListener::bind((address, port))?;
    listener.set_nonblocking(true)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener.into())
}

/// Brings the loopback device of this network namespace up.
pub(super) fn raise_loopback() -> io::Result<()> {
    const NEW_LINK: u16 = 16;
    const UP: u32 = 1;
    // Family, a gap, type; then the device, its flags, and which of them change.
    let numbers = [0, LOOPBACK, UP, UP].map(u32::to_ne_bytes);
    let mut messages = Messages::default();
    messages.add(NEW_LINK, netlink::REQUEST | netlink::ACKNOWLEDGE, numbers.as_flattened(), &[]);
    messages.exchange(ROUTE, 1)
}

/// `local 0.0.0.0/0 dev lo`, in the table that is looked at first.
fn add_route() -> io::Result<()> {
    const NEW_ROUTE: u16 = 24;
    const OUTGOING_DEVICE: u16 = 4;
    const TABLE_LOCAL: u8 = 255;
    const BY_BOOT: u8 = 3;
    const SCOPE_HOST: u8 = 254;
    const KIND_LOCAL: u8 = 2;
    const FAMILY: u8 = 2;
    // Family, lengths of destination and source, type of service, table, origin, scope, kind; then four bytes of flags.
    let route = [FAMILY, 0, 0, 0, TABLE_LOCAL, BY_BOOT, SCOPE_HOST, KIND_LOCAL, 0, 0, 0, 0];
    let flags = netlink::REQUEST | netlink::ACKNOWLEDGE | netlink::CREATE;
    let mut messages = Messages::default();
    messages.add(NEW_ROUTE, flags, &route, &attribute(OUTGOING_DEVICE, &LOOPBACK.to_ne_bytes()));
    messages.exchange(ROUTE, 1)
}

/// A table with one chain, which sees the first packet of every connection that begins in here.
fn redirect() -> io::Result<()> {
    const BEGIN: u16 = 0x10;
    const END: u16 = 0x11;
    const NEW_TABLE: u16 = 0xa00;
    const NEW_CHAIN: u16 = 0xa03;
    const NEW_RULE: u16 = 0xa06;
    const LAST_RULE: u32 = 6;
    const TABLE: &str = "journeyman";
    const CHAIN: &str = "output";
    const APPEND: u16 = 0x800;
    const HOOK_OUTPUT: u32 = 3;
    const PRIORITY_DESTINATION: i32 = -100;
    // Family, version, and for the frame of the batch the number of the packet filter.
    let frame = [0, 0, 0, 10];
    let ip = [2, 0, 0, 0];
    let request = netlink::REQUEST;
    let answered = request | netlink::ACKNOWLEDGE | netlink::CREATE;
    let hook = [number(1, HOOK_OUTPUT), number(2, PRIORITY_DESTINATION.cast_unsigned())].concat();
    let chain = [text(1, TABLE), text(3, CHAIN), nested(4, &hook), text(7, "nat")].concat();
    let mut messages = Messages::default();
    messages.add(BEGIN, request, &frame, &[]);
    messages.add(NEW_TABLE, answered, &ip, &text(1, TABLE));
    messages.add(NEW_CHAIN, answered, &ip, &chain);
    let rules = [
        rule(libc::IPPROTO_UDP, Some(DOMAIN), NAMES_PORT),
        rule(libc::IPPROTO_TCP, Some(DOMAIN), NAMES_PORT),
        rule(libc::IPPROTO_TCP, None, PROXY_PORT),
    ];
    for expressions in rules {
        // Rules are looked at in the order in which they were appended.
        let rule = [text(1, TABLE), text(2, CHAIN), nested(4, &expressions)].concat();
        messages.add(NEW_RULE, answered | APPEND, &ip, &rule);
    }
    messages.add(END, request, &frame, &[]);
    messages.exchange(Some(rustix::net::netlink::NETFILTER), LAST_RULE)
}

/// The expressions of a rule: of packets of this protocol, to this port if one is given, to other addresses than
/// 127.0.0.0/8, the destination becomes a port of ours.
fn rule(protocol: libc::c_int, port: Option<u16>, to: u16) -> Vec<u8> {
    const REGISTER: u32 = 1;
    const META_PROTOCOL: u32 = 16;
    const NETWORK_HEADER: u32 = 1;
    const TRANSPORT_HEADER: u32 = 2;
    const DESTINATION_ADDRESS: u32 = 16;
    const DESTINATION_PORT: u32 = 2;
    const EQUAL: u32 = 0;
    const UNEQUAL: u32 = 1;
    let value = |kind: u16, bytes: &[u8]| nested(kind, &attribute(1, bytes));
    let compare = |how: u32, bytes: &[u8]| {
        expression("cmp", &[number(1, REGISTER), number(2, how), value(3, bytes)].concat())
    };
    let load = |header: u32, at: u32, length: u32| {
        let place = [number(2, header), number(3, at), number(4, length)].concat();
        expression("payload", &[number(1, REGISTER), place].concat())
    };
    let protocol = u8::try_from(protocol).expect("a number of one byte");
    let mut expressions = vec![
        expression("meta", &[number(1, REGISTER), number(2, META_PROTOCOL)].concat()),
        compare(EQUAL, &[protocol]),
        load(NETWORK_HEADER, DESTINATION_ADDRESS, 1),
        compare(UNEQUAL, &[127]),
    ];
    if let Some(port) = port {
        expressions
            .extend([load(TRANSPORT_HEADER, DESTINATION_PORT, 2), compare(EQUAL, &port.to_be_bytes())]);
    }
    expressions.extend([
        expression("immediate", &[number(1, REGISTER), value(2, &to.to_be_bytes())].concat()),
        expression("redir", &number(1, REGISTER)),
    ]);
    expressions.concat()
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)].concat())
}
