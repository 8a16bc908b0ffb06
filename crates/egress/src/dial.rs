//! Connects to a host: looks its name up once, checks every address, and connects to an address that was checked.
//!
//! The one way out of this crate: the sandbox proxy and [`Client`](crate::Client) both end here, so an address that
//! the rules refuse is never connected to, whatever a name leads to and however often it changes.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address;
use crate::decide;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::fake_ips;
use crate::limits::ADDRESS_TIME_MAX;
use crate::limits::ADDRESSES_MAX;
use crate::limits::CONNECT_TIME_MAX;
use crate::policy::Host;
use crate::policy::Hostname;
use crate::policy::Policy;
use crate::resolve::Cache;
use crate::resolve::ResolveError;

/// There is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The reason.
    pub(crate) decision: Decision,
    /// The address that was refused or did not answer.
    pub(crate) address: Option<IpAddr>,
}

/// Connects to a target that the policy has allowed by its name.
pub(crate) async fn dial(
    names: &Cache,
    policy: &Policy,
    target: &Target,
) -> Result<(TcpStream, IpAddr), Box<Failure>> {
    let addresses = addresses(names, policy, target).await?;
    connect(target, &addresses).await
}

/// The checked addresses of a target; at least one.
async fn addresses(cache: &Cache, policy: &Policy, target: &Target) -> Result<Vec<SocketAddr>, Box<Failure>> {
    let addresses = match &target.host {
        Host::Name(name) => match policy.route(name, target.port) {
            // A route is exempt from the check: the operator has said where the name leads.
            Some(to) => return Ok(vec![to]),
            None => look_up(cache, name).await?,
        },
        Host::Address(address) if fake_ips::is_fake_ip(*address) => {
            let why = "no name has been asked for that this address stands for";
            let decision = Decision::refuse(Rule::UnknownAddress, &target.host, why);
            return Err(Box::new(Failure { decision, address: Some(*address) }));
        }
        Host::Address(address) => Arc::from([*address]),
    };
    let mut checked = Vec::with_capacity(addresses.len().min(ADDRESSES_MAX));
    for address in addresses.iter().take(ADDRESSES_MAX) {
        // One refused address condemns the name: its owner means to lead the client there.
        if let Err(refusal) = address::check_address(policy, *address) {
            let decision = decide::refuse_address(&target.host, &refusal);
            return Err(Box::new(Failure { decision, address: Some(*address) }));
        }
        checked.push(SocketAddr::new(*address, target.port));
    }
    Ok(checked)
}

async fn look_up(cache: &Cache, name: &Hostname) -> Result<Arc<[IpAddr]>, Box<Failure>> {
    cache.resolve(name).await.map_err(|error| {
        let rule = match &error {
            ResolveError::NotFound => Rule::NameNotFound,
            ResolveError::Failed(_) => Rule::ResolveFailed,
            ResolveError::TimedOut => Rule::TimedOut,
        };
        let decision = Decision::fail(rule, name, &format!("host {name} cannot be reached: {error}"));
        Box::new(Failure { decision, address: None })
    })
}

/// Connects to the first address that answers.
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
    Err(Box::new(Failure { decision: Decision::fail(rule, &target.host, &text), address }))
}
