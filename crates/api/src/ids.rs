//! Identifiers: a prefix that names the kind, then base58 of 48 bits of milliseconds and 80 random bits.
//!
//! Within one process identifiers of all kinds rise monotonically, so that they sort by creation and the index of the
//! log grows at its right edge. Twenty-two characters after the prefix; the alphabet is the Bitcoin one (no 0, O, I, l).

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::time::Clock;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const DIGITS: usize = 22;
/// Longest identifier that is looked at; anything longer names nothing.
const LENGTH_MAX: usize = 64;

/// A kind of object that identifiers name. The bounds let types that hold an id of any kind derive theirs.
pub trait Kind: Clone + fmt::Debug + Eq {
    /// Text before the underscore, for example `sesn`.
    const PREFIX: &'static str;
}

/// An identifier of one kind. Any text with the right prefix is accepted: ids imported from elsewhere stay valid.
pub struct Id<K> {
    text: Arc<str>,
    kind: PhantomData<fn() -> K>,
}

/// Kinds of identifier.
pub mod kind {
    /// `agent_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Agent {}
    /// `env_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Environment {}
    /// `sesn_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Session {}
    /// `sevt_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Event {}
    /// `sthr_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Thread {}
    /// `wrkspc_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Workspace {}
    /// `apikey_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum ApiKey {}
    /// `req_…`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Request {}

    impl super::Kind for Agent {
        const PREFIX: &'static str = "agent";
    }
    impl super::Kind for Environment {
        const PREFIX: &'static str = "env";
    }
    impl super::Kind for Session {
        const PREFIX: &'static str = "sesn";
    }
    impl super::Kind for Event {
        const PREFIX: &'static str = "sevt";
    }
    impl super::Kind for Thread {
        const PREFIX: &'static str = "sthr";
    }
    impl super::Kind for Workspace {
        const PREFIX: &'static str = "wrkspc";
    }
    impl super::Kind for ApiKey {
        const PREFIX: &'static str = "apikey";
    }
    impl super::Kind for Request {
        const PREFIX: &'static str = "req";
    }
}

/// An agent.
pub type AgentId = Id<kind::Agent>;
/// An environment.
pub type EnvironmentId = Id<kind::Environment>;
/// A session.
pub type SessionId = Id<kind::Session>;
/// An entry of a session's log, public event or not.
pub type EventId = Id<kind::Event>;
/// A thread of a session.
pub type ThreadId = Id<kind::Thread>;
/// A workspace: the tenant that every object belongs to.
pub type WorkspaceId = Id<kind::Workspace>;
/// A server key.
pub type ApiKeyId = Id<kind::ApiKey>;
/// One HTTP request, as told in the `request-id` header.
pub type RequestId = Id<kind::Request>;

impl<K: Kind> Id<K> {
    /// Takes a text as an identifier of this kind; `None` when the prefix is another or the text is no identifier.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(K::PREFIX)?.strip_prefix('_')?;
        let is_plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        let fits = !rest.is_empty() && text.len() <= LENGTH_MAX;
        (is_plain && fits).then(|| Self { text: text.into(), kind: PhantomData })
    }

    /// The whole text, prefix included.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Makes identifiers. Clones share one sequence.
#[derive(Clone)]
pub struct Ids {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    last: u128,
    /// Deterministic stream for tests; the operating system's generator otherwise.
    seed: Option<u64>,
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

impl Ids {
    /// Random identifiers, timed by `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::new(Mutex::new(State { last: 0, seed: None })) }
    }

    /// The same identifiers on every run.
    pub fn seeded(clock: Clock, seed: u64) -> Self {
        Self { clock, state: Arc::new(Mutex::new(State { last: 0, seed: Some(seed) })) }
    }

    /// A new identifier, larger than every one made before it by this source.
    pub fn make<K: Kind>(&self) -> Id<K> {
        let millis = u128::from(self.clock.now().0.max(0).unsigned_abs() / 1000) & 0xffff_ffff_ffff;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let random = state.random_80();
        let mut value = (millis << 80) | random;
        if value <= state.last {
            value = state.last + 1 + (random & 0xffff);
        }
        state.last = value;
        drop(state);
        Id { text: encode(K::PREFIX, value), kind: PhantomData }
    }

    /// A random number below `bound`, for jitter. Zero when `bound` is zero.
    pub fn below(&self, bound: u64) -> u64 {
        let random = self.state.lock().unwrap_or_else(PoisonError::into_inner).random_80();
        u64::try_from(random & u128::from(u64::MAX)).unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }
}

impl State {
    fn random_80(&mut self) -> u128 {
        if let Some(seed) = &mut self.seed {
            // SplitMix64: enough for tests to tell identifiers apart.
            *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *seed;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            return u128::from(mixed ^ (mixed >> 31));
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes[..10])
            .expect("the operating system always has random bytes once it is up");
        u128::from_le_bytes(bytes)
    }
}

fn encode(prefix: &str, mut value: u128) -> Arc<str> {
    let mut digits = [b'1'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[usize::try_from(value % 58).expect("a remainder of 58 fits")];
        value /= 58;
    }
    let digits = std::str::from_utf8(&digits).expect("the alphabet is ASCII");
    format!("{prefix}_{digits}").into()
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self { text: Arc::clone(&self.text), kind: PhantomData }
    }
}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!("expected an id that starts with {}_", K::PREFIX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn ids_rise_even_when_the_clock_stands_still_or_goes_back() {
        let ids = Ids::new(Clock::manual(Timestamp(1_700_000_000_000_000)));
        let mut last: EventId = ids.make();
        for _ in 0..10_000 {
            let next: EventId = ids.make();
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let ids = Ids::seeded(Clock::manual(Timestamp(0)), 7);
        let session: SessionId = ids.make();
        assert_eq!(SessionId::parse(session.as_str()), Some(session.clone()));
        assert_eq!(AgentId::parse(session.as_str()), None);
        assert_eq!(SessionId::parse("sesn_../../etc"), None);
        assert_eq!(SessionId::parse("sesn_"), None);
    }
}
