//! Packages from repositories: fetched where the operator's table says, believed only as the signed index describes them, kept in
//! the blob store so that each is fetched once for all images.
//!
//! No client can ask for them: no repository of images vouches for their digests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use patchport_oci::digest::Algorithm;
use patchport_oci::{Digest, Hasher};
use patchport_packages::{Version, apk};

use crate::blobs::{BlobError, Blobs};
use crate::catalog::{Catalog, CatalogError};
use crate::flight::{Flights, Interrupted};
use crate::index::fetch::{Base, FetchError, Fetcher};
use crate::respond::chain;
use crate::store::{ReadAt, StoreError};
use crate::tasks::Tasks;

/// The largest package that is fetched, in bytes; the largest ones of distributions have some hundred MB.
const MAX_PACKAGE: u64 = 2 << 30;

/// How long one package may take in all.
const WHOLE: Duration = Duration::from_secs(15 * 60);

/// A package in a repository, as the repository's index describes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its architecture, in the words of its package manager.
    pub architecture: String,
    /// Its version.
    pub version: Version,
    /// The repository, as the image names it. It may carry a password: it is never shown.
    pub repository: String,
    /// Its path below the repository.
    pub path: String,
    /// What its index knows it by.
    pub identity: Identity,
    /// The size of its file in bytes.
    pub size: u64,
    /// Where its tool looks for it, below the folder of all packages; nothing where it is told.
    pub place: Option<String>,
}

/// What an index knows the file of a package by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The digest of the file.
    File(Digest),
    /// apk's checksum, of the part of the file that has the checksum of the rest.
    Apk(String),
}

impl Identity {
    /// A digest that is another for another file.
    fn key(&self) -> Digest {
        match self {
            Self::File(digest) => digest.clone(),
            Self::Apk(checksum) => Digest::of(format!("apk {checksum}").as_bytes()),
        }
    }
}

/// What an upgrade is made from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Supply {
    /// The packages.
    pub packages: Vec<Package>,
    /// What else their tool wants to have, by its place below the folder of all packages.
    pub files: Vec<(String, Bytes)>,
}

impl From<Vec<Package>> for Supply {
    fn from(packages: Vec<Package>) -> Self {
        let files = Vec::new();
        Self { packages, files }
    }
}

/// Why a package is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DepotError {
    /// It cannot be fetched.
    #[error("the package {package} cannot be fetched")]
    Fetch {
        /// Its name and version.
        package: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// It is not what the index says.
    #[error("the package at {url} is not what its signed index says: {reason}")]
    Mismatch {
        /// Where it was fetched from, as it may be shown.
        url: String,
        /// In what it differs.
        reason: String,
    },
    /// The store failed.
    #[error("the package {package} cannot be kept")]
    Store {
        /// Its name and version.
        package: String,
        /// Why.
        #[source]
        source: Arc<StoreError>,
    },
    /// The catalog failed.
    #[error("what is known of packages cannot be looked up")]
    Catalog(#[source] Arc<CatalogError>),
    /// What was kept cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The fetching was cut off.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl DepotError {
    /// Whether the repository has moved on since its index was read.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => source.is_missing(),
            Self::Mismatch { .. } => true,
            Self::Store { .. } | Self::Catalog(_) | Self::Blob(_) | Self::Interrupted(_) => false,
        }
    }
}

/// Fetches packages and keeps them.
pub struct Depot {
    fetcher: Arc<Fetcher>,
    blobs: Arc<Blobs>,
    /// Where it is noted which file a package is whose index does not know it by its digest.
    catalog: Catalog,
    fetches: Flights<Digest, Result<Digest, DepotError>>,
}

impl Depot {
    /// Packages in the store of `blobs`, fetched by `tasks`.
    pub fn new(fetcher: Arc<Fetcher>, blobs: Arc<Blobs>, catalog: Catalog, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            fetcher,
            blobs,
            catalog,
            fetches: Flights::new(tasks),
        })
    }

    /// Where their bytes are.
    pub fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    /// Has a package in the store when it returns; the digest of its file.
    ///
    /// # Errors
    /// [`DepotError`] names the package or its URL.
    pub async fn fetch(self: &Arc<Self>, package: &Package) -> Result<Digest, DepotError> {
        // What is in the store need not be fetched, but it must be allowed all the same.
        if let Some(base) = self.bases(package)?.first() {
            let failed = |source| DepotError::Fetch {
                package: label(package),
                source,
            };
            base.admit(&package.path).map_err(failed)?;
        }
        let forgotten = |error| DepotError::Catalog(Arc::new(error));
        let key = package.identity.key();
        let known = match &package.identity {
            Identity::File(digest) => Some(digest.clone()),
            Identity::Apk(_) => self.catalog.package(&key.to_string()).await.map_err(forgotten)?,
        };
        if let Some(digest) = known
            && self.blobs.stored(&digest).await?.is_some()
        {
            return Ok(digest);
        }
        let run = || {
            let (depot, package) = (Arc::clone(self), package.clone());
            async move { depot.download(&package).await }
        };
        let digest = self.fetches.join(key.clone(), run).result().await??;
        if let Identity::Apk(_) = package.identity {
            self.catalog
                .put_package(&key.to_string(), &digest)
                .await
                .map_err(forgotten)?;
        }
        Ok(digest)
    }

    /// Where a package is, as it may be shown.
    pub fn shown(&self, package: &Package) -> String {
        let bases = self.fetcher.bases(&package.repository).unwrap_or_default();
        let base = bases.first();
        base.map_or_else(|| package.path.clone(), |base| base.shown_below(&package.path))
    }

    fn bases(&self, package: &Package) -> Result<Vec<Base>, DepotError> {
        let bases = self.fetcher.bases(&package.repository);
        bases.map_err(|source| DepotError::Fetch {
            package: label(package),
            source,
        })
    }

    async fn download(&self, package: &Package) -> Result<Digest, DepotError> {
        let failed = |source| DepotError::Fetch {
            package: label(package),
            source,
        };
        let bases = self.bases(package)?;
        let mut missing = None;
        for base in &bases {
            // A server that sends a byte now and then never stalls.
            let late = |_| {
                Err(failed(FetchError::Unreachable {
                    url: format!("{}{}", base.shown(), package.path),
                    reason: format!("it was not here within {WHOLE:?}"),
                }))
            };
            let fetched = tokio::time::timeout(WHOLE, self.from(base, package)).await;
            match fetched.unwrap_or_else(late) {
                // An archive may still have what its mirror has dropped.
                Err(DepotError::Fetch { source, package }) if source.is_missing() => {
                    missing = missing.or(Some(DepotError::Fetch { source, package }));
                }
                ended => return ended,
            }
        }
        Err(missing.unwrap_or_else(|| {
            failed(FetchError::Url {
                url: package.path.chars().take(200).collect(),
            })
        }))
    }

    async fn from(&self, base: &Base, package: &Package) -> Result<Digest, DepotError> {
        let kept = |source| DepotError::Store {
            package: label(package),
            source: Arc::new(source),
        };
        let limit = usize::try_from(package.size.min(MAX_PACKAGE)).unwrap_or(usize::MAX);
        let url = format!("{}{}", base.shown(), package.path);
        let opened = base.open(&package.path, limit).await;
        let mut body = opened.map_err(|error| too_large(error, &url, package))?;
        let mut ingest = self.blobs.store().ingest().await.map_err(kept)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        while let Some(chunk) = body.next().await.map_err(|error| too_large(error, &url, package))? {
            hasher.update(&chunk);
            ingest.write(chunk).await.map_err(kept)?;
        }
        let digest = match &package.identity {
            Identity::File(digest) => digest.clone(),
            Identity::Apk(checksum) => {
                check(package.clone(), checksum.clone(), ingest.reader())
                    .await?
                    .map_err(|error| DepotError::Mismatch {
                        url: url.clone(),
                        reason: chain(&error),
                    })?;
                hasher.finish()
            }
        };
        ingest.commit(&digest).await.map_err(|error| match error {
            StoreError::WrongDigest { expected, found } => DepotError::Mismatch {
                url,
                reason: format!("it hashes to {found}, not to {expected}"),
            },
            error => kept(error),
        })?;
        Ok(digest)
    }
}

/// Whether what was written is the package of apk that it should be.
async fn check(
    package: Package,
    checksum: String,
    reader: Arc<dyn ReadAt>,
) -> Result<Result<(), apk::PackageError>, Interrupted> {
    let checked = tokio::task::spawn_blocking(move || {
        let written = std::io::BufReader::with_capacity(1 << 18, Written { reader, offset: 0 });
        apk::check_package(written, &package.name, &package.version.to_string(), &checksum)
    });
    checked.await.map_err(|_| Interrupted)
}

/// Reads what was written so far.
struct Written {
    reader: Arc<dyn ReadAt>,
    offset: u64,
}

impl std::io::Read for Written {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.reader.read_at(self.offset, buffer.len())?;
        let read = std::io::Read::read(&mut &*bytes, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A file that is larger than its index says is another one.
fn too_large(error: FetchError, url: &str, package: &Package) -> DepotError {
    match error {
        FetchError::TooLarge { .. } => DepotError::Mismatch {
            url: url.to_owned(),
            reason: format!("it has more than {} bytes", package.size),
        },
        source => DepotError::Fetch {
            package: label(package),
            source,
        },
    }
}

fn label(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}
