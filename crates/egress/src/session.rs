//! One session's door: its policy, its names, its ledger.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use api::ids::SessionId;
use api::time::Clock;
use tokio::net::TcpStream;

use crate::decide;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::ledger::Entry;
use crate::ledger::Ledger;
use crate::ledger::Outcome;
use crate::ledger::Protocol;
use crate::names::Names;
use crate::policy::Hostname;
use crate::policy::Policy;
use crate::resolve::Cache;
use crate::resolve::Resolve;
use crate::resolve::System;
use crate::sys::socket;

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
    /// The time in ledgers.
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
    policy: RwLock<Arc<Policy>>,
    bytes_max: AtomicU64,
    connections: AtomicU32,
    names: Mutex<Names>,
    resolved: Cache,
    ledger: Ledger,
    settings: Settings,
}

/// The session has used up its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has used up its bytes")]
pub(crate) struct Exhausted;

impl Session {
    /// Opens the door of a session; its ledger is in `folder` and goes on where it was left.
    pub fn open(id: SessionId, policy: Policy, settings: Settings, folder: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            ledger: Ledger::open(folder, &id)?,
            id,
            bytes_max: AtomicU64::new(policy.bytes_max.unwrap_or(u64::MAX)),
            policy: RwLock::new(Arc::new(policy)),
            connections: AtomicU32::new(0),
            names: Mutex::new(Names::default()),
            resolved: Cache::new(Arc::clone(&settings.resolver)),
            settings,
        }))
    }

    /// Whose door it is.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// What the session may reach now.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what the session may reach. Connections that stand go on.
    pub fn change(&self, policy: Policy) {
        self.bytes_max.store(policy.bytes_max.unwrap_or(u64::MAX), Ordering::Relaxed);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// What the session has reached.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Connections that are open.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The address that stands for a name in the sandbox.
    pub(crate) fn stand_in(&self, name: &Hostname) -> Ipv4Addr {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).address(name)
    }

    /// The name that an address stands for in the sandbox.
    pub(crate) fn name(&self, address: IpAddr) -> Option<Hostname> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).name(address)
    }

    /// Addresses of names that the session asked for.
    pub(crate) fn resolved(&self) -> &Cache {
        &self.resolved
    }

    /// Decides about a connection, the session's own bounds included.
    pub(crate) fn decide(&self, policy: &Policy, target: &Target) -> Decision {
        if self.ledger.bytes() >= self.bytes_max.load(Ordering::Relaxed) {
            return Decision::refuse(Rule::Budget, &target.host, &Exhausted.to_string());
        }
        decide::decide(policy, target)
    }

    /// Counts a new connection; `None` when the session has too many.
    pub(crate) fn connect(self: &Arc<Self>) -> Option<Permit> {
        self.ledger.count_connection();
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
        let outcome = match decision.rule {
            Rule::NameNotFound | Rule::ResolveFailed | Rule::Unreachable | Rule::TimedOut => Outcome::Failed,
            _ if decision.allowed => Outcome::Allowed,
            _ => Outcome::Refused,
        };
        self.add(target, address, protocol, outcome, decision.rule);
    }

    /// Notes that a connection to a target stands.
    pub(crate) fn begin(
        self: &Arc<Self>,
        target: &Target,
        address: IpAddr,
        protocol: Protocol,
        rule: Rule,
    ) -> Flow {
        let number = self.add(target, Some(address), protocol, Outcome::Allowed, rule);
        let session = Arc::clone(self);
        Flow { session, number, protocol, bytes_out: AtomicU64::new(0), bytes_in: AtomicU64::new(0) }
    }

    fn add(
        &self,
        target: &Target,
        address: Option<IpAddr>,
        protocol: Protocol,
        outcome: Outcome,
        rule: Rule,
    ) -> u64 {
        self.ledger.add(Entry {
            number: 0,
            at: self.settings.clock.now(),
            host: target.host.to_string(),
            address,
            port: target.port,
            how: target.how,
            protocol,
            bytes_out: 0,
            bytes_in: 0,
            outcome,
            rule,
        })
    }

    fn count(&self, out: u64, r#in: u64) -> Result<(), Exhausted> {
        let sum = self.ledger.count_bytes(out, r#in);
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

/// Bytes between a sandbox and one host. Its end goes to the ledger.
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
        self.session.ledger.end(self.number, self.protocol, out, r#in);
    }
}
