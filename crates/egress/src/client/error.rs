//! Why a request of the server to an address of a user failed, in words for that user. Hosts are named; paths and queries
//! are not, because they may hold secrets.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hyper_util::client::legacy;

use super::connector::ConnectError;
use crate::decide::Decision;

/// The part of an exchange that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the name, connecting, agreeing on TLS.
    Connect,
    /// Until the head of the response.
    FirstByte,
    /// Between two parts of the body.
    Idle,
    /// From the call to the end of the body.
    Whole,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::FirstByte => "the first byte of the response",
            Self::Idle => "the next part of the response",
            Self::Whole => "the whole request",
        })
    }
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The text is no URL that can be requested.
    #[error("the URL is not valid: {reason}")]
    InvalidUrl {
        /// Its fault.
        reason: String,
    },
    /// A rule refuses the host or one of its addresses.
    #[error("{}", decision.text)]
    Refused {
        /// The rule, and a sentence that names the host and the address.
        decision: Decision,
        /// The refused address.
        address: Option<IpAddr>,
    },
    /// The URL is `http` and the operator has not permitted that for the host.
    #[error(
        "blocked host {host}: use https; the operator can permit plain HTTP to it with `plain_http_hosts`"
    )]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// The name does not exist, or no address of it answers.
    #[error("{}", decision.text)]
    Unreachable {
        /// The reason, as a rule and as a sentence.
        decision: Decision,
        /// The last address that was tried.
        address: Option<IpAddr>,
    },
    /// TLS failed: usually the certificate is not trusted or is for another name.
    #[error("agree with host {host} on TLS: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// Something took longer than its bound.
    #[error("host {host} took too long: {phase} exceeded {after:?}")]
    TimedOut {
        /// The host.
        host: String,
        /// The bound that was exceeded.
        phase: Phase,
        /// The bound.
        after: Duration,
    },
    /// A redirect is not followed.
    #[error("follow a redirect of host {host}: {reason}")]
    Redirect {
        /// The host that redirected.
        host: String,
        /// Why not.
        reason: String,
    },
    /// The response is larger than permitted, compressed or decompressed.
    #[error("the response of host {host} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The bound.
        bytes_max: u64,
    },
    /// The body is compressed in a way that was not asked for, or not correctly.
    #[error("decompress the response of host {host}: {reason}")]
    Encoding {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// Too many requests to the host are under way or were made lately.
    #[error("too many requests to host {host}: {reason}")]
    Busy {
        /// The host.
        host: String,
        /// The bound.
        reason: String,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("exchange with host {host}: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
}

impl ClientError {
    /// Finds the reason in what the HTTP library reports.
    pub(super) fn from_exchange(host: String, error: &legacy::Error) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut reason = error.to_string();
        while let Some(current) = source {
            if let Some(failure) = current.downcast_ref::<ConnectError>() {
                return failure.clone().into();
            }
            reason = current.to_string();
            source = current.source();
        }
        Self::Broken { host, reason }
    }
}

impl From<ConnectError> for ClientError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Tls { host, reason } => Self::Tls { host, reason },
            ConnectError::TimedOut { host, after } => Self::TimedOut { host, phase: Phase::Connect, after },
            ConnectError::Dial(failure) => {
                let (decision, address) = (failure.decision, failure.address);
                if decision.rule.is_failure() {
                    Self::Unreachable { decision, address }
                } else {
                    Self::Refused { decision, address }
                }
            }
        }
    }
}
