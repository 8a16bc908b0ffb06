//! The name of this process among the servers that share a database.
//!
//! A data folder has a name that lasts, kept in its file `node`, and each start adds one of its own. The file is locked
//! while the server lives, so whoever holds the lock knows that the leases of earlier starts belong to the dead, and
//! need not wait until they expire.

use std::fs::File;
use std::fs::TryLockError;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use api::ids::Ids;
use api::ids::RequestId;

use crate::data::NODE;

/// A data folder that is ours for as long as this lives.
pub(crate) struct Node {
    /// What the names of all starts on this folder begin with.
    pub(crate) prefix: String,
    /// The name of this start.
    pub(crate) name: String,
    _lock: File,
}

impl Node {
    /// Takes the folder; fails when another server has it.
    pub(crate) fn claim(data: &Path, ids: &Ids) -> Result<Self> {
        let path = data.join(NODE);
        let mut options = File::options();
        let mut file = options
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("use the data folder {}: another server is using this data", data.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        let mut kept = String::new();
        file.read_to_string(&mut kept).with_context(|| format!("read {}", path.display()))?;
        if kept.is_empty() {
            kept = unique(ids);
            file.write_all(kept.as_bytes()).with_context(|| format!("write {}", path.display()))?;
        }
        let prefix = format!("{}/", kept.trim());
        let name = format!("{prefix}{}", unique(ids));
        Ok(Self { prefix, name, _lock: file })
    }
}

fn unique(ids: &Ids) -> String {
    let id: RequestId = ids.make();
    id.as_str().rsplit('_').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use api::time::Clock;

    use super::*;

    #[test]
    fn the_name_of_a_folder_lasts_and_the_name_of_a_start_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let ids = Ids::new(Clock::system());
        let first = Node::claim(folder.path(), &ids).unwrap();
        assert!(Node::claim(folder.path(), &ids).is_err(), "the folder is taken");
        let (prefix, name) = (first.prefix.clone(), first.name.clone());
        drop(first);
        let second = Node::claim(folder.path(), &ids).unwrap();
        assert_eq!(second.prefix, prefix);
        assert_ne!(second.name, name);
        assert!(second.name.starts_with(&prefix));
    }
}
