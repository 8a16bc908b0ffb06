//! Which addresses nobody's request may reach, and how addresses are spelled.
//!
//! The check is made on the very address that is then connected to, never on a name: names lead wherever their owner
//! likes. [`judge`] is pure; [`check_address`] adds what this host's own addresses are.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::policy::Network;
use crate::policy::Policy;
use crate::sys;

/// How long a list of the host's own addresses is believed.
const OWN_ADDRESSES_AGE_MAX: Duration = Duration::from_secs(5);

/// Why an address may not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is refused: {reason}")]
pub struct Refusal {
    /// The address as it was judged: the IPv4 address inside, where one is wrapped in an IPv6 address.
    pub address: IpAddr,
    /// What the address is.
    pub reason: &'static str,
}

/// How firmly a range is refused.
#[derive(Clone, Copy, PartialEq)]
enum Firmness {
    /// Whatever the operator permits.
    Always,
    /// Unless the operator permits the network.
    UnlessPermitted,
}

use Firmness::Always;
use Firmness::UnlessPermitted;

/// Refused ranges of IPv4: first address, leading bits, firmness, what it is.
const REFUSED_V4: &[(Ipv4Addr, u32, Firmness, &str)] = &[
    (Ipv4Addr::UNSPECIFIED, 8, Always, "it means this host"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Always, "it is a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Always, "it is link-local, where metadata services are"),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Always, "it is a metadata service"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Always, "it is a metadata service"),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Always, "it is a metadata service"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Always, "it is a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Always, "it is reserved"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Always, "it stands for a name inside sandboxes"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, UnlessPermitted, "it is a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, UnlessPermitted, "it is a private address of a carrier"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, UnlessPermitted, "it is a private address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, UnlessPermitted, "it is a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, UnlessPermitted, "it is reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, UnlessPermitted, "it is for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, UnlessPermitted, "it is reserved"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, UnlessPermitted, "it is for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, UnlessPermitted, "it is for documentation"),
];

/// Refused ranges of IPv6, as above.
const REFUSED_V6: &[(Ipv6Addr, u32, Firmness, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, Always, "it means this host"),
    (Ipv6Addr::LOCALHOST, 128, Always, "it is a loopback address"),
    (Ipv6Addr::UNSPECIFIED, 96, Always, "it wraps an IPv4 address"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, Always, "it wraps an IPv4 address"),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, Always, "it wraps an IPv4 address"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Always, "it wraps an IPv4 address"),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Always, "it is a metadata service"),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Always, "it is a metadata service"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Always, "it is link-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Always, "it is a multicast address"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, UnlessPermitted, "it is a private address"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, UnlessPermitted, "it is a private address"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, UnlessPermitted, "it is for documentation"),
];

/// A network that is refused unless the operator says otherwise, or in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedNetwork {
    /// Which addresses.
    pub network: Network,
    /// What they are.
    pub reason: &'static str,
    /// Whether an operator's permission counts.
    pub can_be_permitted: bool,
}

/// The built-in list, for people: what [`judge`] refuses besides this host's own addresses and what is no public IPv6
/// address.
pub fn refused() -> impl Iterator<Item = RefusedNetwork> {
    let v4 =
        REFUSED_V4.iter().map(|(first, bits, firmness, what)| (IpAddr::V4(*first), *bits, *firmness, *what));
    let v6 =
        REFUSED_V6.iter().map(|(first, bits, firmness, what)| (IpAddr::V6(*first), *bits, *firmness, *what));
    v4.chain(v6).filter_map(|(first, bits, firmness, reason)| {
        let network = Network::new(first, u8::try_from(bits).ok()?)?;
        Some(RefusedNetwork { network, reason, can_be_permitted: firmness == UnlessPermitted })
    })
}

/// Whether a request may go to an address, as far as the policy and this host's own addresses say.
pub fn check_address(policy: &Policy, address: IpAddr) -> Result<(), Refusal> {
    judge(policy, &own_addresses(), address)
}

/// Whether a request may go to an address, on a host that has the addresses `own`.
pub fn judge(policy: &Policy, own: &[IpAddr], address: IpAddr) -> Result<(), Refusal> {
    let refuse = |reason| Err(Refusal { address, reason });
    if policy.refused_networks.iter().any(|network| network.contains(address)) {
        return refuse("the operator refuses its network");
    }
    if own.contains(&address) {
        return refuse("it is an address of this host");
    }
    let is_permitted = policy.permitted_networks.iter().any(|network| network.contains(address));
    match built_in(address) {
        Some((reason, firmness)) if firmness == Always || !is_permitted => return refuse(reason),
        Some(_) | None => {}
    }
    match address {
        IpAddr::V4(_) => Ok(()),
        IpAddr::V6(v6) => wrapped(v6).map_or(Ok(()), |inner| judge(policy, own, IpAddr::V4(inner))),
    }
}

fn built_in(address: IpAddr) -> Option<(&'static str, Firmness)> {
    match address {
        IpAddr::V4(v4) => REFUSED_V4
            .iter()
            .find(|(first, bits, _, _)| (first.to_bits() ^ v4.to_bits()) >> (32 - bits) == 0)
            .map(|(_, _, firmness, reason)| (*reason, *firmness)),
        IpAddr::V6(v6) => REFUSED_V6
            .iter()
            .find(|(first, bits, _, _)| (first.to_bits() ^ v6.to_bits()) >> (128 - bits) == 0)
            .map(|(_, _, firmness, reason)| (*reason, *firmness))
            .or_else(|| (!is_global(v6)).then_some(("it is no public address", UnlessPermitted))),
    }
}

/// Global unicast is what has been given out so far, and the prefix by which networks without IPv4 reach it.
fn is_global(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000 || address.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
}

/// The IPv4 address that a packet to this IPv6 address would end at: NAT64, 6to4, Teredo.
fn wrapped(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(pair(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(pair(!high, !low)),
        [..] => None,
    }
}

/// The addresses of this host's interfaces, at most some seconds old.
fn own_addresses() -> Arc<[IpAddr]> {
    static KNOWN: Mutex<Option<(Instant, Arc<[IpAddr]>)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, addresses)) = &*known
        && at.elapsed() < OWN_ADDRESSES_AGE_MAX
    {
        return Arc::clone(addresses);
    }
    // When the kernel cannot be asked, what was known before is better than nothing.
    let addresses: Arc<[IpAddr]> = match sys::interface_addresses() {
        Ok(addresses) => addresses.into(),
        Err(_) => known.as_ref().map_or_else(|| Arc::from([]), |(_, addresses)| Arc::clone(addresses)),
    };
    *known = Some((Instant::now(), Arc::clone(&addresses)));
    addresses
}

/// An IPv6 address, with or without brackets. A zone is cut off: it can only belong to a link-local address.
pub(crate) fn parse_v6(text: &str) -> Option<IpAddr> {
    let inner = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    let inner = inner.split('%').next().unwrap_or(inner);
    let address: Ipv6Addr = inner.parse().ok()?;
    // A socket for a mapped address is one for the IPv4 address inside.
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

/// An IPv4 address in any spelling that `inet_aton` takes: one to four parts, each decimal, octal or hexadecimal, the last
/// one filling what is left. A dot at the end is ignored.
pub(crate) fn parse_v4(text: &str) -> Option<IpAddr> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let parts: Vec<u64> = text.split('.').map(parse_number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let free_bits = 32 - 8 * u32::try_from(leading.len()).ok()?;
    if *last >> free_bits != 0 {
        return None;
    }
    let high = leading.iter().fold(0, |sum, part| sum << 8 | part);
    let bits = u32::try_from(high << free_bits | last).ok()?;
    Some(IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

/// Whether a label is a number to a resolver that follows `inet_aton`.
pub(crate) fn is_number(label: &str) -> bool {
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hex.is_some_and(is_hex) || (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
}

fn parse_number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if hex.is_empty() { Some(0) } else { u64::from_str_radix(hex, 16).ok().filter(|_| is_hex) };
    }
    if !is_number(text) {
        return None;
    }
    let radix = if text.len() > 1 && text.starts_with('0') { 8 } else { 10 };
    u64::from_str_radix(text, radix).ok()
}
