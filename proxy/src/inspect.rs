//! An image's packages, read from its layers as they stream through the store. No container is started.
//!
//! A function of the manifest's digest alone, so it is kept for ever.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest, Manifest};
use patchport_packages::layer::{self, Compression, Files, LayerFiles, Limits, Pattern, Wanted};
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
static READERS: Semaphore = Semaphore::const_new(8);
/// The most that is kept of all layers of an image, in bytes: two of the largest rpm databases that are taken.
const MAX_KEPT: u64 = 512 * 1024 * 1024;
/// Raised whenever the same image would be read differently: what older readers found is forgotten.
const READER: u32 = 5;

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
    if let Some(known) = known(&image.digest, catalog).await? {
        return Ok(known);
    }
    let Content::Image { layers, .. } = &image.content else {
        return Ok(Inspected::NoDistribution);
    };
    let inspected = match merged(layers, place, library, catalog).await? {
        Some(files) => judge(image, &files)?,
        None => Inspected::Unsupported("its package databases are larger than any real one".into()),
    };
    catalog.put_inventory(&key(&image.digest), &inspected).await?;
    Ok(inspected)
}

/// What an image holds, if it was read before.
///
/// # Errors
/// When the catalog fails.
pub async fn known(image: &Digest, catalog: &Catalog) -> Result<Option<Inspected>, CatalogError> {
    catalog.inventory(&key(image)).await
}

/// What an image or a layer is kept under.
fn key(digest: &Digest) -> String {
    format!("{READER}:{digest}")
}

/// The files of an image that tell what is in it, from the catalog or from its layers.
///
/// # Errors
/// [`InspectError`] names the layer; nothing when the image holds more of such files than any real one.
pub async fn files(
    image: &Manifest,
    place: &Place,
    library: &Library,
    catalog: &Catalog,
) -> Result<Option<Files>, InspectError> {
    match &image.content {
        Content::Image { layers, .. } => merged(layers, place, library, catalog).await,
        Content::Index { .. } => Ok(None),
    }
}

async fn merged(
    layers: &[Descriptor],
    place: &Place,
    library: &Library,
    catalog: &Catalog,
) -> Result<Option<Files>, InspectError> {
    let read = all(layers, place, library, catalog).await?;
    Ok(read.map(|read| layer::merge(read.iter())))
}

/// What is kept of each layer of an image, the top first.
///
/// # Errors
/// [`InspectError`] names the layer; nothing when the image holds more of such files than any real one.
pub async fn layers(
    image: &Manifest,
    place: &Place,
    library: &Library,
    catalog: &Catalog,
) -> Result<Option<Vec<LayerFiles>>, InspectError> {
    match &image.content {
        Content::Image { layers, .. } => all(layers, place, library, catalog).await,
        Content::Index { .. } => Ok(None),
    }
}

async fn all(
    layers: &[Descriptor],
    place: &Place,
    library: &Library,
    catalog: &Catalog,
) -> Result<Option<Vec<LayerFiles>>, InspectError> {
    let mut reads = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        reads.push(layer_files(layer, place, library, catalog));
    }
    let mut reads = futures_util::stream::iter(reads).buffered(PARALLEL);
    let mut read: Vec<LayerFiles> = Vec::with_capacity(layers.len());
    let total = |read: &[LayerFiles]| read.iter().map(LayerFiles::kept_bytes).sum::<u64>();
    while let Some(files) = reads.try_next().await? {
        read.push(files);
        // What languages left gives way to what tells the distribution's packages.
        if total(&read) > MAX_KEPT {
            read.iter_mut().for_each(LayerFiles::forget_loose);
        }
        if total(&read) > MAX_KEPT {
            return Ok(None);
        }
    }
    Ok(Some(read))
}

/// What layers are searched for.
pub(crate) fn wanted() -> Wanted {
    Wanted::packages().with(Pattern::ALL)
}

/// The files of one layer: those that were kept of it, else read and kept.
async fn layer_files(
    layer: &Descriptor,
    place: &Place,
    library: &Library,
    catalog: &Catalog,
) -> Result<LayerFiles, InspectError> {
    let key = key(&layer.digest);
    if let Some(bytes) = catalog.layer_files(&key).await? {
        let kept = tokio::task::spawn_blocking(move || LayerFiles::from_bytes(&bytes, &wanted(), &Limits::default()));
        match kept.await.map_err(|_| Interrupted)? {
            Ok(files) => return Ok(files),
            Err(error) => {
                tracing::warn!(layer.digest = %layer.digest, error = crate::respond::chain(&error), "what was kept of a layer is not usable, it is read again");
            }
        }
    }
    let files = read(layer, place, library).await?;
    keep(&layer.digest, files, catalog).await
}

/// Remembers the files of a layer, searched for what is [`wanted`], so that nobody reads it again.
///
/// # Errors
/// Those of the catalog.
pub(crate) async fn keep(layer: &Digest, files: LayerFiles, catalog: &Catalog) -> Result<LayerFiles, InspectError> {
    let (files, bytes) = tokio::task::spawn_blocking(move || (files.to_bytes(), files))
        .await
        .map(|(bytes, files)| (files, bytes))
        .map_err(|_| Interrupted)?;
    match bytes {
        Ok(bytes) => catalog.put_layer_files(&key(layer), &bytes).await?,
        Err(error) => tracing::warn!(layer.digest = %layer, %error, "the files of a layer cannot be kept"),
    }
    Ok(files)
}

fn judge(image: &Manifest, files: &Files) -> Result<Inspected, InspectError> {
    match Inventory::read(files) {
        Ok(inventory) => Ok(Inspected::Packages(Box::new(inventory))),
        Err(inventory::Error::NoOsRelease) if !inventory::has_database(files) => Ok(Inspected::NoDistribution),
        Err(inventory::Error::NoOsRelease) => Ok(Inspected::Unsupported(
            "it has packages, but no os-release says of which distribution".into(),
        )),
        Err(inventory::Error::NoDatabase) => Ok(Inspected::Unsupported(
            "it names a distribution, but has no package database that is known here".into(),
        )),
        Err(source) => {
            let image = image.digest.clone();
            Err(InspectError::Packages { image, source })
        }
    }
}

/// Reads the files of one layer that we look at.
async fn read(layer: &Descriptor, place: &Place, library: &Library) -> Result<LayerFiles, InspectError> {
    let wanted = |reader: LayerReader| layer::read(reader, Compression::Detect, &wanted(), &Limits::default());
    read_with(layer, place, library, wanted).await
}

/// A layer's bytes while they come in.
pub(crate) type LayerReader = Box<dyn io::Read + Send>;

/// Has a layer read by `work`, on a thread of its own.
///
/// # Errors
/// [`InspectError`] names the layer.
pub(crate) async fn read_with<T: Send + 'static>(
    layer: &Descriptor,
    place: &Place,
    library: &Library,
    work: impl FnOnce(LayerReader) -> Result<T, layer::Error> + Send + 'static,
) -> Result<T, InspectError> {
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
    let read = tokio::task::spawn_blocking(move || work(Box::new(reader)));
    let read = read.await.map_err(|_| Interrupted)?;
    let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (read, broken) {
        (_, Some(source)) => Err(failed(source)),
        (Ok(read), None) => Ok(read),
        (Err(source), None) => {
            // Wrong bytes from upstream make a bad tar, too: then that is what is wrong, and it may pass.
            content.verified().await.map_err(failed)?;
            let digest = layer.digest.clone();
            Err(InspectError::Layer { digest, source })
        }
    }
}
