//! rpm-md repositories: `repomd.xml`, vouched for by its signature or by a metalink, and the lists of packages and advisories below it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use patchport_oci::digest::Algorithm;
use patchport_oci::{Digest, Hasher};
use patchport_packages::apt::decompress;
use patchport_packages::rpm::metadata::{Checksum, Data, Metalink, Repomd, mirror_list};
use patchport_packages::rpm::{Index, Repository};

use super::fetch::{Base, FetchError, Fetcher};
use super::files::Files;
use super::keeper::{Layout, Loaded};
use super::keys::Keyring;
use super::{IndexError, Trouble, vouch};
use crate::respond::chain;

/// The largest `repomd.xml`, signature, metalink or list of mirrors, in bytes.
const MAX_SMALL: usize = 8 << 20;
/// The largest list of packages or advisories as it is fetched; Fedora's has 20 MB.
const MAX_PACKED: usize = 256 << 20;
/// The same unpacked.
const MAX_UNPACKED: u64 = 2 << 30;
/// Mirrors that are tried of a long list.
const MAX_MIRRORS: usize = 4;

/// How rpm-md repositories are laid out.
pub struct Rpm;

/// What an image says of where a repository is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    id: String,
    bases: Vec<String>,
    metalink: Option<String>,
    mirrors: Option<String>,
}

impl Key {
    /// The key of a repository.
    pub fn of(repository: &Repository) -> Self {
        Self {
            id: repository.id.clone(),
            bases: repository.base_urls.clone(),
            metalink: repository.metalink.clone(),
            mirrors: repository.mirror_list.clone(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// A `repomd.xml` and who vouches for it.
pub struct Root {
    /// The URL that the image, or its list of mirrors, has for it. It may carry a password: it is never shown.
    place: String,
    text: Bytes,
    signature: Option<Bytes>,
    /// A metalink that came over TLS names its checksum.
    vouched: bool,
    revision: Option<u64>,
}

impl Root {
    /// The URL of the repository, as the image or its list of mirrors has it.
    pub fn place(&self) -> &str {
        &self.place
    }
}

#[async_trait]
impl Layout for Rpm {
    type Key = Key;
    type Root = Root;
    type Index = Index;

    async fn load(
        key: &Key,
        fetcher: &Fetcher,
        files: &Files,
        held: Option<&Loaded<Self>>,
    ) -> Result<Loaded<Self>, IndexError> {
        let refused = |trouble: Trouble| IndexError {
            url: key.to_string(),
            trouble,
        };
        let (urls, checksums) = places(key, fetcher, files).await.map_err(refused)?;
        let mut first = None;
        for place in fetcher.mirrors(&urls, MAX_MIRRORS) {
            let error = match place {
                Ok((url, base)) => match root(url, &base, files, &checksums).await {
                    Ok(root) => return below(&base, files, root, held).await,
                    // A mirror that is away or behind is no reason to give up.
                    Err(error) => error,
                },
                Err(error) => error,
            };
            first.get_or_insert(error);
        }
        let nowhere = || Trouble::Malformed("it says of no place where it is".into());
        Err(refused(first.map_or_else(nowhere, Trouble::from)))
    }

    fn verify(root: &Root, keys: &Keyring, now: SystemTime) -> Result<(), Trouble> {
        if root.vouched {
            return Ok(());
        }
        vouch(&root.text, root.signature.as_ref(), keys, now)
    }

    fn expires(_: &Root) -> Option<SystemTime> {
        None
    }

    fn is_older(new: &Root, old: &Root) -> bool {
        matches!((new.revision, old.revision), (Some(new), Some(old)) if new < old)
    }
}

/// Where the repository may be, best first, and the checksums that its index must have, if a metalink says so.
///
/// # Errors
/// [`Trouble`] when a list of mirrors cannot be had.
pub async fn places(key: &Key, fetcher: &Fetcher, files: &Files) -> Result<(Vec<String>, Vec<Checksum>), Trouble> {
    if !key.bases.is_empty() {
        return Ok((key.bases.clone(), Vec::new()));
    }
    if let Some(url) = &key.metalink {
        let bytes = list(url, fetcher, files).await?;
        let metalink = Metalink::parse("metalink", &bytes).map_err(|error| Trouble::Malformed(chain(&error)))?;
        let urls = metalink.mirrors.into_iter().map(|mirror| mirror.url).collect();
        // What comes without TLS vouches for nothing.
        let checksums = if url.starts_with("https://") {
            metalink.checksums
        } else {
            Vec::new()
        };
        return Ok((urls, checksums));
    }
    match &key.mirrors {
        Some(url) => Ok((mirror_list(&list(url, fetcher, files).await?), Vec::new())),
        None => Ok((Vec::new(), Vec::new())),
    }
}

/// A list of mirrors, whose address may have a query.
async fn list(url: &str, fetcher: &Fetcher, files: &Files) -> Result<Bytes, FetchError> {
    let end = url.find('?').unwrap_or(url.len());
    let (folder, name) = url.split_at(url[..end].rfind('/').map_or(0, |at| at + 1));
    let mut bases = fetcher.bases(folder)?;
    match bases.is_empty() {
        true => Err(FetchError::Url { url: String::new() }),
        false => files.current(&bases.remove(0), name, MAX_SMALL).await,
    }
}

async fn root(place: &str, base: &Base, files: &Files, checksums: &[Checksum]) -> Result<Root, FetchError> {
    let text = files.current(base, "repodata/repomd.xml", MAX_SMALL).await?;
    let vouched = checksums.iter().any(|checksum| fits(checksum, &text));
    let signature = match files.current(base, "repodata/repomd.xml.asc", MAX_SMALL).await {
        Ok(signature) => Some(signature),
        Err(error) if error.is_missing() || vouched => None,
        Err(error) => return Err(error),
    };
    Ok(Root {
        place: place.to_owned(),
        text,
        signature,
        vouched,
        revision: None,
    })
}

fn fits(checksum: &Checksum, bytes: &[u8]) -> bool {
    digest(checksum).is_some_and(|digest| {
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(bytes);
        hasher.finish() == digest
    })
}

/// The digest that a checksum is; nothing for one of a kind that proves nothing.
pub fn digest(checksum: &Checksum) -> Option<Digest> {
    let hex: String = checksum.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{hex}", checksum.kind()).parse().ok()
}

/// The lists below a `repomd.xml`, unless they are those that are held.
async fn below(
    base: &Base,
    files: &Files,
    mut root: Root,
    held: Option<&Loaded<Rpm>>,
) -> Result<Loaded<Rpm>, IndexError> {
    let url = base.shown();
    let refused = |trouble: Trouble| IndexError {
        url: url.clone(),
        trouble,
    };
    let signed = {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&root.text);
        hasher.update(root.signature.as_deref().unwrap_or_default());
        hasher.update(&[u8::from(root.vouched)]);
        hasher.finish()
    };
    if let Some(held) = held.filter(|held| held.signed == signed) {
        return Ok(held.clone());
    }
    let repomd = Repomd::parse("repomd.xml", &root.text);
    let repomd = repomd.map_err(|error| refused(Trouble::Malformed(chain(&error))))?;
    root.revision = repomd.revision.as_ref().and_then(|revision| revision.parse().ok());
    let primary = repomd
        .primary()
        .ok_or_else(|| refused(Trouble::NotOffered("list of packages".into())))?;
    let epoch = {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for data in [Some(primary), repomd.updateinfo()].into_iter().flatten() {
            hasher.update(data.checksum.as_bytes());
        }
        hasher.finish()
    };
    let index = match held.filter(|held| held.epoch == epoch) {
        Some(held) => Arc::clone(&held.index),
        None => {
            let packages = part(base, files, primary).await.map_err(refused)?;
            let advisories = match repomd.updateinfo() {
                Some(data) => Some((data.path.clone(), part(base, files, data).await.map_err(refused)?)),
                None => None,
            };
            let path = primary.path.clone();
            let parsed = tokio::task::spawn_blocking(move || parse(&path, &packages, advisories.as_ref())).await;
            let parsed = parsed.map_err(|_| refused(Trouble::Interrupted))?;
            Arc::new(parsed.map_err(|reason| refused(Trouble::Malformed(reason)))?)
        }
    };
    let keys = Keyring::read(base.keys())
        .await
        .map_err(|reason| refused(Trouble::Malformed(reason)))?;
    Ok(Loaded {
        root: Arc::new(root),
        signed,
        index,
        epoch,
        url: url.clone(),
        allows_unsigned: base.allows_unsigned(),
        allows_expired: base.allows_expired(),
        keys,
    })
}

/// A list that a `repomd.xml` names.
async fn part(base: &Base, files: &Files, data: &Data) -> Result<Bytes, Trouble> {
    let mismatch = |reason: String| Trouble::Mismatch {
        file: data.path.clone(),
        reason,
    };
    let digest =
        digest(&data.checksum).ok_or_else(|| mismatch("its checksum is of a kind that proves nothing".into()))?;
    let limit = data
        .size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(MAX_PACKED)
        .min(MAX_PACKED);
    let bytes = files.fixed(base, &data.path, &digest, limit).await?;
    if data.size.is_some_and(|size| size != bytes.len() as u64) {
        return Err(mismatch(format!("it has {} bytes", bytes.len())));
    }
    if !fits(&data.checksum, &bytes) {
        return Err(mismatch(format!("it does not hash to {digest}")));
    }
    Ok(bytes)
}

fn parse(path: &str, packages: &[u8], advisories: Option<&(String, Bytes)>) -> Result<Index, String> {
    let plain = decompress(path, packages, MAX_UNPACKED).map_err(|error| chain(&error))?;
    let mut index = Index::read(path, plain).map_err(|error| chain(&error))?;
    if let Some((path, bytes)) = advisories {
        let plain = decompress(path, bytes, MAX_UNPACKED).map_err(|error| chain(&error))?;
        index.add_advisories(path, plain).map_err(|error| chain(&error))?;
    }
    Ok(index)
}
