//! apt repositories: `InRelease`, or `Release` with its signature, and the `Packages` below it.
//!
//! Sources: Debian's repository format (wiki.debian.org/DebianRepository/Format), apt's own order of files.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use patchport_oci::{Digest, Hasher, digest::Algorithm};
use patchport_packages::apt::{self, Index, Release, Target};
use patchport_packages::openpgp;

use super::fetch::{Base, FetchError, Fetcher};
use super::files::Files;
use super::keeper::{Layout, Loaded};
use super::keys::Keyring;
use super::{IndexError, Trouble, trust};
use crate::flight::Interrupted;
use crate::respond::chain;

/// The largest `InRelease`, in bytes; Debian's have 150 KiB.
const MAX_RELEASE: usize = 8 << 20;
/// The largest `Packages` as it is fetched; bookworm's has 9 MB.
const MAX_PACKED: usize = 256 << 20;
/// The same unpacked; bookworm's has 48 MB.
const MAX_PACKAGES: u64 = 1 << 30;

/// What the name of an entry of a keyring begins with that is no file, but the fingerprint of a key that must have signed.
pub const FINGERPRINT: &str = "fingerprint:";

/// How apt repositories are laid out.
pub struct Apt;

/// What names an index: where, and which.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(pub Target);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target {
            uri,
            suite,
            component,
            architecture,
            ..
        } = &self.0;
        write!(
            f,
            "{uri} {suite} {} {architecture}",
            component.as_deref().unwrap_or_default()
        )
    }
}

/// A Release with what is signed.
pub struct Root {
    /// Its fields.
    pub release: Release,
    text: Bytes,
    /// The signature beside it; the text is clear-signed without.
    signature: Option<Bytes>,
}

#[async_trait]
impl Layout for Apt {
    type Key = Key;
    type Root = Root;
    type Index = Index;

    async fn load(
        key: &Key,
        fetcher: &Fetcher,
        files: &Files,
        held: Option<&Loaded<Self>>,
    ) -> Result<Loaded<Self>, IndexError> {
        let target = &key.0;
        let uri = target.uri.trim_end_matches('/');
        let failed = |url: String| {
            move |error: FetchError| IndexError {
                url,
                trouble: error.into(),
            }
        };
        let bases = fetcher
            .bases(uri)
            .map_err(failed(uri.split('@').next_back().unwrap_or_default().to_owned()))?;
        let (mut missing, folder) = (None, target.release());
        for base in &bases {
            let (text, signature) = match root(base, files, &folder).await {
                Ok(found) => found,
                Err(error) if error.is_missing() => {
                    missing = missing.or(Some(error));
                    continue;
                }
                Err(error) => return Err(failed(format!("{}{folder}", base.shown()))(error)),
            };
            return below(target, base, files, held, text, signature).await;
        }
        let error = missing.unwrap_or_else(|| FetchError::Url {
            url: uri.chars().take(200).collect(),
        });
        Err(failed(bases.first().map(Base::shown).unwrap_or_default() + &folder)(
            error,
        ))
    }

    fn verify(root: &Root, keys: &Keyring, now: SystemTime) -> Result<(), Trouble> {
        let entries = || keys.files().iter();
        let named: Vec<&str> = entries()
            .filter_map(|(name, _)| name.strip_prefix(FINGERPRINT))
            .collect();
        let files: Vec<&[u8]> = entries()
            .filter(|(name, _)| !name.starts_with(FINGERPRINT))
            .map(|(_, bytes)| bytes.as_slice())
            .collect();
        let signer = match &root.signature {
            Some(signature) => openpgp::verify_detached(&root.text, signature, &files, now),
            None => openpgp::verify_inline(&root.text, &files, now).map(|verified| verified.fingerprint),
        };
        let signer = signer.map_err(|error| trust(&error))?;
        let is_named = |name: &&str| signer.ends_with(&name.to_ascii_uppercase()) && name.len() >= 16;
        if named.is_empty() || named.iter().any(is_named) {
            return Ok(());
        }
        let named = named.join(", ");
        Err(Trouble::Untrusted(format!(
            "it is signed by {signer}, the image asks for {named}"
        )))
    }

    fn expires(root: &Root) -> Option<SystemTime> {
        root.release.valid_until
    }

    fn is_older(new: &Root, old: &Root) -> bool {
        match (new.release.date, old.release.date) {
            (Some(new), Some(old)) => new < old,
            // A Release that has lost its date cannot be told from an old one.
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }
}

/// The signed text, and the signature where it stands beside it.
async fn root(base: &Base, files: &Files, folder: &str) -> Result<(Bytes, Option<Bytes>), FetchError> {
    match files.current(base, &format!("{folder}InRelease"), MAX_RELEASE).await {
        Ok(text) => return Ok((text, None)),
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error),
    }
    let text = files.current(base, &format!("{folder}Release"), MAX_RELEASE).await?;
    let signature = match files.current(base, &format!("{folder}Release.gpg"), MAX_RELEASE).await {
        Ok(signature) => signature,
        // Without a signature it is for the operator to believe it, or not.
        Err(error) if error.is_missing() => Bytes::new(),
        Err(error) => return Err(error),
    };
    Ok((text, Some(signature)))
}

/// What a Release says, with the index that it names.
async fn below(
    target: &Target,
    base: &Base,
    files: &Files,
    held: Option<&Loaded<Apt>>,
    text: Bytes,
    signature: Option<Bytes>,
) -> Result<Loaded<Apt>, IndexError> {
    let url = format!("{}{}", base.shown(), target.release());
    let refused = |trouble: Trouble| IndexError {
        url: url.clone(),
        trouble,
    };
    let signed = {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&text);
        hasher.update(signature.as_deref().unwrap_or_default());
        hasher.finish()
    };
    if let Some(held) = held.filter(|held| held.signed == signed) {
        return Ok(held.clone());
    }
    let keys = Keyring::read(base.keys()).await;
    let keys = keys.map_err(|reason| refused(Trouble::Malformed(reason)))?;
    let plain = match &signature {
        Some(_) => text.to_vec(),
        None => openpgp::cleartext(&text).map_err(|error| refused(trust(&error)))?,
    };
    let release = Release::parse(&plain).map_err(|error| refused(Trouble::Malformed(chain(&error))))?;
    let (index, epoch) = index(target, base, files, held, &release).await.map_err(refused)?;
    Ok(Loaded {
        root: Arc::new(Root {
            release,
            text,
            signature,
        }),
        signed,
        index,
        epoch,
        url,
        allows_unsigned: base.allows_unsigned(),
        allows_expired: base.allows_expired(),
        keys,
    })
}

/// The index that a Release names, unless it is the one that is held.
async fn index(
    target: &Target,
    base: &Base,
    files: &Files,
    held: Option<&Loaded<Apt>>,
    release: &Release,
) -> Result<(Arc<Index>, Digest), Trouble> {
    let offered = release.files(&target.packages());
    let digest = |file: &apt::File| Digest::from_sha256(file.sha256);
    if let Some(held) = held.filter(|held| offered.iter().any(|file| digest(file) == held.epoch)) {
        return Ok((Arc::clone(&held.index), held.epoch.clone()));
    }
    let mut missing = None;
    for file in &offered {
        match packages(target, base, files, file, release.acquire_by_hash).await {
            Ok(bytes) => {
                let epoch = digest(file);
                return Ok((Arc::new(parse(&file.path, bytes, &epoch, file.size).await?), epoch));
            }
            // A Release may name forms that are not there.
            Err(error) if error.is_missing() => missing = missing.or(Some(error)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(missing.map_or_else(|| Trouble::NotOffered(target.packages()), Trouble::from))
}

/// The file of packages, by its digest where the repository has it so: then it cannot change under our hands.
async fn packages(
    target: &Target,
    base: &Base,
    files: &Files,
    file: &apt::File,
    by_hash: bool,
) -> Result<Bytes, FetchError> {
    let digest = Digest::from_sha256(file.sha256);
    let folder = target.release();
    let plain = format!("{folder}{}", file.path);
    let limit = usize::try_from(file.size).unwrap_or(MAX_PACKED).min(MAX_PACKED);
    if by_hash {
        let parent = file
            .path
            .rsplit_once('/')
            .map(|(parent, _)| format!("{parent}/"))
            .unwrap_or_default();
        let path = format!("{folder}{parent}by-hash/SHA256/{}", digest.hex());
        match files.fixed(base, &path, &digest, limit).await {
            Err(error) if error.is_missing() => {}
            answer => return answer,
        }
    }
    files.fixed(base, &plain, &digest, limit).await
}

async fn parse(path: &str, bytes: Bytes, digest: &Digest, size: u64) -> Result<Index, Trouble> {
    let mismatch = |reason: String| Trouble::Mismatch {
        file: path.to_owned(),
        reason,
    };
    if bytes.len() as u64 != size {
        return Err(mismatch(format!("it has {} bytes, not {size}", bytes.len())));
    }
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(mismatch(format!("it hashes to {found}, not {digest}")));
    }
    let name = path.to_owned();
    let parsed = tokio::task::spawn_blocking(move || {
        let plain = apt::decompress(&name, &bytes, MAX_PACKAGES)?;
        Index::parse(plain, MAX_PACKAGES)
    });
    let parsed = parsed.await.map_err(|_| Interrupted);
    let parsed = parsed.map_err(|_| Trouble::Interrupted)?;
    parsed.map_err(|error: apt::Error| Trouble::Malformed(chain(&error)))
}
