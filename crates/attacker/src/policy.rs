//! What a session's networking allows: the one host that it may reach, and every way to reach another in its place.
//!
//! The host that may be reached is a listener of the suite that greets whoever comes. That it is reached where it may be
//! proves that the door is open at all; that it greets where it may not, or under another name, is an escape. No name is
//! tried that a door would have to look up.

use crate::context::Context;
use crate::context::Network;
use crate::hello::hello;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::proxy::DOOR;
use crate::ways::Said;
use crate::ways::answers;
use crate::ways::connect;
use crate::ways::converse;
use crate::ways::stand_in;
use crate::ways::ways;

/// An address that stands for names inside, and that nobody has asked for.
const UNASKED: &str = "198.18.77.77:80";
/// Addresses that are kept for documentation: no such machine exists.
const LITERALS: [&str; 3] = ["203.0.113.9", "198.51.100.9", "[2001:db8::9]"];
/// Ports that limited networking never opens: mail, shells, names within TLS, other proxies.
const PORTS: [u16; 5] = [22, 25, 853, 3128, 8080];
/// Names within TLS and without that are not the allowed one, where the allowed host is connected to.
const STRANGER: &str = "stranger.invalid";

/// Rows 28 to 30, and 32.
pub(crate) fn probes(context: &Context) -> Vec<Probe> {
    let mut probes = vec![
        Probe::new(29, "the permitted host, by every way", "a greeting where it is permitted", permitted),
        Probe::new(28, "an address that stands for no name", "refused", |context| {
            outside(
                context,
                connect(UNASKED).map(|stream| converse(stream, &[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])),
            )
        }),
    ];
    for literal in LITERALS {
        let attack = move |context: &Context| every_way(context, literal, 80);
        probes.push(Probe::new(28, format!("connect to {literal}"), "403 or refused", attack));
    }
    let network = context.network;
    if network.has_friend() {
        probes.push(Probe::new(32, "follow a redirect to the host's port", "403", redirected));
    }
    if network != Network::Unrestricted {
        let friend = &context.friend;
        let below = friend.split_once('.').map_or(STRANGER, |(_, rest)| rest);
        for name in [
            STRANGER.to_owned(),
            format!("x{friend}"),
            format!("x.{friend}"),
            format!("{friend}.{STRANGER}"),
            below.to_owned(),
        ] {
            let told = format!("another host, {name}");
            let attack = move |context: &Context| every_way(context, &name, 443);
            probes.push(Probe::new(30, told, "403 or refused", attack));
        }
        for port in PORTS {
            let attack = move |context: &Context| every_way(context, &context.friend, port);
            probes.push(Probe::new(
                29,
                format!("the permitted host on port {port}"),
                "403 or refused",
                attack,
            ));
        }
    }
    if network == Network::Few {
        probes.extend(disguised());
    }
    probes
}

/// The permitted host's connection, with another name inside.
fn disguised() -> Vec<Probe> {
    let mut probes = vec![
        Probe::new(29, "TLS that names another server", "ended", |context| {
            tunnel(context, 443, &[&hello(Some(STRANGER), false)])
        }),
        Probe::new(29, "TLS that names no server", "ended", |context| {
            tunnel(context, 443, &[&hello(None, false)])
        }),
        Probe::new(29, "TLS with an encrypted server name", "ended", |context| {
            tunnel(context, 443, &[&hello(Some(&context.friend), true)])
        }),
        Probe::new(29, "a second request for another host", "4xx or closed", second_request),
    ];
    for (name, head) in [
        ("another Host", "GET / HTTP/1.1\r\nHost: STRANGER\r\n\r\n"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: FRIEND\r\nHost: STRANGER\r\n\r\n"),
        ("no Host", "GET / HTTP/1.1\r\n\r\n"),
        ("another URL than Host", "GET http://STRANGER/ HTTP/1.1\r\nHost: FRIEND\r\n\r\n"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: FRIEND\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a folded line", "GET / HTTP/1.1\r\nHost: FRIEND\r\n STRANGER\r\n\r\n"),
        ("a bare carriage return", "GET / HTTP/1.1\r\nHost: FRIEND\rHost: STRANGER\r\n\r\n"),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("words of another protocol", "EHLO stranger\r\n"),
    ] {
        let attack = move |context: &Context| {
            let head = head.replace("FRIEND", &context.friend).replace("STRANGER", STRANGER);
            tunnel(context, 80, &[head.as_bytes()])
        };
        probes.push(Probe::new(
            29,
            format!("the permitted host's connection, {name}"),
            "4xx or closed",
            attack,
        ));
    }
    probes
}

fn every_way(context: &Context, host: &str, port: u16) -> Outcome {
    all(ways(host, port).into_iter().map(|(way, said)| (way.to_owned(), outside(context, said))))
}

fn permitted(context: &Context) -> Outcome {
    let is_permitted = context.network.has_friend();
    let judge = |said: Said| match said {
        Ok(said) if is_permitted && context.is_greeted_by(&said) => Outcome::Held("a greeting".to_owned()),
        other if is_permitted => unclear(other),
        other => outside(context, other),
    };
    all(ways(&context.friend, 80).into_iter().map(|(way, said)| (way.to_owned(), judge(said))))
}

/// The permitted host says where to go on: to where nobody may.
fn redirected(context: &Context) -> Outcome {
    let request = format!("GET http://{0}/redirect HTTP/1.1\r\nHost: {0}\r\n\r\n", context.friend);
    let said = match connect(DOOR) {
        Ok(stream) => converse(stream, &[request.as_bytes()]),
        Err(reason) => return unclear(Err(reason)),
    };
    let text = String::from_utf8_lossy(&said).into_owned();
    let Some(target) = text.lines().find_map(|line| line.strip_prefix("Location: ")) else {
        return unclear(Ok(said));
    };
    let host = target.trim_start_matches("http://").trim_end_matches('/');
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    outside(context, connect(DOOR).map(|stream| converse(stream, &[request.as_bytes()])))
}

/// Words within a tunnel to the permitted host.
fn tunnel(context: &Context, port: u16, words: &[&[u8]]) -> Outcome {
    let through = tunnel_say(context, port, words);
    let directly = stand_in(&context.friend)
        .and_then(|address| connect(&format!("{address}:{port}")))
        .map(|stream| converse(stream, words));
    all([
        ("in a tunnel".to_owned(), outside(context, through)),
        ("directly".to_owned(), outside(context, directly)),
    ])
}

fn tunnel_say(context: &Context, port: u16, words: &[&[u8]]) -> Said {
    let open = format!("CONNECT {0}:{port} HTTP/1.1\r\nHost: {0}:{port}\r\n\r\n", context.friend);
    connect(DOOR).map(|stream| converse(stream, &[&[open.as_bytes()], words].concat()))
}

/// Whether a second request on a connection is let through after a first that was.
fn second_request(context: &Context) -> Outcome {
    let first = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", context.friend);
    let second = format!("GET / HTTP/1.1\r\nHost: {STRANGER}\r\n\r\n");
    let said = stand_in(&context.friend)
        .and_then(|address| connect(&format!("{address}:80")))
        .map(|stream| answers(stream, &[first.as_bytes(), second.as_bytes()]));
    match said.as_deref() {
        Ok([greeting, answer]) if context.is_greeted_by(greeting) => outside(context, Ok(answer.clone())),
        Ok(answers) => unclear(Ok(answers.concat())),
        Err(reason) => unclear(Err(reason.clone())),
    }
}

/// Held when neither the permitted host nor the trap has said anything.
fn outside(context: &Context, said: Said) -> Outcome {
    match said {
        Ok(said) if context.is_greeted_by(&said) => {
            Outcome::Escaped("the permitted host answered".to_owned())
        }
        Ok(said) if context.is_betrayed_by(&said) => Outcome::Escaped("the host answered".to_owned()),
        Ok(said) => Outcome::Held(short(&said)),
        Err(reason) => Outcome::Held(reason),
    }
}

/// Where the way that must be open is not, the refusals of others prove nothing.
fn unclear(said: Said) -> Outcome {
    let met = said.map_or_else(|reason| reason, |said| short(&said));
    Outcome::Escaped(format!("unclear: the permitted host did not answer: {met}"))
}

/// What was said, in a few words: the last line of a status, for a tunnel has one of its own.
fn short(said: &[u8]) -> String {
    const ALERT: u8 = 0x15;
    let text = String::from_utf8_lossy(said);
    let status = text.lines().rfind(|line| line.starts_with("HTTP/1."));
    match (said.first(), status) {
        (None, _) => "closed".to_owned(),
        (Some(&ALERT), _) => "an alert of TLS".to_owned(),
        (Some(5), _) => format!("SOCKS5 code {}", said.get(3).copied().unwrap_or(u8::MAX)),
        (Some(_), Some(line)) if said.ends_with(&[2, 49]) => format!("{line}, an alert of TLS"),
        (Some(_), Some(line)) => line.to_owned(),
        (Some(_), None) => "other words".to_owned(),
    }
}
