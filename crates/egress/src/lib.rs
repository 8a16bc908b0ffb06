//! The only door of a sandbox to the network.
//!
//! A sandbox has a network of its own with nothing in it. Its listeners are held by this process, outside: a DNS server
//! that answers names with addresses of its own, and a proxy that clients may know of or not. Which session a connection
//! belongs to is which listener it came through, so there is nothing that a sandbox could forge.
//!
//! Pure parts: [`policy`], [`decide`], [`address`] and the parsers of outside bytes ([`dns`], [`hello`], [`http`],
//! [`body`], [`socks`]). The rest is one [`session::Session`] per sandbox and the process around them, [`process`].

pub mod address;
pub mod authority;
pub mod body;
pub mod channel;
pub mod client;
mod confine;
mod connection;
pub mod decide;
mod dial;
pub mod dns;
pub mod fake_ips;
pub mod grant;
pub mod hello;
pub mod http;
pub mod limits;
mod packets;
pub mod policy;
pub mod process;
mod proxy;
pub mod reports;
pub mod resolve;
pub mod rules;
mod serve;
mod servers;
pub mod session;
mod sessions;
pub mod socks;
mod stub;
mod sys;
mod tasks;
mod tls;
pub mod usage_log;
pub mod wire;

pub use channel::Channel;
pub use client::Client;
pub use grant::Grant;
pub use policy::Policy;
pub use process::main;
pub use reports::Reports;
pub use rules::OperatorRules;
pub use serve::serve;
pub use tls::Roots;
