//! The indexes of the package repositories that images name: fetched, verified, kept compactly, shared, and looked at on a timer.
//!
//! An index is believed by an image only when the image's keys, or the operator's, vouch for it; what cannot be verified is an
//! error that names the repository, and so a case for policy.

pub mod apk;
pub mod apt;
pub mod fetch;
pub mod files;
pub mod keeper;
pub mod keys;
pub mod pacman;
pub mod rpm;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use patchport_config::Repository;
use patchport_packages::openpgp;

use self::apk::Apk;
use self::apt::Apt;
use self::fetch::{FetchError, Fetcher};
use self::files::Files;
use self::keeper::Keeper;
use self::keys::Keyring;
use self::pacman::Pacman;
use self::rpm::Rpm;
use crate::sources::Sources;
use crate::tasks::Tasks;

/// The indexes of all families.
pub struct Indexes {
    /// Of apk repositories.
    pub apk: Arc<Keeper<Apk>>,
    /// Of apt repositories.
    pub apt: Arc<Keeper<Apt>>,
    /// Of pacman's repositories.
    pub pacman: Arc<Keeper<Pacman>>,
    /// Of rpm-md repositories.
    pub rpm: Arc<Keeper<Rpm>>,
    fetcher: Arc<Fetcher>,
    files: Arc<Files>,
    folder: PathBuf,
}

impl Indexes {
    /// Nothing yet. Repositories are reached as the table and the source policy say, files kept in `folder`.
    ///
    /// # Errors
    /// When the table cannot be used.
    pub fn new(table: Vec<Repository>, sources: Sources, folder: PathBuf, tasks: &Tasks) -> anyhow::Result<Arc<Self>> {
        let (fetcher, files) = (
            Arc::new(Fetcher::new(table, sources)?),
            Arc::new(Files::new(folder.clone())),
        );
        Ok(Arc::new(Self {
            apk: Keeper::new(Arc::clone(&fetcher), Arc::clone(&files), tasks.clone()),
            apt: Keeper::new(Arc::clone(&fetcher), Arc::clone(&files), tasks.clone()),
            pacman: Keeper::new(Arc::clone(&fetcher), Arc::clone(&files), tasks.clone()),
            rpm: Keeper::new(Arc::clone(&fetcher), Arc::clone(&files), tasks.clone()),
            fetcher,
            files,
            folder,
        }))
    }

    /// What reaches repositories as the table says.
    pub fn fetcher(&self) -> &Arc<Fetcher> {
        &self.fetcher
    }

    /// What keeps their files.
    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// The folder that files are kept in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks at every index that is held; whether the packages of one have changed.
    pub async fn refresh(&self) -> bool {
        let (apk, apt, pacman, rpm) = (
            self.apk.refresh().await,
            self.apt.refresh().await,
            self.pacman.refresh().await,
            self.rpm.refresh().await,
        );
        !(apk.is_empty() && apt.is_empty() && pacman.is_empty() && rpm.is_empty())
    }
}

/// Why an index cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the package index of {url} is not used: {trouble}")]
pub struct IndexError {
    /// The repository, as it may be shown.
    pub url: String,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What is wrong with an index.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// It cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is not what a repository of its kind has.
    #[error("{0}")]
    Malformed(String),
    /// The repository does not offer what the image asks for.
    #[error("it has no {0}")]
    NotOffered(String),
    /// A file below it is not what it says.
    #[error("{file} is not what its signed index says: {reason}")]
    Mismatch {
        /// The file.
        file: String,
        /// In what it differs.
        reason: String,
    },
    /// Nobody who is trusted has signed it.
    #[error("{0}; give the key to `keys` of a [[repository]] that matches it, or set `unsigned = \"allow\"` there")]
    Untrusted(String),
    /// It was changed after somebody who is trusted signed it.
    #[error("it was changed after it was signed: {0}")]
    Forged(String),
    /// It is too old.
    #[error("it has expired at {}; set `expired = \"allow\"` in a [[repository]] that matches it to use it all the same", shown(*.0))]
    Expired(SystemTime),
    /// It is older than the one that we had.
    #[error("it is older than the one that was there before, as if somebody hid updates")]
    Older,
    /// The loading was cut off.
    #[error("loading it was interrupted")]
    Interrupted,
}

impl Trouble {
    /// Whether it is that nobody who is trusted has signed it.
    fn is_about_trust(&self) -> bool {
        matches!(self, Self::Untrusted(_))
    }
}

impl IndexError {
    fn interrupted(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            trouble: Trouble::Interrupted,
        }
    }
}

/// Whether one of these keys made the signature that stands beside some bytes.
fn vouch(bytes: &[u8], signature: Option<&Bytes>, keys: &Keyring, now: SystemTime) -> Result<(), Trouble> {
    let files: Vec<&[u8]> = keys.files().iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let signature = signature.map(Bytes::as_ref).unwrap_or_default();
    let signer = openpgp::verify_detached(bytes, signature, &files, now);
    signer.map(drop).map_err(|error| trust(&error))
}

/// What a signature that is not good means.
fn trust(error: &openpgp::Error) -> Trouble {
    let reason = crate::respond::chain(error);
    match error {
        // Nobody whom the operator could have meant with `unsigned = "allow"` makes a wrong signature.
        openpgp::Error::Bad { .. } => Trouble::Forged(reason),
        _ => Trouble::Untrusted(reason),
    }
}

fn shown(time: SystemTime) -> String {
    let stamp = jiff::Timestamp::try_from(time);
    stamp.map_or_else(|_| "a time before all times".to_owned(), |stamp| stamp.to_string())
}
