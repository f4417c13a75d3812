//! Helper images: the package manager for an image that has packages and none of its own (UBI micro). A helper is of the same
//! distribution and release as the image, comes through the mirror's own upstreams, and is pinned by its digest in the plan.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use patchport_config as config;
use patchport_oci::manifest::Content;
use patchport_oci::{Manifest, Platform, Reference};
use patchport_packages::OsRelease;
use patchport_packages::inventory::replaces;
use patchport_packages::layer::{Tree, Watch};
use patchport_packages::rpm::{self, Head, Running};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::direct::Refused;
use super::job::Patcher;
use super::{PackageFile, PatchError};
use crate::depot::DepotError;
use crate::flight::Interrupted;
use crate::inspect;
use crate::plan::{self, Plan};
use crate::respond::chain;
use crate::route::{Place, Table};
use crate::scan::Subject;
use crate::subject::subject;

/// Distributions whose minor versions are one release: packages of one go with any.
const BY_MAJOR: [&str; 5] = ["rhel", "centos", "rocky", "almalinux", "ol"];
/// Distributions that have one release only; their version is a date.
const ROLLING: [&str; 1] = ["opensuse-tumbleweed"];
/// Directories that scripts may write to and that are no part of what an upgrade changes.
const COVERED: [&str; 3] = ["dev", "run", "tmp"];

/// The helpers that the operator names, and where their images come from.
pub struct Helpers {
    entries: Vec<config::Helper>,
    table: Table,
}

/// A helper that was found for an image.
#[derive(Clone)]
pub(super) struct Found {
    subject: Subject,
    /// As plans name it.
    pub(super) named: plan::Helper,
}

/// How a helper is used for one image.
pub struct Helping {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: Bytes,
    /// Where its layers are.
    pub place: Place,
    /// Where the image has rpm's database, one of [`rpm::DATABASES`].
    pub database: &'static str,
    /// Directories of the image that something else is mounted over meanwhile.
    pub covered: Vec<&'static str>,
}

impl Helpers {
    /// These helpers, from the upstreams of a table.
    pub fn new(entries: Vec<config::Helper>, table: Table) -> Self {
        Self { entries, table }
    }

    /// The name of the helper for a distribution.
    fn image(&self, os: &OsRelease) -> Result<String, PatchError> {
        let version = os.version_id.as_deref().unwrap_or_default();
        let entry = self.entries.iter().find(|entry| entry.matches(&os.id, version));
        let entry = entry.ok_or_else(|| {
            let id = &os.id;
            PatchError::Unsupported(format!(
                "it has rpm's database and no package manager, and no [[helper]] has one for {id} {version}: name an image of that release, id = {id:?}"
            ))
        })?;
        Ok(entry.image(version))
    }

    fn place(&self, image: &str) -> Result<(Place, Reference), PatchError> {
        let wrong =
            |reason: String| PatchError::Unsupported(format!("the helper image {image} cannot be had: {reason}"));
        let (name, reference) = match image.split_once('@') {
            Some((name, digest)) => (
                name,
                digest.parse().map(Reference::Digest).map_err(|_| "its digest is none"),
            ),
            None => {
                let (name, tag) = image.rsplit_once(':').unwrap_or((image, ""));
                (name, tag.parse().map(Reference::Tag).map_err(|_| "its tag is none"))
            }
        };
        let place = self.table.named(name).map_err(|error| wrong(chain(&error)))?;
        Ok((place, reference.map_err(|reason| wrong(reason.to_owned()))?))
    }
}

impl Patcher {
    /// The helper for an image, fit for use.
    ///
    /// # Errors
    /// [`PatchError::Unsupported`] when there is none that fits, [`PatchError::Helper`] when it cannot be had now.
    pub(super) async fn helper(&self, target: &Subject) -> Result<Found, PatchError> {
        let os = &target.inventory.os;
        let image = self.parts.helpers.image(os)?;
        let (place, reference) = self.parts.helpers.place(&image)?;
        let subject = self.found(&place, &reference, &target.platform).await;
        let subject = subject.map_err(|source| PatchError::Helper {
            image: image.clone(),
            source: Box::new(source),
        })?;
        let unfit =
            |reason: String| PatchError::Unsupported(format!("the helper image {image} does not fit it: {reason}"));
        let subject = subject.ok_or_else(|| unfit(format!("it has no image with packages for {}", target.platform)))?;
        // Its code runs, so it is one of those that may be used.
        self.admit(&subject).await?;
        let own = &subject.inventory.os;
        if release(own) != release(os) {
            return Err(unfit(format!("it is {}, the image is {}", words(own), words(os))));
        }
        if let Some(lacking) = ["rpm", "sh"]
            .into_iter()
            .find(|tool| !subject.inventory.tools.iter().any(|own| own == tool))
        {
            return Err(unfit(format!("it has no {lacking}")));
        }
        let named = plan::Helper {
            name: place.to_string(),
            digest: subject.manifest.digest.clone(),
        };
        Ok(Found { subject, named })
    }

    async fn found(
        &self,
        place: &Place,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<Subject>, PatchError> {
        let parts = &self.parts;
        let manifest = match reference {
            Reference::Tag(tag) => parts.resolver.tag(place, tag).await?,
            Reference::Digest(digest) => parts.resolver.digest(place, digest, false).await?,
        };
        let Content::Index { manifests } = &manifest.content else {
            let subject = subject(place, &manifest, None, &parts.library, &parts.catalog).await?;
            return Ok(subject.filter(|subject| subject.platform.same(platform)));
        };
        let fits = |own: &Platform| own.same(platform);
        let Some(child) = manifests.iter().find(|child| child.platform.as_ref().is_some_and(fits)) else {
            return Ok(None);
        };
        let image = parts.resolver.digest(place, &child.digest, true).await?;
        subject(
            place,
            &image,
            Some((&manifest.digest, platform)),
            &parts.library,
            &parts.catalog,
        )
        .await
    }

    /// How a helper is to carry out a plan.
    ///
    /// # Errors
    /// [`PatchError::LeftOut`] when packages have scripts that nothing in the image can run; without those it may do.
    pub(super) async fn helping(
        &self,
        plan: &Plan,
        target: &Subject,
        found: Found,
        packages: &[PackageFile],
    ) -> Result<Helping, PatchError> {
        let parts = &self.parts;
        let files = inspect::files(&target.manifest, &target.place, &parts.library, &parts.catalog).await?;
        let files = files.unwrap_or_default();
        let database = rpm::DATABASES.into_iter().find_map(|path| {
            let bytes = files.read(path).ok().flatten()?;
            (!bytes.is_empty()).then_some((path, bytes))
        });
        let (path, bytes) =
            database.ok_or_else(|| PatchError::Unsupported("its package database is gone".to_owned()))?;
        let installed = rpm::read_scripts(path, bytes);
        let installed = installed
            .map_err(|error| PatchError::Unsupported(format!("its packages cannot be read: {}", chain(&error))))?;
        let mut heads = Vec::with_capacity(packages.len());
        for package in packages {
            heads.push(self.head(package).await?);
        }
        let tree = self.tree(target, Watch::default()).await?;
        let refused = refused(plan, &tree, &heads, &installed);
        if !refused.is_empty() {
            return Err(PatchError::LeftOut(refused));
        }
        let Subject {
            manifest,
            config,
            place,
            ..
        } = found.subject;
        Ok(Helping {
            manifest,
            config,
            place,
            database: path,
            covered: COVERED.into_iter().filter(|path| tree.is_directory(path)).collect(),
        })
    }

    /// What a fetched package says of itself.
    async fn head(&self, package: &PackageFile) -> Result<Head, PatchError> {
        let content = self.parts.depot.blobs().stored(&package.digest).await?;
        let gone = || PatchError::Depot(DepotError::Interrupted(Interrupted));
        let stream = content.ok_or_else(gone)?.stream(None).map_err(std::io::Error::other);
        let mut reader = std::io::BufReader::new(SyncIoBridge::new(StreamReader::new(stream.boxed())));
        let read = tokio::task::spawn_blocking(move || Head::read(&mut reader)).await;
        read.map_err(|_| Interrupted)?.map_err(|error| {
            PatchError::Unproven(format!(
                "the package {} cannot be used: {}",
                package.name,
                chain(&error)
            ))
        })
    }
}

/// The upgrades whose packages have scripts that nothing in the image can run.
fn refused(plan: &Plan, tree: &Tree, heads: &[Head], installed: &[Running]) -> Vec<Refused> {
    let reason = |upgrade: &plan::Upgrade| {
        let own = heads.iter().find(|head| {
            head.package.name == upgrade.name && replaces(&head.package.architecture, &upgrade.architecture)
        });
        rpm::unrunnable(tree, own?, installed)
    };
    let refused = plan.upgrades.iter().filter_map(|upgrade| {
        Some(Refused {
            reason: reason(upgrade)?,
            name: upgrade.name.clone(),
            architecture: upgrade.architecture.clone(),
        })
    });
    refused.collect()
}

/// What two images have in common when packages of one go with the other.
fn release(os: &OsRelease) -> (&str, &str) {
    let version = os.version_id.as_deref().unwrap_or_default();
    let id = os.id.as_str();
    if ROLLING.contains(&id) {
        (id, "")
    } else if BY_MAJOR.contains(&id) {
        (id, version.split('.').next().unwrap_or_default())
    } else {
        (id, version)
    }
}

fn words(os: &OsRelease) -> String {
    format!("{} {}", os.id, os.version_id.as_deref().unwrap_or("without a version"))
}

#[cfg(test)]
mod tests {
    use patchport_packages::OsRelease;

    use super::{Helpers, release};
    use crate::route::Table;

    fn os(id: &str, version: &str) -> OsRelease {
        OsRelease::parse(format!("ID={id}\nVERSION_ID={version}\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_helper_is_of_the_same_distribution_and_release() {
        let cases = [
            ("rhel", "9.4", "rhel", "9.6", true),
            ("rhel", "9.4", "rhel", "8.10", false),
            ("rhel", "9.4", "rocky", "9.4", false),
            ("sles", "15.6", "sles", "15.5", false),
            ("fedora", "42", "fedora", "42", true),
            ("amzn", "2023", "amzn", "2", false),
            (
                "opensuse-tumbleweed",
                "20250101",
                "opensuse-tumbleweed",
                "20260101",
                true,
            ),
        ];
        for (id, version, other, its, same) in cases {
            assert_eq!(
                release(&os(id, version)) == release(&os(other, its)),
                same,
                "{id} {version}, {other} {its}"
            );
        }
    }

    #[test]
    fn a_distribution_without_a_helper_is_told_what_to_write() {
        let helpers = Helpers::new(vec![], Table::new([]));
        let error = helpers.image(&os("altlinux", "p10")).unwrap_err().to_string();
        assert!(error.contains("no [[helper]] has one for altlinux p10"), "{error}");
        let error = helpers.place("registry.example/a/b:1").err().unwrap().to_string();
        assert!(
            error.contains("registry.example/a/b:1") && error.contains("not among the upstreams"),
            "{error}"
        );
    }
}
