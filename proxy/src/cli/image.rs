//! The image that a person names: a reference, an OCI layout, or a tar; and the stages that look at it.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use patchport_config::Config;
use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest, Platform, Reference, Repository, Tag};
use tempfile::TempDir;

use super::archive;
use super::login::{self, Login};
use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::index::Indexes;
use crate::inspect;
use crate::library::Library;
use crate::resolve::Resolver;
use crate::route::{Place, Site};
use crate::scan::{Scanners, Subject};
use crate::sources::Sources;
use crate::store::disk::DiskStore;
use crate::subject::{is_linux, subject};
use crate::tasks::Tasks;
use crate::upstream::Upstream;
use crate::upstream::client::{Client, Settings};
use crate::upstream::layout::Layout;

/// How long running fetches may take to end when a command is done.
const PATIENCE: Duration = Duration::from_secs(1);

/// The stages that look at images, on a store that is gone with them.
pub struct Workbench {
    /// What is remembered meanwhile.
    pub catalog: Catalog,
    /// Where blobs come from.
    pub library: Arc<Library>,
    /// Where manifests come from.
    pub resolver: Arc<Resolver>,
    /// What tells what is outdated.
    pub scanners: Scanners,
    pub(super) blobs: Arc<Blobs>,
    pub(super) indexes: Arc<Indexes>,
    /// Which sources may be used.
    pub(super) sources: Sources,
    /// Where a patch layer is written on its way.
    pub(super) scratch: PathBuf,
    pub(super) config: Config,
    pub(super) tasks: Tasks,
    pub(super) folder: TempDir,
}

/// An image as it was named.
pub struct Named {
    /// What the person wrote.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Its tag, when it has one.
    pub tag: Option<Tag>,
    /// What a layout or an archive calls it.
    pub label: Option<String>,
    /// Its manifest, or its index.
    pub manifest: Manifest,
}

/// One image of those behind a name.
pub struct Part {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its platform, when an index says so.
    pub platform: Option<Platform>,
    /// What is to be scanned; nothing when it has no packages.
    pub subject: Option<Subject>,
}

impl Workbench {
    /// A workbench that obeys the configuration; programs are looked for on `path`.
    ///
    /// # Errors
    /// When there is no room for it, or the configuration cannot be used.
    pub async fn new(config: Config, path: Option<&OsStr>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("patchport-").tempdir();
        let folder = folder.context("cannot make a folder for temporary files")?;
        let tasks = Tasks::new();
        let store = DiskStore::open(folder.path()).context("cannot use the folder for temporary files")?;
        let catalog = Catalog::open(&folder.path().join("catalog.sqlite")).await?;
        let scratch = store.scratch().to_owned();
        let blobs = Arc::new(Blobs::new(Arc::new(store), tasks.clone()));
        let library = Arc::new(Library::new(catalog.clone(), Arc::clone(&blobs)));
        let resolver = Arc::new(Resolver::new(catalog.clone(), config.cache.tag_ttl, tasks.clone()));
        let sources = Sources::read(config.buildkit.source_policy.as_deref())?;
        let indexes = Indexes::new(
            config.repositories.clone(),
            sources.clone(),
            kept_folder(&config, folder.path(), "indexes"),
            &tasks,
        )?;
        let scanners = Scanners::configured(&config.scan, path, &indexes, &library, &catalog);
        Ok(Self {
            catalog,
            library,
            resolver,
            scanners,
            blobs,
            indexes,
            sources,
            scratch,
            config,
            tasks,
            folder,
        })
    }

    /// Finds an image by its name: a folder or a file, else a reference.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find(&self, name: &str) -> anyhow::Result<Named> {
        if let Some(local) = Local::of(name) {
            let folder = match local {
                Local::Folder { ref path, .. } => path.clone(),
                Local::File { ref path, .. } => self.unpack(path).await?,
            };
            return self.layout(name, &folder, local.label()).await;
        }
        let written = Written::parse(name)?;
        let place = self.place(&written).await?;
        let manifest = match &written.reference {
            Reference::Tag(tag) => self.resolver.tag(&place, tag).await,
            Reference::Digest(digest) => self.resolver.digest(&place, digest, false).await,
        };
        let manifest = manifest.with_context(|| format!("cannot find {name}"))?;
        let tag = match written.reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        Ok(Named {
            name: name.to_owned(),
            place,
            tag,
            label: None,
            manifest,
        })
    }

    /// The image in a tar.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn archived(&self, name: &str, file: &Path) -> anyhow::Result<Named> {
        let folder = self.unpack(file).await?;
        self.layout(name, &folder, None).await
    }

    async fn unpack(&self, file: &Path) -> anyhow::Result<PathBuf> {
        let folder = tempfile::Builder::new()
            .prefix("unpacked-")
            .tempdir_in(self.folder.path())
            .context("cannot make a folder to unpack into")?;
        // It goes with the workbench's own folder, for its blobs are read until then.
        let (file, target) = (file.to_owned(), folder.keep());
        let unpacked = target.clone();
        tokio::task::spawn_blocking(move || archive::unpack(&file, &target)).await??;
        Ok(unpacked)
    }

    /// The images behind a name: those for Linux, or the one for a platform.
    ///
    /// # Errors
    /// When one cannot be read, or the platform is not there.
    pub async fn parts(&self, named: &Named, platform: Option<&Platform>) -> anyhow::Result<Vec<Part>> {
        let Content::Index { manifests } = &named.manifest.content else {
            let subject = subject(&named.place, &named.manifest, None, &self.library, &self.catalog).await;
            return Ok(vec![Part {
                manifest: named.manifest.clone(),
                platform: None,
                subject: subject.with_context(|| format!("cannot look into {}", named.name))?,
            }]);
        };
        let mut parts = Vec::new();
        for child in manifests.iter() {
            let Some(own) = child.platform.as_ref().filter(|own| is_linux(own)) else {
                continue;
            };
            if platform.is_some_and(|wanted| !wanted.same(own)) {
                continue;
            }
            let manifest = self.resolver.digest(&named.place, &child.digest, true).await?;
            let part = Some((&named.manifest.digest, own));
            let subject = subject(&named.place, &manifest, part, &self.library, &self.catalog).await;
            parts.push(Part {
                manifest,
                platform: Some(own.clone()),
                subject: subject.with_context(|| format!("cannot look into {} for {own}", named.name))?,
            });
        }
        if parts.is_empty() {
            let listed: Vec<String> = manifests
                .iter()
                .filter_map(|child| Some(child.platform.as_ref()?.to_string()))
                .collect();
            bail!(
                "{} has no image for {}; it has {}",
                named.name,
                platform.map_or("linux".into(), ToString::to_string),
                listed.join(", ")
            );
        }
        Ok(parts)
    }

    /// What package managers of programming languages left in an image.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub async fn languages(
        &self,
        named: &Named,
        part: &Part,
    ) -> anyhow::Result<(Vec<patchport_packages::language::Package>, Vec<String>)> {
        let files = inspect::files(&part.manifest, &named.place, &self.library, &self.catalog).await?;
        Ok(files
            .map(|files| patchport_packages::language::read(&files))
            .unwrap_or_default())
    }

    /// Ends what still runs.
    pub async fn close(self) {
        self.tasks.shut_down(PATIENCE).await;
        self.catalog.close().await;
    }

    async fn layout(&self, name: &str, folder: &Path, label: Option<&str>) -> anyhow::Result<Named> {
        let layout = Layout::open(folder)?;
        let mut images = layout.images();
        if let Some(label) = label {
            images.retain(|(_, name)| name.as_deref() == Some(label));
        }
        let (digest, label) = match images.as_slice() {
            [(digest, label)] => (digest.clone(), label.clone()),
            [] => bail!("{name} has no image"),
            several => {
                let names: Vec<&str> = several.iter().filter_map(|(_, name)| name.as_deref()).collect();
                bail!(
                    "{name} has {} images ({}); name one of them: oci:FOLDER:NAME or oci-archive:FILE:NAME",
                    several.len(),
                    names.join(", ")
                );
            }
        };
        let site = Site {
            name: "local".into(),
            upstream: Arc::new(layout),
            docker_library: false,
        };
        let place = Place {
            site: Arc::new(site),
            repository: "image".parse()?,
        };
        let manifest = self.resolver.digest(&place, &digest, false).await;
        Ok(Named {
            name: name.to_owned(),
            manifest: manifest.with_context(|| format!("cannot read {name}"))?,
            place,
            tag: None,
            label,
        })
    }

    /// The repository that a person names: of an upstream in the table, else wherever its host is. Where the table has no
    /// credentials, those of `docker login` are used.
    pub(super) async fn place(&self, written: &Written) -> anyhow::Result<Place> {
        let known = self
            .config
            .upstreams
            .iter()
            .find(|upstream| upstream.name == written.host);
        let name: Arc<str> = written.host.as_str().into();
        let docker_library = known.is_some_and(|upstream| upstream.docker_library);
        let configured = known.and_then(|known| {
            let login = known.credentials.as_ref()?;
            Some((login.username.clone(), login.password.expose().to_owned()))
        });
        let user = match configured {
            Some(user) => Some(user),
            None => match login::of(&written.host).await? {
                Login::User { name, password } => Some((name, password)),
                Login::None | Login::Token => None,
            },
        };
        let scheme = if is_loopback(&written.host) { "http" } else { "https" };
        let client = Client::new(Settings {
            name: Arc::clone(&name),
            url: known.map_or_else(|| format!("{scheme}://{}", written.host), |known| known.url.to_string()),
            user,
            token_realms: known.map(|known| known.token_realms.clone()).unwrap_or_default(),
            ca: known.and_then(|known| known.ca.clone()),
            header_timeout: self.config.cache.upstream_timeout,
            stall_timeout: self.config.cache.stall_timeout,
        })?;
        let repository = if docker_library && !written.repository.contains('/') {
            format!("library/{}", written.repository)
        } else {
            written.repository.clone()
        };
        let site = Site {
            name,
            upstream: Arc::new(client) as Arc<dyn Upstream>,
            docker_library,
        };
        Ok(Place {
            site: Arc::new(site),
            repository: repository.parse::<Repository>()?,
        })
    }
}

/// What the name of an image means on this machine, if there is such a folder or file.
enum Local {
    Folder { path: PathBuf, label: Option<String> },
    File { path: PathBuf, label: Option<String> },
}

impl Local {
    /// `[oci:]FOLDER[:NAME]`, `[oci-archive:|docker-archive:]FILE[:NAME]`; a name is understood after a prefix only.
    fn of(text: &str) -> Option<Self> {
        let prefixes = ["oci:", "oci-archive:", "docker-archive:"];
        let bare = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
        let whole = |path: &str, label: Option<String>| {
            let path = PathBuf::from(path);
            match path.metadata() {
                Ok(found) if found.is_dir() => Some(Self::Folder { path, label }),
                Ok(found) if found.is_file() => Some(Self::File { path, label }),
                _ => None,
            }
        };
        let named = || {
            let (path, label) = bare?.split_once(':')?;
            whole(path, Some(label.to_owned()))
        };
        whole(bare.unwrap_or(text), None).or_else(named)
    }

    fn label(&self) -> Option<&str> {
        let (Self::Folder { label, .. } | Self::File { label, .. }) = self;
        label.as_deref()
    }
}

/// Where something is kept from run to run: below the mirror's store, if we may write there.
pub(super) fn kept_folder(config: &Config, fallback: &Path, name: &str) -> PathBuf {
    let shared = config.store.dir.join(name);
    let is_usable = std::fs::create_dir_all(&shared).is_ok() && tempfile::NamedTempFile::new_in(&shared).is_ok();
    if is_usable { shared } else { fallback.join(name) }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// A reference as people write it.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) host: String,
    pub(super) repository: String,
    pub(super) reference: Reference,
}

impl Written {
    /// `[host/]repository[:tag][@digest]`; Docker Hub and `latest` where nothing is said (distribution's
    /// `reference.ParseNormalizedNamed`).
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (name, digest) = text
            .split_once('@')
            .map_or((text, None), |(name, digest)| (name, Some(digest)));
        let (host, rest) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => ("docker.io", name),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let malformed = || format!("{text:?} is neither a file nor the name of an image");
        let reference = match (digest, tag) {
            (Some(digest), _) => Reference::Digest(digest.parse::<Digest>().with_context(malformed)?),
            (None, tag) => Reference::Tag(tag.unwrap_or("latest").parse().with_context(malformed)?),
        };
        repository.parse::<Repository>().with_context(malformed)?;
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            reference,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_as_people_write_them() {
        let digest = Digest::of(b"x").to_string();
        let pinned = format!("ghcr.io/a/b:1@{digest}");
        for (text, expected) in [
            ("debian", "docker.io debian latest".to_owned()),
            ("debian:12", "docker.io debian 12".to_owned()),
            ("library/debian:12", "docker.io library/debian 12".to_owned()),
            ("docker://quay.io/a/b:c", "quay.io a/b c".to_owned()),
            ("localhost/a", "localhost a latest".to_owned()),
            (
                "127.0.0.1:5000/docker.io/library/debian:12",
                "127.0.0.1:5000 docker.io/library/debian 12".to_owned(),
            ),
            (&pinned, format!("ghcr.io a/b {digest}")),
        ] {
            let Written {
                host,
                repository,
                reference,
            } = Written::parse(text).unwrap();
            assert_eq!(format!("{host} {repository} {reference}"), expected, "{text}");
        }
        for text in ["", "A/B", "a@sha256:x", "a b"] {
            assert!(Written::parse(text).is_err(), "{text}");
        }
        assert!(is_loopback("127.0.0.1:5000") && is_loopback("localhost") && !is_loopback("127.0.0.1.example"));
    }
}
