//! What the mirror remembers: tags, manifests, who may read what, inventories, decisions.
//!
//! SQLite in the data directory. A publication is one transaction: all of it is visible afterwards, or none.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use patchport_oci::manifest::ManifestError;
use patchport_oci::{Digest, Manifest, Tag};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, Transaction};

use crate::route::Place;

mod patches;
mod referrers;

pub use patches::{Decided, Decision, Planned, Verdict};

/// What went wrong in the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database failed.
    #[error("cannot {action} in the catalog")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// A row does not hold what was put there.
    #[error("the catalog's entry for {subject} is damaged: {reason}")]
    Damaged {
        /// Which entry.
        subject: String,
        /// What is wrong.
        reason: String,
    },
}

/// Makes a database error out of what was tried.
fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> CatalogError {
    move |source| CatalogError::Database { action, source }
}

/// Where a tag pointed, and when upstream last said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagState {
    /// The manifest.
    pub digest: Digest,
    /// When upstream was asked.
    pub checked_at: SystemTime,
}

/// The catalog.
#[derive(Clone)]
pub struct Catalog {
    pool: SqlitePool,
}

impl Catalog {
    /// Opens the catalog in `file`, makes it when it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or is no catalog.
    pub async fn open(file: &Path) -> Result<Self, CatalogError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a published answer survives a power cut. Writes are rare, reads do not pay for it.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_with(options)
            .await
            .map_err(failed("open"))?;
        Self::migrated(pool).await
    }

    /// A catalog in memory, for tests.
    ///
    /// # Errors
    /// When SQLite fails.
    #[cfg(test)]
    pub async fn in_memory() -> Result<Self, CatalogError> {
        let options = SqliteConnectOptions::new().in_memory(true);
        // One connection: each would have a memory of its own.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        Self::migrated(pool.connect_with(options).await.map_err(failed("open"))?).await
    }

    async fn migrated(pool: SqlitePool) -> Result<Self, CatalogError> {
        let migrated = sqlx::migrate!().run(&pool).await;
        migrated.map_err(|error| failed("update the tables")(sqlx::Error::from(error)))?;
        Ok(Self { pool })
    }

    /// Closes the catalog; later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, CatalogError> {
        // IMMEDIATE: two writers wait for each other instead of failing half way.
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("begin"))
    }

    /// Where a tag pointed.
    pub async fn tag(&self, place: &Place, tag: &Tag) -> Result<Option<TagState>, CatalogError> {
        let row = sqlx::query("SELECT digest, checked_at FROM tags WHERE upstream = ? AND repository = ? AND tag = ?")
            .bind(place.upstream())
            .bind(place.repository.as_str())
            .bind(tag.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read a tag"))?;
        row.map(|row| {
            Ok(TagState {
                digest: digest_at(&row, "digest")?,
                checked_at: time(column(&row, "checked_at")?),
            })
        })
        .transpose()
    }

    /// Forgets where a tag pointed: upstream says that it is gone.
    pub async fn forget(&self, place: &Place, tag: &Tag) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM tags WHERE upstream = ? AND repository = ? AND tag = ?")
            .bind(place.upstream())
            .bind(place.repository.as_str())
            .bind(tag.as_str())
            .execute(&self.pool)
            .await
            .map_err(failed("forget a tag"))?;
        Ok(())
    }

    /// Records in one go that upstream resolved a tag to a manifest that we hold.
    pub async fn resolved(&self, place: &Place, tag: &Tag, manifest: &Manifest) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        put_manifest(&mut transaction, manifest).await?;
        put_root(&mut transaction, place, &manifest.digest, tag.as_str(), false).await?;
        sqlx::query(
            "INSERT INTO tags (upstream, repository, tag, digest, checked_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (upstream, repository, tag) DO UPDATE SET digest = excluded.digest, checked_at = excluded.checked_at",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(tag.as_str())
        .bind(manifest.digest.to_string())
        .bind(seconds(SystemTime::now()))
        .execute(&mut *transaction)
        .await
        .map_err(failed("record a tag"))?;
        transaction.commit().await.map_err(failed("record a tag"))
    }

    /// Records that upstream showed us a digest of a repository, and the manifest behind it when it is one.
    pub async fn seen(&self, place: &Place, digest: &Digest, manifest: Option<&Manifest>) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        if let Some(manifest) = manifest {
            put_manifest(&mut transaction, manifest).await?;
        }
        put_root(&mut transaction, place, digest, "", false).await?;
        transaction.commit().await.map_err(failed("record a digest"))
    }

    /// A manifest that we hold, whoever may read it.
    pub async fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, CatalogError> {
        let row = sqlx::query("SELECT media_type, bytes FROM manifests WHERE digest = ?")
            .bind(digest.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read a manifest"))?;
        let Some(row) = row else { return Ok(None) };
        let damaged = |reason| CatalogError::Damaged {
            subject: digest.to_string(),
            reason,
        };
        let (bytes, media_type): (Vec<u8>, String) = (column(&row, "bytes")?, column(&row, "media_type")?);
        let manifest = Manifest::parse_as(bytes, &media_type, digest.algorithm())
            .map_err(|error: ManifestError| damaged(error.to_string()))?;
        if manifest.digest != *digest {
            return Err(damaged(format!("its bytes hash to {}", manifest.digest)));
        }
        Ok(Some(manifest))
    }

    /// Whether a repository may read a digest: upstream showed it there, or we made it for what we published there.
    /// That some manifest mentions a digest is no reason: anybody can write a manifest, or copy one of ours.
    /// What comes with an image of ours may be read where the image may.
    pub async fn may_read(&self, place: &Place, digest: &Digest) -> Result<bool, CatalogError> {
        if self.is_shown(place, digest).await? {
            return Ok(true);
        }
        for subject in self.subjects_here(place, digest).await? {
            if self.is_shown(place, &subject).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_shown(&self, place: &Place, digest: &Digest) -> Result<bool, CatalogError> {
        let row = sqlx::query(
            "WITH RECURSIVE up(digest) AS (
                 VALUES (?1)
                 UNION SELECT edges.parent FROM edges JOIN up ON edges.child = up.digest
                 JOIN made AS parents ON parents.digest = edges.parent
                 WHERE EXISTS (SELECT 1 FROM made WHERE digest = ?1))
             SELECT 1 FROM roots JOIN up ON roots.digest = up.digest
             WHERE roots.upstream = ?2 AND roots.repository = ?3 AND (roots.digest = ?1 OR roots.published = 1) LIMIT 1",
        )
        .bind(digest.to_string())
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .fetch_optional(&self.pool)
        .await
        .map_err(failed("look up a digest"))?;
        Ok(row.is_some())
    }

    /// The tags whose images in this repository lead to a digest. To an artifact lead those that lead to what it is about.
    pub async fn ways_to(&self, place: &Place, digest: &Digest) -> Result<Vec<Tag>, CatalogError> {
        let mut ways = self.direct_ways(place, digest).await?;
        for subject in self.subjects(digest).await? {
            ways.extend(self.direct_ways(place, &subject).await?);
        }
        Ok(ways)
    }

    async fn direct_ways(&self, place: &Place, digest: &Digest) -> Result<Vec<Tag>, CatalogError> {
        let rows = sqlx::query(
            "WITH RECURSIVE up(digest) AS (
                 VALUES (?) UNION SELECT edges.parent FROM edges JOIN up ON edges.child = up.digest)
             SELECT DISTINCT roots.via FROM roots JOIN up ON roots.digest = up.digest
             WHERE roots.upstream = ? AND roots.repository = ? AND roots.via <> ''",
        )
        .bind(digest.to_string())
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("look up a digest"))?;
        let tag = |row: &SqliteRow| column::<String>(row, "via").ok()?.parse().ok();
        Ok(rows.iter().filter_map(tag).collect())
    }

    /// The size that descriptors give for a blob; `None` when none does, or when they do not agree (a descriptor may
    /// lie, and must not spoil another repository's blob).
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, CatalogError> {
        let rows = sqlx::query("SELECT DISTINCT size FROM edges WHERE child = ? LIMIT 2")
            .bind(digest.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up a size"))?;
        match rows.as_slice() {
            [row] => Ok(u64::try_from(column::<i64>(row, "size")?).ok()),
            _ => Ok(None),
        }
    }
}

async fn put_manifest(transaction: &mut Transaction<'_, Sqlite>, manifest: &Manifest) -> Result<(), CatalogError> {
    sqlx::query("INSERT INTO manifests (digest, media_type, bytes) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING")
        .bind(manifest.digest.to_string())
        .bind(manifest.media_type)
        .bind(&manifest.bytes[..])
        .execute(&mut **transaction)
        .await
        .map_err(failed("record a manifest"))?;
    for child in manifest.references() {
        sqlx::query("INSERT INTO edges (parent, child, size) VALUES (?, ?, ?) ON CONFLICT (parent, child) DO NOTHING")
            .bind(manifest.digest.to_string())
            .bind(child.digest.to_string())
            .bind(i64::try_from(child.size).unwrap_or(i64::MAX))
            .execute(&mut **transaction)
            .await
            .map_err(failed("record a reference"))?;
    }
    if let Some(subject) = manifest.subject.as_ref().filter(|_| manifest.is_artifact()) {
        sqlx::query("INSERT INTO subjects (referrer, subject) VALUES (?, ?) ON CONFLICT (referrer) DO NOTHING")
            .bind(manifest.digest.to_string())
            .bind(subject.to_string())
            .execute(&mut **transaction)
            .await
            .map_err(failed("record a subject"))?;
    }
    Ok(())
}

async fn put_root(
    transaction: &mut Transaction<'_, Sqlite>,
    place: &Place,
    digest: &Digest,
    via: &str,
    published: bool,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO roots (upstream, repository, digest, via, published) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (upstream, repository, digest, via) DO UPDATE SET published = CASE WHEN excluded.published > roots.published
             THEN excluded.published ELSE roots.published END",
    )
    .bind(place.upstream())
    .bind(place.repository.as_str())
    .bind(digest.to_string())
    .bind(via)
    .bind(i64::from(published))
    .execute(&mut **transaction)
    .await
    .map_err(failed("record a root"))?;
    Ok(())
}

/// A column of a row; SQLite may give back another type than was put there.
fn column<T>(row: &SqliteRow, name: &str) -> Result<T, CatalogError>
where
    T: for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(name).map_err(|error| CatalogError::Damaged {
        subject: name.into(),
        reason: error.to_string(),
    })
}

fn digest_at(row: &SqliteRow, name: &str) -> Result<Digest, CatalogError> {
    let text: String = column(row, name)?;
    text.parse().map_err(|_| CatalogError::Damaged {
        subject: name.into(),
        reason: format!("`{text}`"),
    })
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests;
