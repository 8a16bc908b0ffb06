//! One session's door: its policy, its names, its usage log.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use api::ids::SessionId;
use api::time::Clock;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::authority::Authority;
use crate::decide;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::fake_ips::FakeIpTable;
use crate::grant::Grant;
use crate::limits::GRANT_TIME_MAX;
use crate::policy::Host;
use crate::policy::Hostname;
use crate::policy::Policy;
use crate::resolve::Cache;
use crate::resolve::Resolve;
use crate::resolve::System;
use crate::sys::socket;
use crate::tls::Roots;
use crate::usage_log::Entry;
use crate::usage_log::Protocol;
use crate::usage_log::UsageLog;
use crate::usage_log::Verdict;

/// Where sandboxes find the proxy.
pub const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 61128);

/// Finds out where a connection was going.
pub type Destination = Arc<dyn Fn(&TcpStream) -> io::Result<SocketAddr> + Send + Sync>;

/// What all sessions have in common.
#[derive(Clone)]
pub struct Settings {
    /// Looks up names.
    pub resolver: Arc<dyn Resolve>,
    /// A connection that was going here is for the proxy itself; all others are transparent.
    pub proxy: SocketAddr,
    /// Finds out where a connection was going.
    pub destination: Destination,
    /// Authorities that hosts must be certified by, where TLS is terminated.
    pub roots: Arc<Roots>,
    /// The time in usage logs and certificates.
    pub clock: Clock,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("resolver", &self.resolver)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolver: Arc::new(System::default()),
            proxy: PROXY,
            destination: Arc::new(destination),
            roots: Arc::default(),
            clock: Clock::system(),
        }
    }
}

/// Where a connection was going: before it was redirected, or else where it came in.
fn destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    socket::original_destination(stream.as_fd()).or_else(|_| stream.local_addr())
}

/// One session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    /// `None` until the server has said what the session may reach: until then it may reach nothing.
    grant: watch::Sender<Option<Arc<Grant>>>,
    bytes_max: AtomicU64,
    connections: AtomicU32,
    fake_ips: Mutex<FakeIpTable>,
    resolved: Cache,
    usage_log: UsageLog,
    authority: Mutex<Option<Arc<Authority>>>,
    folder: PathBuf,
    settings: Settings,
}

/// The session has used up its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has used up its bytes")]
pub(crate) struct Exhausted;

impl Session {
    /// Opens the door of a session; its usage log and its authority are in `folder` and go on where they were left.
    pub fn open(
        id: SessionId,
        grant: Option<Arc<Grant>>,
        settings: Settings,
        folder: &Path,
    ) -> io::Result<Arc<Self>> {
        let session = Self {
            usage_log: UsageLog::open(folder, &id)?,
            id,
            bytes_max: AtomicU64::new(0),
            grant: watch::Sender::new(None),
            connections: AtomicU32::new(0),
            fake_ips: Mutex::new(FakeIpTable::default()),
            resolved: Cache::new(Arc::clone(&settings.resolver)),
            authority: Mutex::new(None),
            folder: folder.to_owned(),
            settings,
        };
        session.change(grant);
        Ok(Arc::new(session))
    }

    /// Whose door it is.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// What the session may reach now: nothing without a grant.
    pub fn policy(&self) -> Arc<Policy> {
        static CLOSED: LazyLock<Arc<Policy>> = LazyLock::new(|| Arc::new(Policy::limited(Vec::new())));
        self.grant().map_or_else(|| Arc::clone(&CLOSED), |grant| Arc::clone(&grant.policy))
    }

    /// What the server has granted.
    pub fn grant(&self) -> Option<Arc<Grant>> {
        self.grant.borrow().clone()
    }

    /// Changes what the session may reach; nothing without a grant. Connections that stand go on.
    pub fn change(&self, grant: Option<Arc<Grant>>) {
        let bytes_max = grant.as_ref().map_or(0, |grant| grant.policy.bytes_max.unwrap_or(u64::MAX));
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.grant.send_replace(grant);
    }

    /// Waits for a grant, for a moment: a server that finds a new egress process says everything again.
    pub(crate) async fn granted(&self) {
        let mut grant = self.grant.subscribe();
        // Without one the session is closed, and its clients are told.
        drop(timeout(GRANT_TIME_MAX, grant.wait_for(Option::is_some)).await);
    }

    /// Whether TLS to a host is terminated, because its requests may get secrets.
    pub(crate) fn terminates(&self, host: &Host) -> bool {
        match (host, &*self.grant.borrow()) {
            (Host::Name(name), Some(grant)) => grant.substitutes_for(name),
            (Host::Name(_) | Host::Address(_), _) => false,
        }
    }

    /// The session's certificate authority; made at its first use.
    pub(crate) fn authority(&self) -> io::Result<Arc<Authority>> {
        let mut known = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = &*known {
            return Ok(Arc::clone(authority));
        }
        let authority = Arc::new(Authority::open(&self.folder, &self.id, self.settings.clock.now())?);
        *known = Some(Arc::clone(&authority));
        Ok(authority)
    }

    /// What the session has reached.
    pub fn usage_log(&self) -> &UsageLog {
        &self.usage_log
    }

    /// Connections that are open.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The address that stands for a name in the sandbox.
    pub(crate) fn fake_ip(&self, name: &Hostname) -> Ipv4Addr {
        self.fake_ips.lock().unwrap_or_else(PoisonError::into_inner).address(name)
    }

    /// The name that an address stands for in the sandbox.
    pub(crate) fn name(&self, address: IpAddr) -> Option<Hostname> {
        self.fake_ips.lock().unwrap_or_else(PoisonError::into_inner).name(address)
    }

    /// Addresses of names that the session asked for.
    pub(crate) fn resolved(&self) -> &Cache {
        &self.resolved
    }

    /// Decides about a connection, the session's own bounds included.
    pub(crate) fn decide(&self, policy: &Policy, target: &Target) -> Decision {
        if self.grant.borrow().is_none() {
            let why = "this server has not said yet what the session may reach; try again in a moment";
            return Decision::refuse(Rule::NoPolicy, &target.host, why);
        }
        if self.usage_log.bytes() >= self.bytes_max.load(Ordering::Relaxed) {
            return Decision::refuse(Rule::Budget, &target.host, &Exhausted.to_string());
        }
        decide::decide(policy, target)
    }

    /// Counts a new connection; `None` when the session has too many.
    pub(crate) fn connect(self: &Arc<Self>) -> Option<Permit> {
        self.usage_log.count_connection();
        let max = self.policy().connections_max;
        let taken = self.connections.fetch_add(1, Ordering::Relaxed);
        let permit = Permit { session: Arc::clone(self) };
        (taken < max).then_some(permit)
    }

    /// Notes that a target was refused or could not be reached.
    pub(crate) fn note(
        &self,
        target: &Target,
        address: Option<IpAddr>,
        protocol: Protocol,
        decision: &Decision,
    ) {
        let verdict = match decision.allowed {
            true => Verdict::Allowed,
            false if decision.rule.is_failure() => Verdict::Failed,
            false => Verdict::Refused,
        };
        self.add(target, address, protocol, verdict, decision.rule);
    }

    /// Notes that a connection to a target stands.
    pub(crate) fn begin(
        self: &Arc<Self>,
        target: &Target,
        address: IpAddr,
        protocol: Protocol,
        rule: Rule,
    ) -> Flow {
        let number = self.add(target, Some(address), protocol, Verdict::Allowed, rule);
        let session = Arc::clone(self);
        Flow { session, number, protocol, bytes_out: AtomicU64::new(0), bytes_in: AtomicU64::new(0) }
    }

    fn add(
        &self,
        target: &Target,
        address: Option<IpAddr>,
        protocol: Protocol,
        verdict: Verdict,
        rule: Rule,
    ) -> u64 {
        self.usage_log.add(Entry {
            number: 0,
            at: self.settings.clock.now(),
            host: target.host.to_string(),
            address,
            port: target.port,
            how: target.how,
            protocol,
            bytes_out: 0,
            bytes_in: 0,
            verdict,
            rule,
        })
    }

    fn count(&self, out: u64, r#in: u64) -> Result<(), Exhausted> {
        let sum = self.usage_log.count_bytes(out, r#in);
        if sum > self.bytes_max.load(Ordering::Relaxed) { Err(Exhausted) } else { Ok(()) }
    }
}

/// One of the session's connections; counts as open while it lives.
#[derive(Debug)]
pub(crate) struct Permit {
    session: Arc<Session>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.session.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes between a sandbox and one host. Its end goes to the usage log.
#[derive(Debug)]
pub(crate) struct Flow {
    session: Arc<Session>,
    number: u64,
    /// What the connection turned out to speak.
    pub(crate) protocol: Protocol,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

impl Flow {
    /// Counts bytes that go out.
    pub(crate) fn count_out(&self, count: usize) -> Result<(), Exhausted> {
        self.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
        self.session.count(count as u64, 0)
    }

    /// Counts bytes that come in.
    pub(crate) fn count_in(&self, count: usize) -> Result<(), Exhausted> {
        self.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
        self.session.count(0, count as u64)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let (out, r#in) = (self.bytes_out.load(Ordering::Relaxed), self.bytes_in.load(Ordering::Relaxed));
        self.session.usage_log.end(self.number, self.protocol, out, r#in);
    }
}
