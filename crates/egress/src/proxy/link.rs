//! A connection to a host: looked up once, every address checked, connected to a checked address.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::buffered::Buffered;
use crate::address;
use crate::decide;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::ledger::Protocol;
use crate::limits::ADDRESS_TIME_MAX;
use crate::limits::ADDRESSES_MAX;
use crate::limits::CONNECT_TIME_MAX;
use crate::names;
use crate::policy::Host;
use crate::policy::Hostname;
use crate::policy::Policy;
use crate::resolve::ResolveError;
use crate::session::Flow;
use crate::session::Session;

/// A connection to a host.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) target: Target,
    pub(super) buffered: Buffered,
    pub(super) flow: Flow,
}

/// Why there is no connection, and which address was the reason.
struct Failure {
    decision: Decision,
    address: Option<IpAddr>,
}

impl Link {
    /// Connects to a target that `rule` has allowed. Both ends of the matter are noted in the ledger.
    pub(super) async fn open(
        session: &Arc<Session>,
        policy: &Policy,
        target: &Target,
        protocol: Protocol,
        rule: Rule,
    ) -> Result<Self, Decision> {
        match dial(session, policy, target).await {
            Ok((stream, address)) => {
                let flow = session.begin(target, address, protocol, rule);
                Ok(Self { target: target.clone(), buffered: Buffered::new(stream), flow })
            }
            Err(failure) => {
                let Failure { decision, address } = *failure;
                session.note(target, address, protocol, &decision);
                Err(decision)
            }
        }
    }

    /// Whether another request can go through: nothing has come unasked, not even the end.
    pub(super) fn is_fresh(&self) -> bool {
        let mut byte = [0];
        let read = self.buffered.stream.try_read(&mut byte);
        self.buffered.buffer.is_empty() && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

async fn dial(
    session: &Session,
    policy: &Policy,
    target: &Target,
) -> Result<(TcpStream, IpAddr), Box<Failure>> {
    let addresses = match &target.host {
        Host::Name(name) => match policy.route(name, target.port) {
            // The operator has said where the name leads.
            Some(to) => return connect(target, &[to]).await,
            None => look_up(session, name).await?,
        },
        Host::Address(address) if names::is_stand_in(*address) => {
            let why = "no name has been asked for that this address stands for";
            let decision = Decision::refuse(Rule::UnknownAddress, &target.host, why);
            return Err(Box::new(Failure { decision, address: Some(*address) }));
        }
        Host::Address(address) => Arc::from([*address]),
    };
    let mut checked = Vec::with_capacity(addresses.len().min(ADDRESSES_MAX));
    for address in addresses.iter().take(ADDRESSES_MAX) {
        // One bad address condemns the name: its owner means to lead the client there.
        if let Err(refusal) = address::check_address(policy, *address) {
            let decision = decide::refuse_address(&target.host, &refusal);
            return Err(Box::new(Failure { decision, address: Some(*address) }));
        }
        checked.push(SocketAddr::new(*address, target.port));
    }
    connect(target, &checked).await
}

async fn look_up(session: &Session, name: &Hostname) -> Result<Arc<[IpAddr]>, Box<Failure>> {
    session.resolve(name).await.map_err(|error| {
        let rule = match &error {
            ResolveError::NotFound => Rule::NameNotFound,
            ResolveError::Failed(_) => Rule::ResolveFailed,
            ResolveError::TimedOut => Rule::TimedOut,
        };
        let text = format!("host {name} cannot be reached: {error}");
        let decision = Decision { allowed: false, rule, host: name.to_string(), text };
        Box::new(Failure { decision, address: None })
    })
}

/// Connects to the first address that takes it.
async fn connect(target: &Target, addresses: &[SocketAddr]) -> Result<(TcpStream, IpAddr), Box<Failure>> {
    let mut last = (Rule::Unreachable, "it has no address".to_owned(), None);
    let limit = if addresses.len() > 1 { ADDRESS_TIME_MAX } else { CONNECT_TIME_MAX };
    let attempts = async {
        for address in addresses {
            match timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Some((stream, address.ip())),
                Ok(Err(error)) => last = (Rule::Unreachable, error.to_string(), Some(address.ip())),
                Err(_) => last = (Rule::TimedOut, "it does not answer".to_owned(), Some(address.ip())),
            }
        }
        None
    };
    if let Ok(Some(connected)) = timeout(CONNECT_TIME_MAX, attempts).await {
        return Ok(connected);
    }
    let (rule, why, address) = last;
    let text = format!("host {} cannot be reached on port {}: {why}", target.host, target.port);
    let decision = Decision { allowed: false, rule, host: target.host.to_string(), text };
    Err(Box::new(Failure { decision, address }))
}
