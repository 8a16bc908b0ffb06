//! Server keys: made here, kept as hashes in the store.
//!
//! A key is `sk-jm-` and base58 of 32 random bytes. The first start makes one and prints it, unless
//! `JOURNEYMAN_API_KEY` fixes it. All keys belong to one workspace, which begins with the first key.

use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use api::ids::ApiKeyId;
use api::ids::Ids;
use api::ids::WorkspaceId;
use api::time::Clock;
use sha2::Digest;
use sha2::Sha256;
use store::KeyColumns;
use store::KeyRecord;
use store::Store;

use crate::cli::Common;
use crate::cli::Keys;
use crate::config::Config;
use crate::environment::Environment;
use crate::serve;
use crate::serve::Running;

const PREFIX: &str = "sk-jm-";
const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

impl Keys {
    /// The flags that every one of these commands has.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Create { common, .. } | Self::List { common } | Self::Revoke { common, .. } => common,
        }
    }
}

/// `keys create | list | revoke`
pub(crate) async fn run(config: &Config, command: &Keys) -> Result<ExitCode> {
    let store = serve::open_store(&config.settings).await?;
    let clock = Clock::system();
    match command {
        Keys::Create { name, .. } => {
            let ids = Ids::new(clock.clone());
            let key = make();
            insert(&store, &clock, &ids, &key, name).await?;
            println!("{key}");
        }
        Keys::List { .. } => {
            println!("{:<29} {:<28} {:<28} name", "id", "created", "revoked");
            for key in store.list_keys().await.context("list keys")? {
                let revoked = key.archived_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
                println!(
                    "{:<29} {:<28} {revoked:<28} {}",
                    key.id.as_str(),
                    key.created_at.to_string(),
                    key.columns.name
                );
            }
        }
        Keys::Revoke { id, .. } => {
            let id = ApiKeyId::parse(id)
                .with_context(|| format!("{id} is not the id of a key: see `keys list`"))?;
            store.revoke_key(&id, clock.now()).await?;
            println!("revoked {id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that there is a key: the fixed one when given, else the one of the first start. Returns the text of a
/// key that was made here, which nobody else will ever see again.
pub(crate) async fn ensure(
    store: &Store,
    clock: &Clock,
    ids: &Ids,
    fixed: Option<&str>,
) -> Result<Option<String>> {
    if let Some(key) = fixed {
        insert_fixed(store, clock, ids, key).await?;
        return Ok(None);
    }
    if !store.list_keys().await.context("list keys")?.is_empty() {
        return Ok(None);
    }
    let key = make();
    insert(store, clock, ids, &key, "first").await?;
    Ok(Some(key))
}

/// Puts a key into the store, into the workspace of the keys that are there.
async fn insert(store: &Store, clock: &Clock, ids: &Ids, key: &str, name: &str) -> Result<()> {
    let keys = store.list_keys().await.context("list keys")?;
    let workspace: WorkspaceId = keys.first().map_or_else(|| ids.make(), |key| key.workspace.clone());
    let columns = KeyColumns { name: name.to_owned(), hash: hash(key) };
    let record = KeyRecord::new(ids.make(), workspace, clock.now(), columns);
    store.insert(&record).await.with_context(|| format!("keep the key {name}"))
}

/// A key for a server of this process: the fixed one, the one that this first start made, or a new one.
pub(crate) async fn usable(running: &Running, environment: &Environment, name: &str) -> Result<String> {
    if let Some(key) = environment.get("JOURNEYMAN_API_KEY").or(running.key.as_deref()) {
        return Ok(key.to_owned());
    }
    let key = make();
    let clock = Clock::system();
    insert(&running.store, &clock, &Ids::new(clock.clone()), &key, name).await?;
    Ok(key)
}

/// A new key.
fn make() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system always has random bytes once it is up");
    format!("{PREFIX}{}", base58(&bytes))
}

async fn insert_fixed(store: &Store, clock: &Clock, ids: &Ids, key: &str) -> Result<()> {
    let hash = hash(key);
    if store.find_key(&hash).await.context("look for the key")?.is_none() {
        let inserted = insert(store, clock, ids, key, "JOURNEYMAN_API_KEY").await;
        // Another server that starts at the same time on the same database may have been faster.
        if store.find_key(&hash).await.context("look for the key")?.is_none() {
            return inserted;
        }
    }
    match store.find_key(&hash).await.context("look for the key")? {
        Some(found) if found.archived_at.is_some() => bail!("the key in JOURNEYMAN_API_KEY was revoked"),
        Some(_) | None => Ok(()),
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Base58 of a big-endian number, without a checksum; 44 digits, so that all keys look alike.
fn base58(bytes: &[u8; 32]) -> String {
    let mut digits = [0_u32; 44];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in digits.iter_mut().rev() {
            let value = *digit * 256 + carry;
            *digit = value % 58;
            carry = value / 58;
        }
    }
    digits
        .iter()
        .map(|digit| char::from(ALPHABET[usize::try_from(*digit).expect("a digit is below 58")]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base58_of_known_numbers() {
        assert_eq!(base58(&[0; 32]), "1".repeat(44));
        let mut one = [0; 32];
        one[31] = 58;
        assert_eq!(base58(&one), format!("{}21", "1".repeat(42)));
        assert_eq!(base58(&[0xff; 32]), "JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG");
    }

    #[test]
    fn keys_are_long_and_differ() {
        let key = make();
        assert_eq!(key.len(), PREFIX.len() + 44);
        assert_ne!(key, make());
    }
}
