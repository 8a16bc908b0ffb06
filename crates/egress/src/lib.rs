//! The only door of a sandbox to the network.
//!
//! A sandbox has a network of its own with nothing in it. Its listeners are held by this process, outside: a DNS server
//! that answers names with addresses of its own, and a proxy that clients may know of or not. Which session a connection
//! belongs to is which listener it came through, so there is nothing that a sandbox could forge.
//!
//! Pure parts: [`policy`], [`decide`], [`address`] and the parsers of outside bytes ([`dns`], [`hello`], [`http`],
//! [`body`], [`socks`]). The rest is one [`session::Session`] per sandbox and the process around them, [`role`].

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
pub mod grant;
pub mod hello;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod names;
mod packets;
pub mod policy;
mod proxy;
pub mod reports;
pub mod resolve;
pub mod role;
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
pub mod wire;

pub use channel::Channel;
pub use client::Client;
pub use grant::Grant;
pub use policy::Policy;
pub use reports::Reports;
pub use role::main;
pub use rules::OperatorRules;
pub use serve::serve;
pub use tls::Roots;
