//! The catalog's part for what comes with images: which artifacts are about which manifest, ours by repository.
//!
//! Written in the transaction of the decision that they belong to.

use patchport_oci::Digest;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::patches::{decoded, encoded};
use super::{Catalog, CatalogError, column, digest_at, failed, put_manifest};
use crate::evidence::Artifact;
use crate::route::Place;

impl Catalog {
    /// Whether we made a manifest, configuration or layer.
    pub async fn is_made(&self, digest: &Digest) -> Result<bool, CatalogError> {
        let row = sqlx::query("SELECT 1 FROM made WHERE digest = ?")
            .bind(digest.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("look up a digest"))?;
        Ok(row.is_some())
    }

    /// What comes with a manifest that we made for a repository, as descriptors in the order of their digests.
    pub async fn referrers(&self, place: &Place, subject: &Digest) -> Result<Vec<Value>, CatalogError> {
        let rows = sqlx::query(
            "SELECT descriptor FROM referrers WHERE upstream = ? AND repository = ? AND subject = ? AND listed = 1 ORDER BY digest",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(subject.to_string())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("read referrers"))?;
        let descriptor = |row: &SqliteRow| decoded(subject.to_string(), &column::<String>(row, "descriptor")?);
        rows.iter().map(descriptor).collect()
    }

    /// The manifests of what comes with an image, or with an index and its children.
    pub async fn evidence(&self, place: &Place, root: &Digest) -> Result<Vec<Digest>, CatalogError> {
        let rows = sqlx::query(
            "SELECT digest FROM referrers WHERE upstream = ?1 AND repository = ?2 AND listed = 1
             AND (subject = ?3 OR subject IN (SELECT child FROM edges WHERE parent = ?3))",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(root.to_string())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("read referrers"))?;
        rows.iter().map(|row| digest_at(row, "digest")).collect()
    }

    /// What an artifact that we made for a repository, or a blob of one, is about.
    pub(super) async fn subjects_here(&self, place: &Place, digest: &Digest) -> Result<Vec<Digest>, CatalogError> {
        let rows = sqlx::query(
            "SELECT DISTINCT subject FROM referrers WHERE upstream = ?1 AND repository = ?2
             AND (digest = ?3 OR digest IN (SELECT parent FROM edges WHERE child = ?3))",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(digest.to_string())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("look up a digest"))?;
        rows.iter().map(|row| digest_at(row, "subject")).collect()
    }

    /// What an artifact, or a blob of one, is about by its own word.
    pub(super) async fn subjects(&self, digest: &Digest) -> Result<Vec<Digest>, CatalogError> {
        let rows = sqlx::query(
            "SELECT DISTINCT subject FROM subjects
             WHERE referrer = ?1 OR referrer IN (SELECT parent FROM edges WHERE child = ?1)",
        )
        .bind(digest.to_string())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("look up a digest"))?;
        rows.iter().map(|row| digest_at(row, "subject")).collect()
    }
}

/// Puts `artifacts` in the place of what came with their subjects before.
pub(super) async fn put_evidence(
    transaction: &mut Transaction<'_, Sqlite>,
    place: &Place,
    artifacts: &[Artifact],
) -> Result<(), CatalogError> {
    for artifact in artifacts {
        sqlx::query("UPDATE referrers SET listed = 0 WHERE upstream = ? AND repository = ? AND subject = ?")
            .bind(place.upstream())
            .bind(place.repository.as_str())
            .bind(artifact.subject.to_string())
            .execute(&mut **transaction)
            .await
            .map_err(failed("record referrers"))?;
    }
    for artifact in artifacts {
        put_manifest(transaction, &artifact.manifest).await?;
        sqlx::query(
            "INSERT INTO referrers (upstream, repository, subject, digest, descriptor, listed) VALUES (?, ?, ?, ?, ?, 1)
             ON CONFLICT (upstream, repository, subject, digest) DO UPDATE SET listed = 1",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(artifact.subject.to_string())
        .bind(artifact.manifest.digest.to_string())
        .bind(encoded(artifact.subject.to_string(), &artifact.descriptor)?)
        .execute(&mut **transaction)
        .await
        .map_err(failed("record referrers"))?;
    }
    Ok(())
}
