//! Addresses that stand for names inside one sandbox.
//!
//! The sandbox's DNS answers every name with an address of its own out of `198.18.0.0/15`; a connection to that address
//! is one to the name. Which name was meant is so known before a byte has been read, whatever the protocol.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::limits::FAKE_IPS_MAX;
use crate::policy::Hostname;

/// The first address that is given out; those before it are for the DNS server and the like.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);

/// The names of one session. When all addresses are given out, the one unused for longest gets a new name.
#[derive(Debug)]
pub struct FakeIpTable {
    capacity: usize,
    /// By place: the name, and when it was used last.
    entries: Vec<(Hostname, u64)>,
    places: HashMap<Hostname, usize>,
    /// Places by when they were used last.
    by_use: BTreeMap<u64, usize>,
    uses: u64,
}

impl Default for FakeIpTable {
    fn default() -> Self {
        Self::new(FAKE_IPS_MAX)
    }
}

impl FakeIpTable {
    /// Remembers at most `capacity` names, at least one.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, 131_072 - 256);
        Self { capacity, entries: Vec::new(), places: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// The address that stands for a name.
    pub fn address(&mut self, name: &Hostname) -> Ipv4Addr {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => self.place(name),
        };
        self.touch(place);
        // The capacity keeps places within the range.
        let place = u32::try_from(place).unwrap_or_default();
        Ipv4Addr::from_bits(FIRST.to_bits() + place)
    }

    /// The name that an address stands for.
    pub fn name(&mut self, address: IpAddr) -> Option<Hostname> {
        let IpAddr::V4(address) = address else { return None };
        let place = usize::try_from(address.to_bits().checked_sub(FIRST.to_bits())?).ok()?;
        let name = self.entries.get(place)?.0.clone();
        self.touch(place);
        Some(name)
    }

    /// Finds a place for a new name.
    fn place(&mut self, name: &Hostname) -> usize {
        let place = if self.entries.len() < self.capacity {
            self.entries.push((name.clone(), 0));
            self.entries.len() - 1
        } else {
            let (_, oldest) = self.by_use.pop_first().expect("every place has been used");
            let (former, _) = std::mem::replace(&mut self.entries[oldest], (name.clone(), 0));
            self.places.remove(&former);
            oldest
        };
        self.places.insert(name.clone(), place);
        place
    }

    fn touch(&mut self, place: usize) {
        self.uses += 1;
        let last = std::mem::replace(&mut self.entries[place].1, self.uses);
        self.by_use.remove(&last);
        self.by_use.insert(self.uses, place);
    }
}

/// Whether an address belongs to the range that stands for names.
pub fn is_fake_ip(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 198 && v4.octets()[1] & 0xfe == 18)
}
