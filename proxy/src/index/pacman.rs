//! Repositories of pacman: one database per repository, `NAME.db`, with a detached signature beside it or without one, as the image asks.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use patchport_oci::digest::Algorithm;
use patchport_oci::{Digest, Hasher};
use patchport_packages::pacman::{INDEX_LIMIT, Index, Level, Repository};

use super::fetch::{Base, FetchError, Fetcher};
use super::files::Files;
use super::keeper::{Layout, Loaded};
use super::keys::Keyring;
use super::{IndexError, Trouble, vouch};
use crate::respond::chain;

/// The largest database as it is fetched, in bytes; that of Arch Linux's `extra` has 9 MB.
const MAX_PACKED: usize = 256 << 20;
/// The largest signature, in bytes.
const MAX_SIGNATURE: usize = 1 << 20;
/// Servers that are tried of a long list.
const MAX_SERVERS: usize = 4;

/// How repositories of pacman are laid out.
pub struct Pacman;

/// What an image says of where a repository is, and of how far it must be signed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    name: String,
    urls: Vec<String>,
    database: Level,
    allows_unsigned: bool,
}

impl Key {
    /// The key of a repository on a machine of this architecture.
    pub fn of(repository: &Repository, architecture: &str) -> Self {
        Self {
            name: repository.name.clone(),
            urls: repository.urls(architecture),
            database: repository.database,
            allows_unsigned: repository.allows_unsigned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A database and who vouches for it.
pub struct Root {
    bytes: Bytes,
    signature: Option<Bytes>,
    allows_unsigned: bool,
}

#[async_trait]
impl Layout for Pacman {
    type Key = Key;
    type Root = Root;
    type Index = Index;

    async fn load(
        key: &Key,
        fetcher: &Fetcher,
        files: &Files,
        held: Option<&Loaded<Self>>,
    ) -> Result<Loaded<Self>, IndexError> {
        let mut first = None;
        for place in fetcher.mirrors(&key.urls, MAX_SERVERS) {
            let error = match place {
                Ok((_, base)) => match root(key, &base, files).await {
                    Ok(root) => return read(key, &base, root, held).await,
                    // A mirror that is away or behind is no reason to give up.
                    Err(error) => error,
                },
                Err(error) => error,
            };
            first.get_or_insert(error);
        }
        let nowhere = || Trouble::Malformed("it names no server".into());
        Err(IndexError {
            url: key.to_string(),
            trouble: first.map_or_else(nowhere, Trouble::from),
        })
    }

    fn verify(root: &Root, keys: &Keyring, now: SystemTime) -> Result<(), Trouble> {
        if root.signature.is_none() && root.allows_unsigned {
            return Ok(());
        }
        vouch(&root.bytes, root.signature.as_ref(), keys, now)
    }

    fn expires(_: &Root) -> Option<SystemTime> {
        None
    }

    fn is_older(_: &Root, _: &Root) -> bool {
        // Databases do not say when they were made.
        false
    }
}

async fn root(key: &Key, base: &Base, files: &Files) -> Result<Root, FetchError> {
    let name = format!("{}.db", key.name);
    let bytes = files.current(base, &name, MAX_PACKED).await?;
    let signature = match key.database {
        Level::Never => None,
        Level::Optional | Level::Required => match files.current(base, &format!("{name}.sig"), MAX_SIGNATURE).await {
            Ok(signature) => Some(signature),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error),
        },
    };
    Ok(Root {
        bytes,
        signature,
        allows_unsigned: key.allows_unsigned,
    })
}

/// The packages of a database, unless it is the one that is held.
async fn read(key: &Key, base: &Base, root: Root, held: Option<&Loaded<Pacman>>) -> Result<Loaded<Pacman>, IndexError> {
    let url = format!("{}{key}.db", base.shown());
    let refused = |trouble: Trouble| IndexError {
        url: url.clone(),
        trouble,
    };
    let epoch = Digest::of(&root.bytes);
    let signed = {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(epoch.hex().as_bytes());
        hasher.update(root.signature.as_deref().unwrap_or_default());
        hasher.update(&[u8::from(root.allows_unsigned)]);
        hasher.finish()
    };
    if let Some(held) = held.filter(|held| held.signed == signed) {
        return Ok(held.clone());
    }
    let index = match held.filter(|held| held.epoch == epoch) {
        Some(held) => Arc::clone(&held.index),
        None => {
            let (file, bytes) = (key.to_string(), root.bytes.clone());
            let parsed = tokio::task::spawn_blocking(move || Index::read(&file, &bytes, INDEX_LIMIT)).await;
            let parsed = parsed.map_err(|_| refused(Trouble::Interrupted))?;
            Arc::new(parsed.map_err(|error| refused(Trouble::Malformed(chain(&error))))?)
        }
    };
    let keys = Keyring::read(base.keys()).await;
    Ok(Loaded {
        root: Arc::new(root),
        signed,
        index,
        epoch,
        allows_unsigned: base.allows_unsigned(),
        allows_expired: base.allows_expired(),
        keys: keys.map_err(|reason| refused(Trouble::Malformed(reason)))?,
        url: url.clone(),
    })
}
