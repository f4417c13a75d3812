//! What the catalog remembers, who may read it, and what a crash or a damaged row does to it.
//!
//! Atomicity is tested by taking a table away in the middle of a transaction.

use std::sync::Arc;

use futures_util::future::join_all;
use patchport_kit::{Image, Index};
use patchport_oci::manifest::Content;
use sqlx::AssertSqlSafe;

use super::*;
use crate::testing::{Memory, patch_layer, place, tag};

fn at(repository: &str) -> Place {
    place(repository, Arc::new(Memory::default()))
}

fn parsed(image: &Image) -> Manifest {
    Manifest::parse(image.manifest.clone(), &image.media_type).unwrap()
}

fn index(images: &[Image]) -> Manifest {
    let index = Index::of(images, false);
    Manifest::parse(index.manifest.clone(), &index.media_type).unwrap()
}

/// What the decisions here are kept apart by.
const CHOICES: &str = "outdated";

/// A job's verdict that serves the last of these.
fn verdict(made: &[Manifest]) -> Verdict {
    Verdict {
        made: made.to_vec(),
        evidence: vec![],
        note: "note".into(),
        images: vec![],
    }
}

fn config_of(manifest: &Manifest) -> Digest {
    match &manifest.content {
        Content::Image { config, .. } => config.digest.clone(),
        Content::Index { .. } => panic!("an index has no configuration"),
    }
}

impl Catalog {
    /// Does to the database what a person, a crash or a disk might.
    async fn meddle(&self, sql: &str) {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
        let is_update = sql.starts_with("UPDATE");
        assert!(!is_update || done.rows_affected() > 0, "{sql} met no row");
    }

    async fn tags_to(&self, place: &Place, digest: &Digest) -> Vec<String> {
        let ways = self.ways_to(place, digest).await.unwrap();
        ways.iter().map(ToString::to_string).collect()
    }
}

#[tokio::test]
async fn ways_lead_from_tags_through_index_and_manifest_to_blobs() {
    let catalog = Catalog::in_memory().await.unwrap();
    let (place, other) = (at("team/app"), at("team/other"));
    let image = Image::tiny("a");
    let (child, parent) = (parsed(&image), index(&[image]));
    catalog.resolved(&place, &tag("v1"), &parent).await.unwrap();
    let (config, by_v1) = (config_of(&child), vec!["v1".to_owned()]);
    assert_eq!(
        catalog.tags_to(&place, &config).await,
        Vec::<String>::new(),
        "the way is not known before the child was seen"
    );
    catalog.seen(&place, &child.digest, Some(&child)).await.unwrap();
    for (name, digest) in [("index", &parent.digest), ("child", &child.digest), ("blob", &config)] {
        assert_eq!(catalog.tags_to(&place, digest).await, by_v1, "{name}");
        assert!(
            catalog.tags_to(&other, digest).await.is_empty(),
            "{name}, another repository"
        );
    }
    catalog
        .publish(&place, &tag("v2"), &child.digest, &child.digest)
        .await
        .unwrap();
    let mut both = catalog.tags_to(&place, &config).await;
    both.sort();
    assert_eq!(both, ["v1".to_owned(), "v2".to_owned()]);
    // What was answered once stays answered, also when upstream says the same later.
    catalog.resolved(&place, &tag("v2"), &child).await.unwrap();
    assert!(catalog.tags_to(&place, &config).await.contains(&"v2".to_owned()));
}

#[tokio::test]
async fn a_repository_reads_what_it_was_shown_and_what_was_made_for_it() {
    let catalog = Catalog::in_memory().await.unwrap();
    let (place, other) = (at("team/app"), at("team/other"));
    let (source, made) = (parsed(&Image::tiny("source")), parsed(&Image::tiny("made")));
    let made_index = index(&[Image::tiny("made")]);
    catalog.resolved(&place, &tag("v1"), &source).await.unwrap();
    let may_read = async |place: &Place, digest: &Digest| catalog.may_read(place, digest).await.unwrap();
    assert!(may_read(&place, &source.digest).await, "the tag's image");
    assert!(
        !may_read(&place, &config_of(&source)).await,
        "that a manifest mentions a blob is no reason"
    );
    catalog.seen(&place, &config_of(&source), None).await.unwrap();
    assert!(may_read(&place, &config_of(&source)).await, "upstream showed it");
    assert!(!may_read(&other, &config_of(&source)).await, "but not there");

    let both = [made.clone(), made_index.clone()];
    catalog
        .decide(&place, &source.digest, CHOICES, verdict(&both))
        .await
        .unwrap();
    assert!(
        !may_read(&place, &made_index.digest).await,
        "it is made, but not published"
    );
    catalog
        .publish(&place, &tag("v1"), &source.digest, &made_index.digest)
        .await
        .unwrap();
    for (name, digest) in [
        ("index", &made_index.digest),
        ("image", &made.digest),
        ("configuration", &config_of(&made)),
    ] {
        assert!(may_read(&place, digest).await, "{name}");
        assert!(!may_read(&other, digest).await, "{name}, another repository");
    }
}

#[tokio::test]
async fn a_manifest_that_somebody_wrote_opens_no_way_to_what_we_made_elsewhere() {
    let catalog = Catalog::in_memory().await.unwrap();
    let (victim, thief) = (at("team/secret"), at("thief/app"));
    let made = parsed(&Image::tiny("made"));
    catalog
        .decide(
            &victim,
            &Digest::of(b"source"),
            CHOICES,
            verdict(std::slice::from_ref(&made)),
        )
        .await
        .unwrap();
    catalog
        .publish(&victim, &tag("v1"), &Digest::of(b"source"), &made.digest)
        .await
        .unwrap();
    let mine = index(&[Image::tiny("made")]);
    catalog.resolved(&thief, &tag("v1"), &mine).await.unwrap();
    let copy = at("thief/copy");
    catalog.resolved(&copy, &tag("v1"), &made).await.unwrap();
    assert!(
        !catalog.may_read(&copy, &config_of(&made)).await.unwrap(),
        "it showed us a copy of our manifest"
    );
    for digest in [&made.digest, &config_of(&made)] {
        assert!(!catalog.may_read(&thief, digest).await.unwrap());
        assert!(catalog.may_read(&victim, digest).await.unwrap());
    }
}

#[tokio::test]
async fn a_size_is_believed_when_all_descriptors_agree() {
    let catalog = Catalog::in_memory().await.unwrap();
    let (place, blob) = (at("team/app"), Digest::of(b"blob"));
    let naming = |size: u64, name: &str| {
        let json = format!(
            r#"{{"schemaVersion":2,"name":"{name}","config":{{"digest":"{blob}","size":{size}}},"layers":[]}}"#
        );
        Manifest::parse(json, "").unwrap()
    };
    assert_eq!(catalog.size(&blob).await.unwrap(), None);
    for (size, name, expected) in [(5, "a", Some(5)), (5, "b", Some(5)), (6, "liar", None)] {
        let manifest = naming(size, name);
        catalog.seen(&place, &manifest.digest, Some(&manifest)).await.unwrap();
        assert_eq!(catalog.size(&blob).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_decision_and_its_manifests_become_visible_together_or_not_at_all() {
    let catalog = Catalog::in_memory().await.unwrap();
    let (place, made) = (at("team/app"), parsed(&Image::tiny("made")));
    let source = Digest::of(b"source");
    catalog.meddle("ALTER TABLE decisions RENAME TO gone").await;
    assert!(
        catalog
            .decide(&place, &source, CHOICES, verdict(std::slice::from_ref(&made)))
            .await
            .is_err()
    );
    assert!(
        catalog.manifest(&made.digest).await.unwrap().is_none(),
        "half of a decision is visible"
    );
    catalog.meddle("ALTER TABLE gone RENAME TO decisions").await;
    let decided = catalog
        .decide(&place, &source, CHOICES, verdict(std::slice::from_ref(&made)))
        .await
        .unwrap();
    assert_eq!((&decided.served, decided.note.as_str()), (&made.digest, "note"));
    let stored = catalog.decision(&place, &source, CHOICES).await.unwrap().unwrap();
    assert_eq!((stored.served, stored.note), (decided.served, decided.note));
    assert_eq!(catalog.manifest(&made.digest).await.unwrap().unwrap().bytes, made.bytes);
    assert_eq!(
        catalog.decision(&at("team/other"), &source, CHOICES).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_publication_switches_all_of_it_or_nothing() {
    let catalog = Catalog::in_memory().await.unwrap();
    let (place, source, tag) = (at("team/app"), Digest::of(b"source"), tag("v1"));
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    catalog.publish(&place, &tag, &source, &old).await.unwrap();
    catalog.meddle("ALTER TABLE published RENAME TO gone").await;
    assert!(catalog.publish(&place, &tag, &source, &new).await.is_err());
    catalog.meddle("ALTER TABLE gone RENAME TO published").await;
    assert_eq!(catalog.last_patched(&place, &tag).await.unwrap(), Some(old));
    assert!(
        !catalog.may_read(&place, &new).await.unwrap(),
        "half of a publication is visible"
    );
    catalog.publish(&place, &tag, &source, &new).await.unwrap();
    assert_eq!(catalog.last_patched(&place, &tag).await.unwrap(), Some(new));
}

#[tokio::test]
async fn nothing_to_patch_is_a_decision_for_the_original() {
    let catalog = Catalog::in_memory().await.unwrap();
    let (place, source) = (at("team/app"), Digest::of(b"source"));
    assert_eq!(
        catalog
            .decide(&place, &source, CHOICES, verdict(&[]))
            .await
            .unwrap()
            .served,
        source
    );
    assert!(catalog.layer("plan").await.unwrap().is_none());
    let layer = patch_layer(&["bash"]);
    catalog.put_layer("plan", &layer).await.unwrap();
    assert_eq!(catalog.layer("plan").await.unwrap().unwrap().0, layer);
}

#[tokio::test]
async fn what_was_recorded_survives_a_process_that_just_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.sqlite");
    let (place, image) = (at("team/app"), parsed(&Image::tiny("a")));
    let catalog = Catalog::open(&file).await.unwrap();
    catalog.resolved(&place, &tag("v1"), &image).await.unwrap();
    catalog
        .publish(&place, &tag("v1"), &Digest::of(b"source"), &image.digest)
        .await
        .unwrap();
    let before = catalog.tag(&place, &tag("v1")).await.unwrap().unwrap();
    // Opened a second time without being closed: the write-ahead log is all that there is.
    let again = Catalog::open(&file).await.unwrap();
    drop(catalog);
    assert_eq!(again.tag(&place, &tag("v1")).await.unwrap().unwrap(), before);
    assert_eq!(again.manifest(&image.digest).await.unwrap().unwrap().bytes, image.bytes);
    assert_eq!(
        again.last_patched(&place, &tag("v1")).await.unwrap(),
        Some(image.digest.clone())
    );
    again.forget(&place, &tag("v1")).await.unwrap();
    again.close().await;
    assert!(again.tag(&place, &tag("v1")).await.is_err(), "closed is closed");
    let third = Catalog::open(&file).await.unwrap();
    assert_eq!(third.tag(&place, &tag("v1")).await.unwrap(), None);
}

#[tokio::test]
async fn writers_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let images: Vec<Manifest> = (0..20).map(|n| parsed(&Image::tiny(&n.to_string()))).collect();
    let place = at("team/app");
    let writes = images.iter().enumerate().map(async |(n, image)| {
        catalog.resolved(&place, &tag(&format!("v{n}")), image).await?;
        catalog
            .decide(&place, &image.digest, CHOICES, verdict(std::slice::from_ref(image)))
            .await
    });
    for written in join_all(writes).await {
        written.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_no_catalog_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.sqlite");
    std::fs::write(
        &file,
        "certainly not a database, and long enough to be looked at".repeat(100),
    )
    .unwrap();
    assert!(Catalog::open(&file).await.is_err());
}

#[tokio::test]
async fn a_damaged_row_is_an_error_or_as_good_as_none() {
    let (place, image) = (at("team/app"), parsed(&Image::tiny("a")));
    let source = image.digest.clone();
    for (sql, is_error) in [
        ("UPDATE tags SET digest = 'sha256:../etc'", true),
        ("UPDATE manifests SET bytes = x'7b7d'", true),
        ("UPDATE manifests SET bytes = bytes || x'20'", true),
        (
            "UPDATE manifests SET media_type = 'application/vnd.oci.image.index.v1+json'",
            true,
        ),
        ("UPDATE decisions SET served = 'x'", true),
        ("UPDATE published SET served = ''", true),
        ("UPDATE layers SET layer = '{}'", true),
        ("UPDATE tags SET checked_at = 'noon'", true),
        ("UPDATE tags SET digest = x'ff'", true),
        ("UPDATE manifests SET media_type = x'ff'", true),
        ("UPDATE decisions SET decided_at = 'noon'", true),
        ("UPDATE inventories SET inventory = '{'", false),
        ("UPDATE tags SET checked_at = -1", false),
        ("UPDATE decisions SET decided_at = 9223372036854775807", false),
    ] {
        let catalog = Catalog::in_memory().await.unwrap();
        catalog.resolved(&place, &tag("v1"), &image).await.unwrap();
        catalog.decide(&place, &source, CHOICES, verdict(&[])).await.unwrap();
        catalog.publish(&place, &tag("v1"), &source, &source).await.unwrap();
        catalog.put_layer("plan", &patch_layer(&[])).await.unwrap();
        catalog.put_inventory("image", &"inventory").await.unwrap();
        catalog.meddle(sql).await;
        let read = [
            catalog.tag(&place, &tag("v1")).await.err(),
            catalog.manifest(&source).await.err(),
            catalog.decision(&place, &source, CHOICES).await.err(),
            catalog.last_patched(&place, &tag("v1")).await.err(),
            catalog.layer("plan").await.err(),
            catalog.inventory::<String>("image").await.err(),
        ];
        let errors: Vec<CatalogError> = read.into_iter().flatten().collect();
        assert_eq!(errors.len(), usize::from(is_error), "{sql}: {errors:?}");
        assert!(
            errors.iter().all(|error| matches!(error, CatalogError::Damaged { .. })),
            "{sql}: {errors:?}"
        );
    }
}
