//! apk repositories: an index that carries its own signature, of version 2 (`APKINDEX.tar.gz`) or 3 (`Packages.adb`).

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use patchport_oci::Digest;
use patchport_packages::apk::{INDEX_LIMIT, Index, IndexError as ReadError, Keys};

use super::fetch::{FetchError, Fetcher};
use super::files::Files;
use super::keeper::{Layout, Loaded};
use super::keys::Keyring;
use super::{IndexError, Trouble};
use crate::respond::chain;

/// The largest index as it is fetched, in bytes; Alpine's largest has 2 MB.
const MAX_PACKED: usize = 64 << 20;

/// How apk repositories are laid out.
pub struct Apk;

/// The address of an index.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(pub String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What an address says of a user is not for logs.
        f.write_str(self.0.rsplit('@').next().unwrap_or_default())
    }
}

#[async_trait]
impl Layout for Apk {
    type Key = Key;
    type Root = Bytes;
    type Index = Index;

    async fn load(
        key: &Key,
        fetcher: &Fetcher,
        files: &Files,
        held: Option<&Loaded<Self>>,
    ) -> Result<Loaded<Self>, IndexError> {
        let failed = |trouble: Trouble| IndexError {
            url: key.to_string(),
            trouble,
        };
        let (folder, name) = key.0.rsplit_once('/').unwrap_or(("", &key.0));
        let bases = fetcher.bases(folder).map_err(|error| failed(error.into()))?;
        let mut missing: Option<FetchError> = None;
        for base in &bases {
            let bytes = match files.current(base, name, MAX_PACKED).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_missing() => {
                    missing = missing.or(Some(error));
                    continue;
                }
                Err(error) => return Err(failed(error.into())),
            };
            let signed = Digest::of(&bytes);
            if let Some(held) = held.filter(|held| held.signed == signed) {
                return Ok(held.clone());
            }
            let keys = Keyring::read(base.keys()).await;
            let (file, packed) = (key.to_string(), bytes.clone());
            let parsed = tokio::task::spawn_blocking(move || Index::unverified(&file, &packed, INDEX_LIMIT)).await;
            let parsed = parsed.map_err(|_| failed(Trouble::Interrupted))?;
            return Ok(Loaded {
                root: Arc::new(bytes),
                index: Arc::new(parsed.map_err(|error| failed(Trouble::Malformed(chain(&error))))?),
                epoch: signed.clone(),
                signed,
                url: format!("{}{name}", base.shown()),
                allows_unsigned: base.allows_unsigned(),
                allows_expired: base.allows_expired(),
                keys: keys.map_err(|reason| failed(Trouble::Malformed(reason)))?,
            });
        }
        let nowhere = || FetchError::Url { url: key.to_string() };
        Err(failed(missing.unwrap_or_else(nowhere).into()))
    }

    fn verify(root: &Bytes, keys: &Keyring, _: SystemTime) -> Result<(), Trouble> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let files: Vec<(String, &[u8])> = keys
            .files()
            .iter()
            .map(|(path, key)| (name(path), key.as_slice()))
            .collect();
        let keys = Keys::new(files.iter().map(|(name, key)| (name.as_str(), *key)));
        match Index::read("the index", root, &keys, INDEX_LIMIT) {
            Ok(_) => Ok(()),
            Err(error @ (ReadError::NoSignature { .. } | ReadError::UnknownKey { .. })) => {
                Err(Trouble::Untrusted(error.to_string()))
            }
            Err(error @ ReadError::BadSignature { .. }) => Err(Trouble::Forged(error.to_string())),
            Err(error) => Err(Trouble::Malformed(chain(&error))),
        }
    }

    fn expires(_: &Bytes) -> Option<SystemTime> {
        None
    }

    fn is_older(_: &Bytes, _: &Bytes) -> bool {
        // Indexes of apk do not say when they were made.
        false
    }
}
