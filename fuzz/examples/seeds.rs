//! Writes the first files of every corpus: `cargo run --no-default-features --example seeds`, in this folder.

use std::fs;
use std::path::Path;

use fuzz::tar;

fn main() {
    let seeds: [(&str, Vec<Vec<u8>>); 13] = [
        ("body", body()),
        (
            "client_hello",
            vec![hello(1, "example.com"), hello(7, "a.example"), b"\x16\x03\x01\x00\x00".to_vec()],
        ),
        (
            "dns",
            vec![
                query("www.example.com", 1),
                query("a_b.example", 28),
                query("x", 255),
                edns(query("example.com", 16)),
            ],
        ),
        ("hand_protocol", hand_protocol()),
        (
            "host_pattern",
            texts(&[
                "*.Example.COM\nexample.com\na.example.com",
                "0x7f.1\n127.1\n[::1]",
                "bücher.example.\nxn--bcher-kva.example\n*.example",
            ]),
        ),
        ("http_request", requests()),
        ("http_response", responses()),
        ("image_archive", vec![saved(), vec![2; 64]]),
        ("image_document", texts(&DOCUMENTS)),
        ("layer_unpack", layers()),
        ("model_stream", texts(&STREAMS)),
        (
            "socks",
            vec![
                b"\x05\x02\x00\x02".to_vec(),
                b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50".to_vec(),
                b"\x05\x01\x00\x03\x0bexample.com\x01\xbb".to_vec(),
                [b"\x05\x01\x00\x04".as_slice(), &[0; 16], b"\x00\x50"].concat(),
            ],
        ),
        ("wire", wire()),
    ];
    for (name, files) in seeds {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        fs::create_dir_all(&folder).expect("make the folder of a corpus");
        for (number, bytes) in files.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), bytes).expect("write a seed");
        }
    }
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const DOCUMENTS: [&str; 4] = [
    r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1}]}"#,
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7,"platform":{"architecture":"amd64","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}"#,
    r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","IFS=x"],"WorkingDir":"/app"},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#,
    r#"[{"Config":"config.json","RepoTags":["a:1"],"Layers":["a/layer.tar"]}]"#,
];

const STREAMS: [&str; 4] = [
    "\x03\u{feff}: hello\nevent: a\ndata: {\"type\":\"text\",\"text\":\"\"}\n\n\
     data: {\"type\":\"text_delta\",\rdata: \"text\":\"a\\ud83e\"}\r\n\r\nevent: c\n\ndata: cut",
    "\x01data:{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"bash\",\"input\":{}}\n\n\
     data: {\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\" : 1}\"}\n\n",
    "\x02data:{\"type\":\"new\",\"log\":\"a\",\"list\":[1],\"state\":null}\n\n\
     data:{\"type\":\"new_delta\",\"log\":\"b\",\"list\":[2, 3],\"state\":{\"k\":1},\"more\":true}\n\n",
    "\x00data:{\"type\":\"text\",\"text\":\"\",\"citations\":null}\r\rid: 7\r\n\
     data:{\"type\":\"citations_delta\",\"citation\":{\"n\": 1}}\r\n\r\nevent:b\r\ndata\r\n\r\n",
];

/// Bodies and queries of clients, each behind the byte that says what it is.
fn wire() -> Vec<Vec<u8>> {
    texts(&[
        "\x00{\"events\":[{\"type\":\"user.message\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]},{\"type\":\"user.interrupt\"}]}",
        "\x00{\"events\":[{\"type\":\"user.tool_confirmation\",\"tool_use_id\":\"a\",\"result\":\"deny\",\"deny_message\":\"no\"}]}",
        "\x01{\"name\":\"a\",\"model\":\"m\",\"system\":\"s\",\"tools\":[{\"type\":\"agent_toolset_20260401\"}],\"metadata\":{\"k\":\"v\"}}",
        "\x01{\"version\":1,\"name\":\"b\",\"description\":null}",
        "\x02{\"name\":\"e\",\"config\":{\"type\":\"cloud\",\"networking\":{\"type\":\"limited\",\"allowed_hosts\":[\"a.example\"]},\"packages\":{\"pip\":[\"a==1\"]}}}",
        "\x03{\"agent\":\"agent_1ChHEFWow7eq8XYtC2eZas\",\"environment_id\":\"env_1ChHEFWow7eq8XYtC2eZas\",\"title\":\"t\"}",
        "\x04{\"title\":\"t\",\"metadata\":{\"k\":null}}",
        "\x04{\"setup\":\"echo\",\"image\":null}",
        "\x05limit=3&order=asc&created_at%5Bgte%5D=2026-01-01T00:00:00Z&page=MWFmdjox",
        "\x05types[]=user.message&event_deltas[]=agent.message&version=1",
        "\x06MWFmYzoxNzkwMDAwMDAwMDAwMDAwOmFnZW50XzE",
        "\x06MWRibDo3",
        "\x072026-11-22T07:09:38.123456Z",
        "\x07sesn_1ChHEFWow7eq8XYtC2eZas",
    ])
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn body() -> Vec<Vec<u8>> {
    let chunks = b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nrest";
    vec![
        [b"\x04\x03".as_slice(), chunks].concat(),
        b"\x1a\x01abcdef".to_vec(),
        b"\x01\x00abc".to_vec(),
        b"\x00\x00GET".to_vec(),
    ]
}

fn hello(piece: usize, name: &str) -> Vec<u8> {
    let long = |bytes: &[u8]| [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat();
    let entry = [b"\x00".as_slice(), &long(name.as_bytes())].concat();
    let extensions = [b"\x00\x00".as_slice(), &long(&long(&entry)), b"\xfe\x0d\x00\x01x"].concat();
    let body =
        [b"\x03\x03".as_slice(), &[7; 32], b"\x00", &long(b"\x13\x01"), b"\x01\x00", &long(&extensions)]
            .concat();
    let message = [b"\x01\x00".as_slice(), &long(&body)].concat();
    message
        .chunks(message.len().div_ceil(piece))
        .flat_map(|piece| [b"\x16\x03\x01".as_slice(), &long(piece)].concat())
        .collect()
}

fn query(name: &str, kind: u8) -> Vec<u8> {
    let mut message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("short"));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, kind, 0, 1]);
    message
}

fn edns(mut message: Vec<u8>) -> Vec<u8> {
    message[11] = 1;
    message.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
    message
}

fn hand_protocol() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"op":"execute","id":"a","thread":"t","tool":"bash","input":{"command": "ls"}}"#,
        r#"{"op":"result","id":"a","content":[{"type":"text","text":"\u00e9"}],"is_error":false}"#,
        r#"{"op":"state","id":"a","state":"finished"}"#,
        r#"{"op":"acknowledge","ids":["a","b"]}"#,
        r#"{"op":"operate","id":"a","operation":{"exec":{"arguments":["sh"],"folder":null,"variables":[["A","b"]],"stdin":"aGk=","time_ms":1,"output_bytes_max":9,"merges_stderr":false,"is_streamed":true}}}"#,
        r#"{"op":"operate","id":"a","operation":{"read_file":{"path":"L2EvYg==","offset":7,"bytes_max":9}}}"#,
        r#"{"op":"operate","id":"a","operation":{"write_file":{"path":"YQ==","content":"/w==","mode":420,"makes_parents":true}}}"#,
        r#"{"op":"operate","id":"a","operation":{"list_files":{"path":"YQ==","depth":2,"entries_max":9,"after":"Yi9j"}}}"#,
        r#"{"op":"output","id":"a","stream":"stderr","bytes":"aGk="}"#,
        r#"{"op":"answer","id":"a","answer":{"exited":{"end":{"signal":9},"stdout":{"bytes_total":2,"tail":"aGk="},"stderr":{"bytes_total":0,"tail":""}}}}"#,
        r#"{"op":"answer","id":"a","answer":{"listing":{"entries":[{"path":"YQ==","metadata":{"kind":"link","bytes":1,"modified_micros":-1,"mode":511,"inode":3}}],"next":null,"unreadable":0}}}"#,
        r#"{"op":"answer","id":"a","answer":{"failed":{"kind":"not_found","message":"read a: no such file"}}}"#,
    ];
    let frame =
        |text: &&str| [&u32::try_from(text.len()).expect("short").to_le_bytes(), text.as_bytes()].concat();
    let frames: Vec<Vec<u8>> = bodies.iter().map(frame).collect();
    let mut seeds: Vec<Vec<u8>> =
        bodies.iter().map(|text| [b"\x01".as_slice(), text.as_bytes()].concat()).collect();
    seeds.push([b"\x02".as_slice(), &frames.concat()].concat());
    seeds.push(b"\x00\x00\x00\x00\x04\x01".to_vec());
    seeds
}

fn requests() -> Vec<Vec<u8>> {
    texts(&[
        "GET /a?b HTTP/1.1\r\nHost: example.com\r\nConnection: close, x\r\nProxy-Authorization: y\r\n\r\n",
        "POST http://Example.com:80/a HTTP/1.1\r\nhost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET http://[::1]:81?q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:\u{a0}5\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\u{3000}\r\n\r\n",
    ])
}

fn responses() -> Vec<Vec<u8>> {
    texts(&[
        "\x01HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "\x01HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        "\x01HTTP/1.0 404 No\r\n\r\nhello",
        "\x08HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "\x01HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    ])
}

/// Entries as they are and as they have to be repaired.
fn archives(entries: &[(u8, &[u8], &[u8], &[u8])]) -> Vec<Vec<u8>> {
    let mut archive = Vec::new();
    for (letter, path, link, data) in entries {
        tar::entry(&mut archive, *letter, path, link, data);
    }
    archive.resize(archive.len() + 1024, 0);
    vec![[b"\x00".as_slice(), &archive].concat(), [b"\x01".as_slice(), &archive].concat()]
}

fn saved() -> Vec<u8> {
    let index = format!("{{\"digest\":\"{DIGEST}\"}}");
    archives(&[
        (b'0', b"./index.json", b"", index.as_bytes()),
        (b'2', b"a/layer.tar", b"../index.json", b""),
        (b'5', b"blobs/", b"", b""),
    ])
    .swap_remove(0)
}

fn layers() -> Vec<Vec<u8>> {
    let lines = [
        tar::line(b"path", b"d/long"),
        tar::line(b"mtime", b"5.25"),
        tar::line(b"SCHILY.xattr.user.a", b"b"),
    ]
    .concat();
    let holes = [
        tar::line(b"GNU.sparse.major", b"1"),
        tar::line(b"GNU.sparse.minor", b"0"),
        tar::line(b"GNU.sparse.realsize", b"200000"),
    ];
    let mut map = b"1\n100000\n3\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abc");
    let mut seeds = archives(&[
        (b'5', b"d/", b"", b""),
        (b'0', b"d/f", b"", b"hello"),
        (b'1', b"d/g", b"d/f", b""),
        (b'2', b"l", b"../beside", b""),
        (b'0', b"l/canary", b"", b"x"),
        (b'6', b"p", b"", b""),
        (b'3', b"n", b"", b""),
        (b'0', b".wh.gone", b"", b""),
        (b'0', b"d/.wh..wh..opq", b"", b""),
    ]);
    seeds.extend(archives(&[
        (b'x', b"x", b"", &lines),
        (b'0', b"s", b"", b"1"),
        (b'x', b"x", b"", &holes.concat()),
        (b'0', b"h", b"", &map),
    ]));
    seeds.push(
        (0..160)
            .map(|number: u32| u8::try_from(number * 37 % 251).expect("small"))
            .chain([2])
            .rev()
            .collect(),
    );
    seeds.push([b"\x02\x09\x00\x00\x00\x09\x00\x00\x00".as_slice(), &[10; 90]].concat());
    seeds
}
