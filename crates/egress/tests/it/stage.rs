//! A session with real listeners, hosts on loopback, and a resolver that is a table.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;

use api::ids::SessionId;
use egress::Grant;
use egress::Policy;
use egress::Roots;
use egress::policy::HostPattern;
use egress::policy::HostRule;
use egress::policy::Hostname;
use egress::policy::Reason;
use egress::policy::Route;
use egress::resolve::Resolve;
use egress::resolve::ResolveError;
use egress::session::Session;
use egress::session::Settings;
use egress::usage_log::Entry;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Answers from a table and counts the questions.
#[derive(Debug, Default)]
pub(crate) struct Table {
    answers: HashMap<&'static str, Vec<IpAddr>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Table {
    pub(crate) fn new(answers: &[(&'static str, &[&str])]) -> Self {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().map(|(name, addresses)| (*name, parse(addresses))).collect();
        Self { answers, asked: Mutex::default() }
    }
}

#[async_trait::async_trait]
impl Resolve for Table {
    async fn resolve(&self, name: &Hostname) -> Result<Vec<IpAddr>, ResolveError> {
        self.asked.lock().unwrap().push(name.to_string());
        self.answers.get(name.as_str()).cloned().ok_or(ResolveError::NotFound)
    }
}

pub(crate) fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

pub(crate) fn limited(hosts: &[&str]) -> Policy {
    let rule = |host: &&str| HostRule { pattern: pattern(host), reason: Reason::AllowedHosts };
    Policy::limited(hosts.iter().map(rule).collect())
}

pub(crate) fn route(host: &str, port: u16, to: SocketAddr) -> Route {
    Route { host: pattern(host), port: Some(port), to }
}

/// A session whose listeners are open, and what a sandbox would know of it.
pub(crate) struct Stage {
    pub(crate) session: Arc<Session>,
    pub(crate) proxy: SocketAddr,
    pub(crate) transparent: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) queries: SocketAddr,
    pub(crate) resolver: Arc<Table>,
    /// Where connections to the transparent listener were going.
    pub(crate) destination: Arc<Mutex<SocketAddr>>,
    pub(crate) folder: tempfile::TempDir,
    _serving: JoinSet<()>,
}

impl Stage {
    pub(crate) fn new(policy: Policy) -> Self {
        Self::with(policy, Table::default())
    }

    pub(crate) fn with(policy: Policy, resolver: Table) -> Self {
        Self::granted(Some(Arc::new(policy.into())), resolver, Roots::default())
    }

    /// A session with this grant, where hosts may be certified by these authorities as well.
    pub(crate) fn granted(grant: Option<Arc<Grant>>, resolver: Table, roots: Roots) -> Self {
        let (sockets, [dns, queries, proxy, transparent]) = listeners();
        let destination = Arc::new(Mutex::new(SocketAddr::from(([198, 18, 0, 53], 1))));
        let known = Arc::clone(&destination);
        let find = move |stream: &TcpStream| -> io::Result<SocketAddr> {
            let local = stream.local_addr()?;
            Ok(if local == proxy { local } else { *known.lock().unwrap() })
        };
        let resolver = Arc::new(resolver);
        let settings = Settings {
            resolver: Arc::clone(&resolver) as Arc<dyn Resolve>,
            proxy,
            destination: Arc::new(find),
            roots: Arc::new(roots),
            ..Settings::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let id = SessionId::parse("sesn_stage").unwrap();
        let session = Session::open(id, grant, settings, folder.path()).unwrap();
        let serving = egress::serve(&session, sockets).unwrap();
        Self { session, proxy, transparent, dns, queries, resolver, destination, folder, _serving: serving }
    }

    /// A connection to the proxy.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy).await.unwrap()
    }

    /// A connection of a client that knows no proxy, to whatever its DNS says of a name.
    pub(crate) async fn connect_to(&self, name: &str, port: u16) -> TcpStream {
        let (_, address) = crate::stub::ask(self.dns, name, 1).await;
        self.connect_to_address(SocketAddr::from((address.unwrap(), port))).await
    }

    pub(crate) async fn connect_to_address(&self, address: SocketAddr) -> TcpStream {
        *self.destination.lock().unwrap() = address;
        TcpStream::connect(self.transparent).await.unwrap()
    }

    /// Sends bytes to the proxy and returns all that comes back until the end.
    pub(crate) async fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_all(&mut stream).await
    }

    /// The latest decision, once there are `count` of them.
    pub(crate) async fn decision(&self, count: usize) -> Entry {
        loop {
            let recent = self.session.usage_log().recent(1000);
            if recent.len() >= count {
                return recent[count - 1].clone();
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Listeners as a sandbox has them: DNS over datagrams and connections, the proxy, a transparent one.
pub(crate) fn listeners() -> (Vec<OwnedFd>, [SocketAddr; 4]) {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let datagrams = std::net::UdpSocket::bind(local).unwrap();
    let dns = datagrams.local_addr().unwrap();
    let queries = std::net::TcpListener::bind(local).unwrap();
    let proxy = std::net::TcpListener::bind(local).unwrap();
    let transparent = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let listeners = [&queries, &proxy, &transparent].map(|listener| listener.local_addr().unwrap());
    let addresses = [dns, listeners[0], listeners[1], listeners[2]];
    (vec![datagrams.into(), queries.into(), proxy.into(), transparent.into()], addresses)
}

/// All that a connection still says. A reset is an end too.
pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the end of a head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { break };
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A host that sends back every byte, and its address.
pub(crate) async fn echo_host(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut reader, mut writer) = stream.split();
                drop(tokio::io::copy(&mut reader, &mut writer).await);
                drop(writer.shutdown().await);
            });
        }
    });
    address
}

/// A web server that answers each request with its head as the body; what it has seen is kept.
pub(crate) struct WebHost {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl WebHost {
    pub(crate) async fn new(tasks: &mut JoinSet<()>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                connections.spawn(async move {
                    loop {
                        let head = read_head(&mut stream).await;
                        if head.is_empty() {
                            return;
                        }
                        log.lock().unwrap().push(head.clone());
                        let answer = respond(&head);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        if answer.starts_with("HTTP/1.1 101") {
                            let (mut reader, mut writer) = stream.split();
                            drop(tokio::io::copy(&mut reader, &mut writer).await);
                            return;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn respond(head: &str) -> String {
    let line = head.lines().next().unwrap_or_default();
    if head.contains("Upgrade: websocket") {
        return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            .into();
    }
    if line.contains(" /moved ") {
        let location = "Location: http://inside.example/secret\r\n";
        return format!("HTTP/1.1 302 Found\r\n{location}Content-Length: 0\r\n\r\n");
    }
    if line.contains(" /chunks ") {
        return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into();
    }
    let body = line;
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A TLS client hello that names `name`, with further extensions (kind and content).
pub(crate) fn client_hello(name: Option<&str>, extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let word = |number: usize| u16::try_from(number).unwrap().to_be_bytes();
    let mut list = Vec::new();
    if let Some(name) = name {
        let length = name.len();
        list.extend(
            [&[0, 0], &word(length + 5)[..], &word(length + 3), &[0], &word(length), name.as_bytes()]
                .concat(),
        );
    }
    for (kind, content) in extensions {
        list.extend([&kind.to_be_bytes()[..], &word(content.len()), content].concat());
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 0x01, 1, 0]);
    body.extend(word(list.len()));
    body.extend(list);
    let mut message = vec![1, 0];
    message.extend(word(body.len()));
    message.extend(body);
    record(&message)
}

/// One TLS record of a handshake.
pub(crate) fn record(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[22, 3, 1], &length[..], bytes].concat()
}
