//! Indexes in memory: each loaded once however many images name it, verified before it takes the place of another, and looked at
//! again on a timer.
//!
//! Whom an image trusts is its own matter: an index that one image's keys vouch for is nothing to an image with other keys until
//! those have verified it, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use moka::sync::Cache;
use patchport_oci::Digest;

use super::fetch::Fetcher;
use super::files::Files;
use super::keys::Keyring;
use super::{IndexError, Trouble};
use crate::flight::{Flights, Interrupted};
use crate::tasks::Tasks;

/// Keyrings that are remembered for an index, so that a newer one can be verified on the timer.
const MAX_KEYRINGS: usize = 16;
/// Indexes that are held at most: a mirror of a thousand repositories stays below it.
const MAX_HELD: usize = 2000;

/// Indexes that are looked at at the same time.
const AT_ONCE: usize = 8;

/// How a family of package managers lays out its repositories.
#[async_trait]
pub trait Layout: Send + Sync + Sized + 'static {
    /// What names an index.
    type Key: Clone + Eq + std::hash::Hash + std::fmt::Display + Send + Sync + 'static;
    /// What of it is signed, with what says so.
    type Root: Send + Sync + 'static;
    /// The packages.
    type Index: Send + Sync + 'static;

    /// Fetches the root, and the index unless it is the one in `held`. Nothing of it is verified but what the root says of the
    /// index.
    async fn load(
        key: &Self::Key,
        fetcher: &Fetcher,
        files: &Files,
        held: Option<&Loaded<Self>>,
    ) -> Result<Loaded<Self>, IndexError>;

    /// Whether one of these keys vouches for the root.
    fn verify(root: &Self::Root, keys: &Keyring, now: SystemTime) -> Result<(), Trouble>;

    /// Until when the root is to be believed, where it says so.
    fn expires(root: &Self::Root) -> Option<SystemTime>;

    /// Whether `new` is older than `old`: a server that serves old indexes hides fixes.
    fn is_older(new: &Self::Root, old: &Self::Root) -> bool;
}

/// An index, and what it was made from.
pub struct Loaded<L: Layout> {
    /// What is signed.
    pub root: Arc<L::Root>,
    /// The digest of what is signed.
    pub signed: Digest,
    /// The packages.
    pub index: Arc<L::Index>,
    /// The digest of the packages' file: it changes when they do.
    pub epoch: Digest,
    /// Where it was found, as it may be shown.
    pub url: String,
    /// Whether the operator believes it unsigned.
    pub allows_unsigned: bool,
    /// Whether the operator believes it when it has expired.
    pub allows_expired: bool,
    /// Keys that the operator trusts for it.
    pub keys: Keyring,
}

impl<L: Layout> Clone for Loaded<L> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            signed: self.signed.clone(),
            index: Arc::clone(&self.index),
            epoch: self.epoch.clone(),
            url: self.url.clone(),
            keys: self.keys.clone(),
            ..*self
        }
    }
}

/// An index that is held, and those who trust it.
struct Held<L: Layout> {
    loaded: Loaded<L>,
    keyrings: Vec<Keyring>,
}

/// The indexes of one layout.
pub struct Keeper<L: Layout> {
    fetcher: Arc<Fetcher>,
    files: Arc<Files>,
    held: Arc<Mutex<HashMap<L::Key, Held<L>>>>,
    /// What was verified: what is signed, and by which keys.
    verified: Cache<(Digest, Digest), ()>,
    loads: Flights<(L::Key, Digest), Result<(), IndexError>>,
}

impl<L: Layout> Keeper<L> {
    /// Nothing yet; indexes are loaded by `tasks`.
    pub fn new(fetcher: Arc<Fetcher>, files: Arc<Files>, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            fetcher,
            files,
            held: Arc::default(),
            verified: Cache::new(100_000),
            loads: Flights::new(tasks),
        })
    }

    /// An index that these keys vouch for, loaded when it is not held yet.
    ///
    /// # Errors
    /// [`IndexError`] names the repository and what is wrong with it.
    pub async fn index(self: &Arc<Self>, key: &L::Key, keys: &Keyring) -> Result<Loaded<L>, IndexError> {
        if let Some(loaded) = self.held(key) {
            return self.trusted(key, loaded, keys);
        }
        let run = || {
            let (keeper, key, keys) = (Arc::clone(self), key.clone(), keys.clone());
            async move {
                let loaded = L::load(&key, &keeper.fetcher, &keeper.files, None).await?;
                keeper.verify(&loaded, &keys)?;
                keeper.hold(&key, loaded, keys);
                Ok(())
            }
        };
        let load = self.loads.join((key.clone(), keys.digest().clone()), run);
        load.result()
            .await
            .map_err(|Interrupted| IndexError::interrupted(&key.to_string()))??;
        let loaded = self
            .held(key)
            .ok_or_else(|| IndexError::interrupted(&key.to_string()))?;
        self.trusted(key, loaded, keys)
    }

    /// An index that is held and that these keys vouch for, without asking anybody.
    pub fn known(&self, key: &L::Key, keys: &Keyring) -> Option<Loaded<L>> {
        self.trusted(key, self.held(key)?, keys).ok()
    }

    /// Looks at all indexes that are held, and gives the keys of those that have changed.
    pub async fn refresh(self: &Arc<Self>) -> Vec<L::Key> {
        let keys = self.lock().keys().cloned().collect();
        self.refresh_all(keys).await
    }

    /// Looks at those of these indexes that are held, and gives the keys of those that have changed.
    pub async fn refresh_all(&self, keys: Vec<L::Key>) -> Vec<L::Key> {
        let looks = keys.into_iter().map(|key| async move {
            match self.refresh_one(&key).await {
                Ok(changed) => changed.then_some(key),
                Err(error) => {
                    tracing::warn!(index.key = %key, error = crate::respond::chain(&error), "a package index cannot be refreshed, the one before stays");
                    None
                }
            }
        });
        let looks = futures_util::stream::iter(looks).buffer_unordered(AT_ONCE);
        looks.filter_map(std::future::ready).collect().await
    }

    /// Looks at one index that is held; whether its packages have changed.
    ///
    /// # Errors
    /// [`IndexError`]; the index that is held stays.
    pub async fn refresh_one(&self, key: &L::Key) -> Result<bool, IndexError> {
        let Some((held, keyrings)) = self
            .lock()
            .get(key)
            .map(|held| (held.loaded.clone(), held.keyrings.clone()))
        else {
            return Ok(false);
        };
        let loaded = L::load(key, &self.fetcher, &self.files, Some(&held)).await?;
        if loaded.signed == held.signed {
            return Ok(false);
        }
        if L::is_older(&loaded.root, &held.root) {
            return Err(IndexError {
                url: loaded.url,
                trouble: Trouble::Older,
            });
        }
        // It must satisfy somebody who trusted the one before.
        let mut refused = None;
        let vouching = keyrings.iter().find(|keys| match self.verify(&loaded, keys) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        });
        match (vouching.cloned(), refused) {
            (Some(keys), _) => {
                let is_new = loaded.epoch != held.epoch;
                if is_new {
                    self.files.forget(&held.epoch).await;
                    tracing::info!(index.url = loaded.url, index.epoch = %loaded.epoch, "a package index has changed");
                }
                self.hold(key, loaded, keys);
                Ok(is_new)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(false),
        }
    }

    fn held(&self, key: &L::Key) -> Option<Loaded<L>> {
        self.lock().get(key).map(|held| held.loaded.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<L::Key, Held<L>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an index in its place. One that was there keeps those who trust it.
    fn hold(&self, key: &L::Key, loaded: Loaded<L>, keys: Keyring) {
        let mut held = self.lock();
        let before = held.remove(key);
        if held.len() >= MAX_HELD {
            tracing::warn!(index.key = %key, limit = MAX_HELD, "too many package indexes are held, this one is not");
            return;
        }
        let mut keyrings = before.map_or_else(Vec::new, |held| held.keyrings);
        keyrings.retain(|known| known.digest() != keys.digest());
        keyrings.insert(0, keys);
        keyrings.truncate(MAX_KEYRINGS);
        held.insert(key.clone(), Held { loaded, keyrings });
    }

    /// The index, once these keys vouch for it.
    fn trusted(&self, key: &L::Key, loaded: Loaded<L>, keys: &Keyring) -> Result<Loaded<L>, IndexError> {
        let known = (loaded.signed.clone(), keys.digest().clone());
        let was_known = self.verified.contains_key(&known);
        self.verify(&loaded, keys)?;
        if !was_known {
            let mut held = self.lock();
            if let Some(held) = held.get_mut(key).filter(|held| held.keyrings.len() < MAX_KEYRINGS)
                && held.keyrings.iter().all(|known| known.digest() != keys.digest())
            {
                held.keyrings.push(keys.clone());
            }
        }
        Ok(loaded)
    }

    fn verify(&self, loaded: &Loaded<L>, keys: &Keyring) -> Result<(), IndexError> {
        let refused = |trouble| IndexError {
            url: loaded.url.clone(),
            trouble,
        };
        let now = SystemTime::now();
        if let Some(until) = L::expires(&loaded.root).filter(|until| *until < now && !loaded.allows_expired) {
            return Err(refused(Trouble::Expired(until)));
        }
        let known = (loaded.signed.clone(), keys.digest().clone());
        if self.verified.contains_key(&known) {
            return Ok(());
        }
        match L::verify(&loaded.root, &keys.with(&loaded.keys), now) {
            Err(trouble) if !(trouble.is_about_trust() && loaded.allows_unsigned) => Err(refused(trouble)),
            Ok(()) | Err(_) => {
                self.verified.insert(known, ());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
