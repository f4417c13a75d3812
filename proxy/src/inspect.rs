//! An image's packages, read from its layers as they stream through the store. No container is started.
//!
//! A function of the manifest's digest alone, so it is kept for ever.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest, Manifest};
use patchport_packages::layer::{self, Compression, Files, LayerFiles, Limits, Wanted};
use patchport_packages::{Inventory, inventory};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::blobs::BlobError;
use crate::catalog::{Catalog, CatalogError};
use crate::flight::Interrupted;
use crate::library::{Library, LibraryError};
use crate::route::Place;

/// How many layers are read at once.
const PARALLEL: usize = 4;
/// How many layers are read at once in the whole process.
static READERS: Semaphore = Semaphore::const_new(16);
/// The most that is kept of all layers of an image, in bytes; a full desktop's database is a tenth of it.
const MAX_KEPT: u64 = 128 * 1024 * 1024;
/// Raised whenever the same image would be read differently: what older readers found is forgotten.
const READER: u32 = 1;
const DPKG_STATUS: &str = "var/lib/dpkg/status";

/// What an image holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inspected {
    /// Packages of a manager that we know.
    Packages(Box<Inventory>),
    /// No distribution at all: nothing that a package manager could patch.
    NoDistribution,
    /// A distribution whose packages we cannot read yet.
    Unsupported(String),
}

/// Why an image cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A layer cannot be had.
    #[error("layer {digest} cannot be had")]
    Blob {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// A layer is damaged or hostile.
    #[error("layer {digest} cannot be read")]
    Layer {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: layer::Error,
    },
    /// The package database is damaged.
    #[error("the packages of {image} cannot be read")]
    Packages {
        /// The image's manifest.
        image: Digest,
        /// Why.
        #[source]
        source: inventory::Error,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The catalog failed when it was asked who may read a layer.
    #[error(transparent)]
    Library(Arc<CatalogError>),
    /// The reading was cut off.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Reads what an image of a repository holds, from the catalog or from its layers.
///
/// # Errors
/// [`InspectError`] names the layer or file.
pub async fn inspect(
    image: &Manifest,
    place: &Place,
    library: &Library,
    catalog: &Catalog,
) -> Result<Inspected, InspectError> {
    let key = format!("{READER}:{}", image.digest);
    if let Some(known) = catalog.inventory(&key).await? {
        return Ok(known);
    }
    let Content::Image { layers, .. } = &image.content else {
        return Ok(Inspected::NoDistribution);
    };
    let mut reads = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        reads.push(files(layer, place, library));
    }
    let mut reads = futures_util::stream::iter(reads).buffered(PARALLEL);
    let (mut read, mut kept) = (Vec::with_capacity(layers.len()), 0);
    while let Some(files) = reads.try_next().await? {
        kept += files.kept_bytes();
        if kept > MAX_KEPT {
            return Ok(Inspected::Unsupported(
                "its package databases are larger than any real one".into(),
            ));
        }
        read.push(files);
    }
    let inspected = judge(image, &layer::merge(read.iter()))?;
    catalog.put_inventory(&key, &inspected).await?;
    Ok(inspected)
}

fn judge(image: &Manifest, files: &Files) -> Result<Inspected, InspectError> {
    match Inventory::read(files) {
        Ok(inventory) => Ok(Inspected::Packages(Box::new(inventory))),
        Err(inventory::Error::NoOsRelease) if files.read(DPKG_STATUS).is_ok_and(|found| found.is_none()) => {
            Ok(Inspected::NoDistribution)
        }
        Err(inventory::Error::NoOsRelease) => Ok(Inspected::Unsupported(
            "it has packages, but no os-release says of which distribution".into(),
        )),
        Err(inventory::Error::NoDatabase) => Ok(Inspected::Unsupported(
            "its package manager is not supported yet (Debian's and Ubuntu's is)".into(),
        )),
        Err(source) => {
            let image = image.digest.clone();
            Err(InspectError::Packages { image, source })
        }
    }
}

/// The files of one layer that we look at.
async fn files(layer: &Descriptor, place: &Place, library: &Library) -> Result<LayerFiles, InspectError> {
    let failed = |source| InspectError::Blob {
        digest: layer.digest.clone(),
        source,
    };
    // A reader holds a thread while it waits for a download, and the download needs threads to write with.
    let _reader = READERS.acquire().await.map_err(|_| Interrupted)?;
    let fetched = library.blob(place, &layer.digest, Some(layer.size)).await;
    let content = fetched.map_err(|error| match error {
        LibraryError::Blob(source) => failed(source),
        LibraryError::Catalog(error) => InspectError::Library(error),
    })?;
    let broken: Arc<Mutex<Option<BlobError>>> = Arc::default();
    let stream = content.clone().stream(None).map_err({
        let broken = Arc::clone(&broken);
        move |error| {
            *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            io::Error::from(io::ErrorKind::UnexpectedEof)
        }
    });
    let reader = SyncIoBridge::new(StreamReader::new(stream.boxed()));
    let read = tokio::task::spawn_blocking(move || {
        layer::read(reader, Compression::Detect, &Wanted::packages(), &Limits::default())
    });
    let read = read.await.map_err(|_| Interrupted)?;
    let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (read, broken) {
        (_, Some(source)) => Err(failed(source)),
        (Ok(files), None) => Ok(files),
        (Err(source), None) => {
            // Wrong bytes from upstream make a bad tar, too: then that is what is wrong, and it may pass.
            content.verified().await.map_err(failed)?;
            let digest = layer.digest.clone();
            Err(InspectError::Layer { digest, source })
        }
    }
}
