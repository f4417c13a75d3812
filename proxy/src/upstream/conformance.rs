//! What every upstream must do, checked by one function.
//!
//! Run on the real client against a registry on loopback, and on the one in memory.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use patchport_oci::{Digest, Manifest, Reference, Repository, Tag};

use super::{Upstream, UpstreamError};

/// What an upstream shows in one repository, and nowhere else.
pub(super) struct Shown {
    /// The repository.
    pub(super) repository: Repository,
    /// A tag of it.
    pub(super) tag: Tag,
    /// What the tag names.
    pub(super) manifest: Manifest,
    /// A blob of it, not empty.
    pub(super) blob: Bytes,
}

/// Fails the test when `upstream` breaks a promise of [`Upstream`].
pub(super) async fn check(upstream: &dyn Upstream, shown: &Shown) {
    let (repository, tag) = (&shown.repository, &shown.tag);
    let named = upstream.resolve(repository, tag).await.unwrap();
    assert_eq!(named.as_ref(), Some(&shown.manifest.digest), "the digest of a tag");
    for reference in [
        Reference::Tag(tag.clone()),
        Reference::Digest(shown.manifest.digest.clone()),
    ] {
        let manifest = upstream.manifest(repository, &reference).await.unwrap();
        assert_eq!(manifest.bytes, shown.manifest.bytes, "the bytes of {reference}");
        assert_eq!(manifest.digest, shown.manifest.digest, "the digest of {reference}");
        assert_eq!(
            manifest.media_type, shown.manifest.media_type,
            "the type of {reference}"
        );
    }
    let digest = Digest::of(&shown.blob);
    let size = shown.blob.len() as u64;
    assert_eq!(upstream.blob_size(repository, &digest).await.unwrap(), size);
    let download = upstream.blob(repository, &digest).await.unwrap();
    assert_eq!(download.size, Some(size));
    let chunks: Vec<Bytes> = download.body.try_collect().await.unwrap();
    assert_eq!(chunks.concat(), shown.blob, "the bytes of a blob");

    let elsewhere: Repository = format!("{repository}/elsewhere").parse().unwrap();
    let unknown = Digest::of(b"nobody has these bytes");
    missing(upstream, repository, &"nobody".parse().unwrap(), &unknown).await;
    missing(upstream, &elsewhere, tag, &shown.manifest.digest).await;
    missing(upstream, &elsewhere, tag, &digest).await;
}

/// Neither the tag nor the digest is there, and the error says what is not.
async fn missing(upstream: &dyn Upstream, repository: &Repository, tag: &Tag, digest: &Digest) {
    let (by_tag, by_digest) = (Reference::Tag(tag.clone()), Reference::Digest(digest.clone()));
    let (at_tag, at_digest) = (format!("{repository}:{tag}"), format!("{repository}@{digest}"));
    for (error, subject) in [
        (upstream.resolve(repository, tag).await.err(), &at_tag),
        (upstream.manifest(repository, &by_tag).await.err(), &at_tag),
        (upstream.manifest(repository, &by_digest).await.err(), &at_digest),
        (upstream.blob_size(repository, digest).await.err(), &at_digest),
        (upstream.blob(repository, digest).await.err(), &at_digest),
    ] {
        let error = error.unwrap_or_else(|| panic!("{subject} was found"));
        assert!(matches!(error, UpstreamError::NotFound { .. }), "{subject}: {error:?}");
        assert!(
            error.to_string().contains(subject.as_str()),
            "{error} does not say {subject}"
        );
    }
}
