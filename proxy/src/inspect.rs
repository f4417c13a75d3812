//! An image's packages, read from its layers as they stream through the store. No container is started.
//!
//! A function of the manifest's digest alone, so it is kept for ever.

use std::io;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest};
use patchport_packages::layer::{self, Compression, LayerFiles, Limits, Wanted};
use patchport_packages::{Inventory, inventory};
use serde::{Deserialize, Serialize};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::blobs::{BlobError, Blobs, Origin};
use crate::catalog::{Catalog, CatalogError};
use crate::flight::Interrupted;

/// How many layers are read at once.
const PARALLEL: usize = 4;

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
    /// The reading was cut off.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Reads what an image holds, from the catalog or from its layers.
///
/// # Errors
/// [`InspectError`] names the layer or file.
pub async fn inspect(
    image: &Manifest,
    origin: &Origin,
    blobs: &Blobs,
    catalog: &Catalog,
) -> Result<Inspected, InspectError> {
    if let Some(known) = catalog.inventory(&image.digest).await? {
        return Ok(known);
    }
    let Content::Image { layers, .. } = &image.content else {
        return Ok(Inspected::NoDistribution);
    };
    let mut read = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        read.push(files(
            layer.digest.clone(),
            Origin {
                size: Some(layer.size),
                ..origin.clone()
            },
            blobs,
        ));
    }
    let read: Vec<LayerFiles> = futures_util::stream::iter(read)
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let files = layer::merge(read.iter());
    let inspected = match Inventory::read(&files) {
        Ok(inventory) => Inspected::Packages(Box::new(inventory)),
        Err(inventory::Error::NoOsRelease) => Inspected::NoDistribution,
        Err(inventory::Error::NoDatabase) => {
            Inspected::Unsupported("its package manager is not supported yet (Debian's and Ubuntu's is)".into())
        }
        Err(source) => {
            return Err(InspectError::Packages {
                image: image.digest.clone(),
                source,
            });
        }
    };
    catalog.put_inventory(&image.digest, &inspected).await?;
    Ok(inspected)
}

/// The files of one layer that we look at.
async fn files(digest: Digest, origin: Origin, blobs: &Blobs) -> Result<LayerFiles, InspectError> {
    let failed = |source| InspectError::Blob {
        digest: digest.clone(),
        source,
    };
    let content = blobs.fetch(&digest, &origin).await.map_err(failed)?;
    let broken: Arc<std::sync::Mutex<Option<BlobError>>> = Arc::default();
    let stream = content.stream(None).map_err({
        let broken = Arc::clone(&broken);
        move |error| {
            *broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
            io::Error::from(io::ErrorKind::UnexpectedEof)
        }
    });
    let reader = SyncIoBridge::new(StreamReader::new(stream.boxed()));
    let read = tokio::task::spawn_blocking(move || {
        layer::read(reader, Compression::Detect, &Wanted::packages(), &Limits::default())
    });
    let read = read.await.map_err(|_| Interrupted)?;
    let broken = broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match (read, broken) {
        (_, Some(source)) => Err(failed(source)),
        (Ok(files), None) => Ok(files),
        (Err(source), None) => Err(InspectError::Layer {
            digest: digest.clone(),
            source,
        }),
    }
}
