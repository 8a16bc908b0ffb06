//! Parsers of bytes that a sandbox wrote: total on anything, and right on what is well-formed.

use egress::body::Body;
use egress::body::Framing;
use egress::dns;
use egress::hello;
use egress::hello::HelloError;
use egress::http;
use egress::http::HeadError;
use egress::policy::Host;
use egress::policy::HostPattern;
use egress::socks;
use egress::socks::SocksError;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;

use crate::stage::client_hello;
use crate::stage::record;
use crate::stub::query;

proptest! {
    #[test]
    fn no_bytes_upset_a_parser(bytes in vec(any::<u8>(), 0..600), method in "[A-Z]{1,5}") {
        drop(dns::parse(&bytes).map(|query| query.answer(dns::Code::NoError, None)));
        drop(hello::parse(&bytes));
        drop(http::parse_request(&bytes));
        drop(http::parse_response(&bytes, &method));
        let _ = socks::parse_greeting(&bytes);
        drop(socks::parse_request(&bytes));
        drop(Host::parse(&String::from_utf8_lossy(&bytes)));
        let mut body = Body::new(Framing::Chunked);
        let _ = body.advance(&bytes);
    }

    #[test]
    fn a_changed_byte_upsets_no_parser(place in 0_usize..200, byte in any::<u8>()) {
        let change = |mut bytes: Vec<u8>| {
            let at = place % bytes.len();
            bytes[at] = byte;
            bytes
        };
        drop(hello::parse(&change(client_hello(Some("example.com"), &[(0xfe0d, &[1, 2, 3])]))));
        drop(dns::parse(&change(query("www.example.com", 1))));
        drop(http::parse_request(&change(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec())));
    }

    #[test]
    fn a_hello_is_found_however_its_records_are_cut(cuts in vec(1_usize..40, 1..20), tail in vec(any::<u8>(), 0..9)) {
        let whole = client_hello(Some("example.com"), &[(0x2b, &[2, 3, 4])]);
        let mut message = &whole[5..];
        let mut bytes = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !message.is_empty() {
            let (fragment, rest) = message.split_at((*cuts.next().unwrap()).min(message.len()));
            bytes.extend(record(fragment));
            message = rest;
        }
        for end in 0..bytes.len() {
            assert_eq!(hello::parse(&bytes[..end]), Err(HelloError::Incomplete));
        }
        bytes.extend(tail);
        let hello = hello::parse(&bytes).unwrap();
        assert_eq!((hello.server_name.as_deref(), hello.has_encrypted_hello), (Some("example.com"), false));
    }

    #[test]
    fn a_chunked_body_ends_at_the_same_byte_however_it_arrives(
        chunks in vec(vec(any::<u8>(), 1..50), 0..6),
        step in 1_usize..17,
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend(format!("{:x};note=1\r\n", chunk.len()).as_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\nTrailer: yes\r\n\r\n");
        let end = bytes.len();
        bytes.extend(b"GET / HTTP/1.1");
        let mut body = Body::new(Framing::Chunked);
        let mut at = 0;
        while !body.is_done() {
            let piece = &bytes[at..(at + step).min(bytes.len())];
            at += body.advance(piece).unwrap();
        }
        assert_eq!(at, end);
    }

    #[test]
    fn a_head_is_incomplete_until_its_last_byte(path in "/[a-z0-9]{0,20}", length in 0_u32..1000) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n");
        for end in 0..head.len() {
            assert_eq!(http::parse_request(&head.as_bytes()[..end]), Err(HeadError::Incomplete));
        }
        let request = http::parse_request(head.as_bytes()).unwrap();
        let framing = if length == 0 { Framing::None } else { Framing::Length(length.into()) };
        assert_eq!((request.target, request.framing, request.length), (path, framing, head.len()));
        // What is passed on reads the same again.
        assert_eq!(request.forwarded, head.as_bytes());
    }

    #[test]
    fn a_pattern_that_reads_is_written_as_it_reads(text in "(\\*\\.)?[a-zA-Z0-9.-]{1,40}") {
        if let Ok(pattern) = HostPattern::parse(&text) {
            assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
        }
    }
}

#[test]
fn what_is_passed_on_says_no_more_than_was_understood() {
    let forwarded =
        |text: &str| String::from_utf8(http::parse_request(text.as_bytes()).unwrap().forwarded).unwrap();
    let table = [
        (
            "GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\nConnection: close, Host, X\r\nX:  1 \r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: a.example\r\nX: 1\r\nConnection: close\r\n\r\n",
        ),
        (
            "GET http://a.example:80?q HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n",
            "GET /?q HTTP/1.0\r\nHost: a.example:80\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ),
    ];
    for (from, to) in table {
        assert_eq!(forwarded(from), to);
    }
}

#[test]
fn white_space_that_only_unicode_knows_is_part_of_a_value() {
    for space in ['\u{a0}', '\u{85}', '\u{3000}'] {
        for header in [
            format!("Content-Length:{space}5"),
            format!("Content-Length: 5{space}"),
            format!("Transfer-Encoding: {space}chunked"),
            format!("Transfer-Encoding: chunked{space}"),
        ] {
            let request = format!("PUT / HTTP/1.1\r\nHost: a.example\r\n{header}\r\n\r\n");
            assert!(
                matches!(http::parse_request(request.as_bytes()), Err(HeadError::Malformed(_))),
                "{header:?}"
            );
            let response = format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
            assert!(
                matches!(http::parse_response(response.as_bytes(), "GET"), Err(HeadError::Malformed(_))),
                "{header:?}"
            );
        }
    }
}

#[test]
fn odd_chunks_are_refused() {
    for bytes in [
        "\r\n",
        "g\r\n",
        "3\nabc",
        "3\r\nabcd\r\n",
        "-1\r\n",
        "+3\r\n",
        "0x3\r\n",
        " 3\r\n",
        "3 \r\n",
        "1234567890abcdef\r\n",
    ] {
        assert!(Body::new(Framing::Chunked).advance(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
}

#[test]
fn heads_have_bounds() {
    let long = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    assert!(matches!(http::parse_request(long.as_bytes()), Err(HeadError::Malformed(_))));
    let many = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{}\r\n", "X: a\r\n".repeat(200));
    assert!(matches!(http::parse_request(many.as_bytes()), Err(HeadError::Malformed(_))));
    let long = client_hello(Some("example.com"), &[(0x15, &vec![0; 17_000])]);
    assert!(matches!(hello::parse(&long), Err(HelloError::Malformed(_))));
}

#[test]
fn nothing_stands_before_a_response() {
    for before in ["\r\n", "\r\n\r\n", "\n", " ", "x"] {
        let response = format!("{before}HTTP/1.1 204 No\r\n\r\n");
        for length in 1..=response.len() {
            let parsed = http::parse_response(&response.as_bytes()[..length], "GET");
            assert!(matches!(parsed, Err(HeadError::Malformed(_))), "{before:?} {length}");
        }
    }
}

#[test]
fn responses_end_where_their_heads_say() {
    let framing = |text: &str, method: &str| {
        http::parse_response(text.as_bytes(), method).map(|response| response.framing)
    };
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET"), Ok(Framing::Length(5)));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"), Ok(Framing::None));
    assert_eq!(framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET"), Ok(Framing::None));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET"), Ok(Framing::None));
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", "GET"), Ok(Framing::UntilClose));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET"), Ok(Framing::Chunked));
    assert!(
        framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "GET").is_err()
    );
}

#[test]
fn socks_reads_names_and_addresses() {
    let request = |bytes: &[u8]| {
        socks::parse_request(bytes).map(|(request, length)| (request.host, request.port, length))
    };
    assert_eq!(request(&[5, 1, 0, 1, 1, 2, 3, 4, 0, 80, 9]), Ok(("1.2.3.4".into(), 80, 10)));
    assert_eq!(request(&[5, 1, 0, 3, 1, b'a', 1, 0]), Ok(("a".into(), 256, 8)));
    let v6 = [&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 80]].concat();
    assert_eq!(request(&v6), Ok(("::1".into(), 80, 22)));
    assert_eq!(request(&[5, 1, 0, 3, 9, b'a']), Err(SocksError::Incomplete));
    assert_eq!(request(&[5, 2, 0, 1, 1, 2, 3, 4, 0, 80]), Err(SocksError::Command));
    assert_eq!(request(&[4, 1, 0, 1]), Err(SocksError::Malformed));
    assert_eq!(socks::parse_greeting(&[5, 2, 1, 2]), Ok((false, 4)));
}
