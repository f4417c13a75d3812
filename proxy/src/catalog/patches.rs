//! The catalog's part for patching: inventories, layers by plan, decisions, publications.
//!
//! Decisions and the manifests that they name are written in one transaction.

use std::time::SystemTime;

use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest, Platform, Tag};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::referrers::put_evidence;
use super::{Catalog, CatalogError, column, digest_at, failed, put_manifest, put_root, seconds, time};
use crate::evidence::Artifact;
use crate::patch::PatchLayer;
use crate::route::Place;

/// What an original is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The manifest to serve: a patched one, or the original itself when there is nothing to patch.
    pub served: Digest,
    /// What was found, for people.
    pub note: String,
    /// The images behind the original, and what was planned for each.
    pub images: Vec<Planned>,
    /// When it was decided.
    pub decided_at: SystemTime,
}

/// What was planned for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The image's manifest.
    pub image: Digest,
    /// Its platform.
    pub platform: Platform,
    /// The key of the plan; nothing when there was nothing to do.
    pub plan: Option<String>,
}

/// A decision, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The upstream's name.
    pub upstream: String,
    /// The repository.
    pub repository: String,
    /// The original.
    pub source: Digest,
    /// What the rule selects.
    pub choices: String,
    /// The decision.
    pub decision: Decision,
}

impl Catalog {
    /// What is known of the packages of an image.
    pub async fn inventory<T: serde::de::DeserializeOwned>(&self, image: &str) -> Result<Option<T>, CatalogError> {
        let row = sqlx::query("SELECT inventory FROM inventories WHERE digest = ?")
            .bind(image)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read an inventory"))?;
        // A row that an older version wrote in another shape is as good as none.
        let text = row.and_then(|row| column::<String>(&row, "inventory").ok());
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Keeps what is known of the packages of an image.
    pub async fn put_inventory<T: Serialize>(&self, image: &str, inventory: &T) -> Result<(), CatalogError> {
        sqlx::query("INSERT INTO inventories (digest, inventory) VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET inventory = excluded.inventory")
            .bind(image)
            .bind(encoded(image.to_owned(), inventory)?)
            .execute(&self.pool)
            .await
            .map_err(failed("record an inventory"))?;
        Ok(())
    }

    /// What a plan made, and when.
    pub async fn layer(&self, plan: &str) -> Result<Option<(PatchLayer, SystemTime)>, CatalogError> {
        let row = sqlx::query("SELECT layer, made_at FROM layers WHERE plan = ?")
            .bind(plan)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read a patch layer"))?;
        let Some(row) = row else { return Ok(None) };
        let text: String = column(&row, "layer")?;
        let layer = decoded(plan.to_owned(), &text)?;
        Ok(Some((layer, time(column(&row, "made_at")?))))
    }

    /// Keeps what a plan made. Its blob is in the store already.
    pub async fn put_layer(&self, plan: &str, layer: &PatchLayer) -> Result<(), CatalogError> {
        let text = encoded(plan.to_owned(), layer)?;
        sqlx::query(
            "INSERT INTO layers (plan, layer, made_at) VALUES (?, ?, ?)
             ON CONFLICT (plan) DO UPDATE SET layer = excluded.layer, made_at = excluded.made_at",
        )
        .bind(plan)
        .bind(text)
        .bind(seconds(SystemTime::now()))
        .execute(&self.pool)
        .await
        .map_err(failed("record a patch layer"))?;
        Ok(())
    }

    /// The digest of the file of a package, by what its index knows it by.
    pub async fn package(&self, identity: &str) -> Result<Option<Digest>, CatalogError> {
        let row = sqlx::query("SELECT digest FROM packages WHERE identity = ?")
            .bind(identity)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read a package"))?;
        let text = row.map(|row| column::<String>(&row, "digest")).transpose()?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Keeps the digest of the file of a package. It is in the store already.
    pub async fn put_package(&self, identity: &str, digest: &Digest) -> Result<(), CatalogError> {
        sqlx::query("INSERT INTO packages (identity, digest) VALUES (?, ?) ON CONFLICT (identity) DO UPDATE SET digest = excluded.digest")
            .bind(identity)
            .bind(digest.to_string())
            .execute(&self.pool)
            .await
            .map_err(failed("record a package"))?;
        Ok(())
    }

    /// The files of a layer that inventories are read from, as they were put here.
    pub async fn layer_files(&self, layer: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        let row = sqlx::query("SELECT files FROM layer_files WHERE layer = ?")
            .bind(layer)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read a layer's files"))?;
        row.map(|row| column(&row, "files")).transpose()
    }

    /// Keeps the files of a layer.
    pub async fn put_layer_files(&self, layer: &str, files: &[u8]) -> Result<(), CatalogError> {
        sqlx::query("INSERT INTO layer_files (layer, files) VALUES (?, ?) ON CONFLICT (layer) DO UPDATE SET files = excluded.files")
            .bind(layer)
            .bind(files)
            .execute(&self.pool)
            .await
            .map_err(failed("record a layer's files"))?;
        Ok(())
    }

    /// All decisions, the newest first.
    pub async fn decisions(&self) -> Result<Vec<Decided>, CatalogError> {
        let rows = sqlx::query(
            "SELECT upstream, repository, source, choices, served, note, images, decided_at FROM decisions
             ORDER BY decided_at DESC",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed("read decisions"))?;
        let decided = |row: &SqliteRow| {
            Ok(Decided {
                upstream: column(row, "upstream")?,
                repository: column(row, "repository")?,
                source: digest_at(row, "source")?,
                choices: column(row, "choices")?,
                decision: decision_of(row)?,
            })
        };
        rows.iter().map(decided).collect()
    }

    /// What an original is answered with in a repository, when a rule makes these choices.
    pub async fn decision(
        &self,
        place: &Place,
        source: &Digest,
        choices: &str,
    ) -> Result<Option<Decision>, CatalogError> {
        let row = sqlx::query(
            "SELECT served, note, images, decided_at FROM decisions
             WHERE upstream = ? AND repository = ? AND source = ? AND choices = ?",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(source.to_string())
        .bind(choices)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed("read a decision"))?;
        row.as_ref().map(decision_of).transpose()
    }

    /// Publishes in one switch: the new manifests, what comes with them, and that `source` is answered with the last of them (or with itself).
    /// Every blob they name must be in the store already.
    pub async fn decide(
        &self,
        place: &Place,
        source: &Digest,
        choices: &str,
        verdict: Verdict,
    ) -> Result<Decision, CatalogError> {
        let Verdict {
            made,
            evidence,
            note,
            images,
        } = verdict;
        let decision = Decision {
            served: made
                .last()
                .map_or_else(|| source.clone(), |manifest| manifest.digest.clone()),
            note,
            images,
            decided_at: SystemTime::now(),
        };
        let mut transaction = self.begin().await?;
        for manifest in &made {
            put_manifest(&mut transaction, manifest).await?;
            put_made(&mut transaction, manifest).await?;
        }
        put_evidence(&mut transaction, place, &evidence).await?;
        sqlx::query(
            "INSERT INTO decisions (upstream, repository, source, choices, served, note, images, decided_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (upstream, repository, source, choices) DO UPDATE SET served = excluded.served,
             note = excluded.note, images = excluded.images, decided_at = excluded.decided_at",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(source.to_string())
        .bind(choices)
        .bind(decision.served.to_string())
        .bind(&decision.note)
        .bind(encoded(source.to_string(), &decision.images)?)
        .bind(seconds(decision.decided_at))
        .execute(&mut *transaction)
        .await
        .map_err(failed("record a decision"))?;
        transaction.commit().await.map_err(failed("record a decision"))?;
        Ok(decision)
    }

    /// Makes a patched image readable under a tag's repository, and the tag's last patched image.
    pub async fn publish(
        &self,
        place: &Place,
        tag: &Tag,
        source: &Digest,
        served: &Digest,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        put_root(&mut transaction, place, served, tag.as_str(), true).await?;
        sqlx::query(
            "INSERT INTO published (upstream, repository, tag, source, served, published_at) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (upstream, repository, tag) DO UPDATE
             SET source = excluded.source, served = excluded.served, published_at = excluded.published_at",
        )
        .bind(place.upstream())
        .bind(place.repository.as_str())
        .bind(tag.as_str())
        .bind(source.to_string())
        .bind(served.to_string())
        .bind(seconds(SystemTime::now()))
        .execute(&mut *transaction)
        .await
        .map_err(failed("publish"))?;
        transaction.commit().await.map_err(failed("publish"))
    }

    /// The last patched image of a tag.
    pub async fn last_patched(&self, place: &Place, tag: &Tag) -> Result<Option<Digest>, CatalogError> {
        let row = sqlx::query("SELECT served FROM published WHERE upstream = ? AND repository = ? AND tag = ?")
            .bind(place.upstream())
            .bind(place.repository.as_str())
            .bind(tag.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read a publication"))?;
        row.map(|row| digest_at(&row, "served")).transpose()
    }
}

/// What a job came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The manifests that it made, the one to serve last; none when the original stays.
    pub made: Vec<Manifest>,
    /// What comes with them.
    pub evidence: Vec<Artifact>,
    /// What was found, for people.
    pub note: String,
    /// The images behind the original, and what was planned for each.
    pub images: Vec<Planned>,
}

fn decision_of(row: &SqliteRow) -> Result<Decision, CatalogError> {
    let images: String = column(row, "images")?;
    Ok(Decision {
        served: digest_at(row, "served")?,
        note: column(row, "note")?,
        images: decoded("a decision".to_owned(), &images)?,
        decided_at: time(column(row, "decided_at")?),
    })
}

/// Records a manifest that we made, and the two blobs in it that are ours: its configuration and its last layer.
async fn put_made(transaction: &mut Transaction<'_, Sqlite>, manifest: &Manifest) -> Result<(), CatalogError> {
    let own = match &manifest.content {
        Content::Image { config, layers } => [Some(&config.digest), layers.last().map(|layer| &layer.digest)],
        Content::Index { .. } => [None, None],
    };
    for digest in own.into_iter().flatten().chain([&manifest.digest]) {
        sqlx::query("INSERT INTO made (digest) VALUES (?) ON CONFLICT (digest) DO NOTHING")
            .bind(digest.to_string())
            .execute(&mut **transaction)
            .await
            .map_err(failed("record what was made"))?;
    }
    Ok(())
}

pub(super) fn encoded<T: Serialize>(subject: String, value: &T) -> Result<String, CatalogError> {
    serde_json::to_string(value).map_err(|error| CatalogError::Damaged {
        subject,
        reason: error.to_string(),
    })
}

pub(super) fn decoded<T: serde::de::DeserializeOwned>(subject: String, text: &str) -> Result<T, CatalogError> {
    serde_json::from_str(text).map_err(|error| CatalogError::Damaged {
        subject,
        reason: error.to_string(),
    })
}
