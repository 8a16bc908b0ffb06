//! How fast the proxy passes bytes, and how long a connection through it takes, all on loopback.
//!
//! `cargo run --release -p egress --example throughput`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example that prints figures")]

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use api::ids::SessionId;
use egress::Policy;
use egress::policy::HostPattern;
use egress::policy::HostRule;
use egress::policy::Reason;
use egress::policy::Route;
use egress::session::Session;
use egress::session::Settings;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const BYTES: usize = 4 << 30;
const CONNECTIONS: usize = 2000;
const CONNECT: &[u8] = b"CONNECT host.example:443 HTTP/1.1\r\nHost: host.example\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

fn main() {
    // The proxy has threads of its own, as its process has.
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let host = std::net::TcpListener::bind(local).unwrap();
    let hosted = host.local_addr().unwrap();
    let proxy = start_proxy(hosted);
    std::thread::spawn(move || runtime().block_on(serve_host(host)));
    runtime().block_on(measure(hosted, proxy));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn start_proxy(host: SocketAddr) -> SocketAddr {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let datagrams = std::net::UdpSocket::bind(local).unwrap();
    let queries = std::net::TcpListener::bind(local).unwrap();
    let listener = std::net::TcpListener::bind(local).unwrap();
    let proxy = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async move {
            let pattern = HostPattern::parse("host.example").unwrap();
            let mut policy =
                Policy::limited(vec![HostRule { pattern: pattern.clone(), reason: Reason::Operator }]);
            policy.routes = vec![Route { host: pattern, port: None, to: host }];
            let settings = Settings { proxy, ..Settings::default() };
            let folder = std::env::temp_dir().join(format!("throughput-{}", std::process::id()));
            std::fs::create_dir(&folder).unwrap();
            let id = SessionId::parse("sesn_throughput").unwrap();
            let session = Session::open(id, Some(Arc::new(policy.into())), settings, &folder).unwrap();
            let sockets = vec![datagrams.into(), queries.into(), listener.into()];
            let mut serving = egress::serve(&session, sockets).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
            let _session = Arc::clone(&session);
            serving.join_next().await;
        });
    });
    proxy
}

/// Swallows what comes, and says how much it was at the end.
async fn serve_host(listener: std::net::TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut buffer = vec![0; 1 << 20];
            let mut total = 0_u64;
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                total += count as u64;
            }
            drop(stream.write_u64(total).await);
        });
    }
}

async fn measure(host: SocketAddr, proxy: SocketAddr) {
    let direct = transfer(TcpStream::connect(host).await.unwrap()).await;
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    tunnel(&mut stream).await;
    // SSH is passed on without another look, as TLS is after its first message.
    stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let proxied = transfer(stream).await;
    println!("direct {direct:.0} MiB/s, through the proxy {proxied:.0} MiB/s");
    for name in ["direct", "proxy"] {
        let mut micros: Vec<u128> = Vec::new();
        for _ in 0..CONNECTIONS {
            let start = Instant::now();
            let mut stream = TcpStream::connect(if name == "direct" { host } else { proxy }).await.unwrap();
            if name == "proxy" {
                tunnel(&mut stream).await;
            }
            micros.push(start.elapsed().as_micros());
        }
        micros.sort_unstable();
        let (median, high) = (micros[CONNECTIONS / 2], micros[CONNECTIONS * 99 / 100]);
        println!("connect {name}: p50 {median} us, p99 {high} us");
    }
}

async fn tunnel(stream: &mut TcpStream) {
    stream.write_all(CONNECT).await.unwrap();
    let mut answer = vec![0; CONNECTED.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, CONNECTED);
}

/// Sends [`BYTES`] and returns MiB per second until the host has them all.
async fn transfer(mut stream: TcpStream) -> f64 {
    let buffer = vec![0; 1 << 20];
    let start = Instant::now();
    for _ in 0..BYTES / buffer.len() {
        stream.write_all(&buffer).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let total = stream.read_u64().await.unwrap();
    assert!(total >= BYTES as u64);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mebibytes = BYTES as f64 / f64::from(1 << 20);
    mebibytes / start.elapsed().as_secs_f64()
}
