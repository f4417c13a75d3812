//! Where a patched image goes: the words of `--output`, and what it is called there.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use patchport_oci::{Reference, Tag};

use super::engine::Loader;
use crate::cli::image::{Named, Written};

/// A place for an image, in skopeo's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `oci:FOLDER[:TAG]`: an OCI layout; one that is there gets one more image.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// The image's name in it.
        name: Option<String>,
    },
    /// `oci-archive:FILE[:NAME]`: an OCI layout in a tar.
    OciArchive {
        /// The file.
        file: PathBuf,
        /// The image's name in it.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:NAME]`: what `docker save` writes; one platform.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// The image's name in it.
        name: Option<String>,
    },
    /// `docker-daemon[:NAME]`: the images of Docker; one platform.
    Docker {
        /// The image's name in it.
        name: Option<String>,
    },
    /// `containers-storage[:NAME]`: the images of Podman.
    Podman {
        /// The image's name in it.
        name: Option<String>,
    },
}

/// What `--output` names: a place for an image, or a file without a kind, which is what Copacetic's command takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A place for an image.
    Image(Output),
    /// A file for the VEX.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(output) => Ok(Self::Image(output)),
            Err(_) if !text.is_empty() && text != "oci" && !text.ends_with("-archive") && !text.contains(':') => {
                Ok(Self::File(text.into()))
            }
            Err(error) => Err(error),
        }
    }
}

impl Output {
    /// The store of this machine that takes the image, where one does.
    pub(super) fn loader(&self) -> Option<Loader> {
        match self {
            Self::Docker { .. } => Some(Loader::Docker),
            Self::Podman { .. } => Some(Loader::Podman),
            Self::Layout { .. } | Self::OciArchive { .. } | Self::DockerArchive { .. } => None,
        }
    }
}

/// What `--output` takes.
pub(super) const FORMS: &str = "oci:FOLDER[:TAG], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], docker-daemon[:NAME] or \
                     containers-storage[:NAME]";

impl FromStr for Output {
    type Err = String;

    /// As skopeo does it, a path ends at its first colon.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text
            .split_once(':')
            .map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let rest = rest.filter(|rest| !rest.is_empty());
        let name = || rest.map(str::to_owned);
        let split = || -> Result<(PathBuf, Option<String>), String> {
            let rest = rest.ok_or_else(|| format!("{text:?} has no path; write {FORMS}"))?;
            let (path, name) = rest
                .split_once(':')
                .map_or((rest, None), |(path, name)| (path, Some(name)));
            Ok((path.into(), name.filter(|name| !name.is_empty()).map(str::to_owned)))
        };
        Ok(match kind {
            "oci" => {
                let (folder, name) = split()?;
                Self::Layout { folder, name }
            }
            "oci-archive" => {
                let (file, name) = split()?;
                Self::OciArchive { file, name }
            }
            "docker-archive" => {
                let (file, name) = split()?;
                Self::DockerArchive { file, name }
            }
            "docker-daemon" | "docker" => Self::Docker { name: name() },
            "containers-storage" | "podman" => Self::Podman { name: name() },
            _ => return Err(format!("write {FORMS}")),
        })
    }
}

/// What a patched image is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Title {
    /// Its repository, as the person wrote it; nothing for an image that no registry has.
    pub(super) repository: Option<String>,
    /// Its tag.
    pub(super) tag: String,
}

impl Title {
    /// The name of the patched image: what `--tag` says, a tag or a whole reference; else the original's with a suffix.
    ///
    /// # Errors
    /// When it is no name that an image can have.
    pub(super) fn of(named: &Named, tag: Option<&str>, suffix: &str) -> anyhow::Result<Self> {
        let (repository, own) = original(named);
        let title = match tag {
            Some(whole) if whole.contains(['/', ':']) => Self::whole(whole)?,
            Some(tag) => Self {
                repository,
                tag: tag.to_owned(),
            },
            None => Self {
                repository,
                tag: suffixed(own.as_deref(), suffix),
            },
        };
        title
            .tag
            .parse::<Tag>()
            .with_context(|| format!("{:?} is no tag", title.tag))?;
        Ok(title)
    }

    /// A whole reference.
    pub(super) fn whole(text: &str) -> anyhow::Result<Self> {
        let written = Written::parse(text)?;
        let Reference::Tag(tag) = written.reference else {
            anyhow::bail!("{text:?} is a digest; a patched image is named by a tag");
        };
        let repository = text.strip_suffix(&format!(":{tag}")).unwrap_or(text);
        Ok(Self {
            repository: Some(repository.strip_prefix("docker://").unwrap_or(repository).to_owned()),
            tag: tag.as_str().to_owned(),
        })
    }

    /// Repository and tag.
    ///
    /// # Errors
    /// When it has no repository.
    pub(super) fn full(&self) -> anyhow::Result<String> {
        let repository = self.repository.as_deref();
        let repository = repository.context("the image has no name of its own; give one: --tag NAME:TAG")?;
        Ok(format!("{repository}:{}", self.tag))
    }

    /// As much of a name as there is.
    pub(super) fn short(&self) -> String {
        self.full().unwrap_or_else(|_| self.tag.clone())
    }
}

/// Repository and tag of the original, as far as it has them.
fn original(named: &Named) -> (Option<String>, Option<String>) {
    let text = match &named.label {
        // A layout may call an image by a tag alone.
        Some(label) if !label.contains(['/', ':']) => return (None, Some(label.clone())),
        Some(label) => label.as_str(),
        None if &*named.place.site.name == super::LOCAL => return (None, None),
        None => named.name.as_str(),
    };
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((repository, tag)) => (Some(repository.to_owned()), Some(tag.to_owned())),
        None => (
            Some(name.to_owned()),
            named.tag.as_ref().map(|tag| tag.as_str().to_owned()),
        ),
    }
}

/// A tag with the suffix; one that has it already is not given it twice.
fn suffixed(tag: Option<&str>, suffix: &str) -> String {
    match tag {
        None => suffix.to_owned(),
        Some(tag) if tag.ends_with(&format!("-{suffix}")) => tag.to_owned(),
        Some(tag) => format!("{tag}-{suffix}"),
    }
}

/// The suffix of tags of patched images.
///
/// # Errors
/// When no tag can end so.
pub(super) fn suffix(text: &str) -> anyhow::Result<&str> {
    ensure!(
        format!("a-{text}").parse::<Tag>().is_ok() && !text.is_empty(),
        "{text:?} cannot be the end of a tag"
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_as_skopeo_writes_them() {
        let path = |text: &str| PathBuf::from(text);
        let name = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            (
                "oci:out",
                Output::Layout {
                    folder: path("out"),
                    name: None,
                },
            ),
            (
                "oci:/a/b:v1",
                Output::Layout {
                    folder: path("/a/b"),
                    name: name("v1"),
                },
            ),
            (
                "docker-archive:f.tar:127.0.0.1:5000/app:v1",
                Output::DockerArchive {
                    file: path("f.tar"),
                    name: name("127.0.0.1:5000/app:v1"),
                },
            ),
            (
                "oci-archive:f.tar",
                Output::OciArchive {
                    file: path("f.tar"),
                    name: None,
                },
            ),
            ("docker-daemon", Output::Docker { name: None }),
            ("docker", Output::Docker { name: None }),
            ("docker-daemon:app:v1", Output::Docker { name: name("app:v1") }),
            ("containers-storage:", Output::Podman { name: None }),
        ] {
            assert_eq!(text.parse::<Output>(), Ok(expected), "{text}");
        }
        for text in ["", "oci", "oci:", "file.tar", "zip:a"] {
            assert!(
                text.parse::<Output>().unwrap_err().contains("oci-archive:FILE"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_without_a_kind_is_told_from_an_image() {
        assert_eq!("vex.json".parse(), Ok(Target::File("vex.json".into())));
        assert_eq!("/tmp/vex".parse(), Ok(Target::File("/tmp/vex".into())));
        assert_eq!("docker".parse(), Ok(Target::Image(Output::Docker { name: None })));
        for text in ["", "oci", "oci-archive", "docker-archive", "zip:a"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn whole_references_keep_their_words() {
        let title = Title::whole("docker://127.0.0.1:5000/team/app:v2").unwrap();
        assert_eq!(title.full().unwrap(), "127.0.0.1:5000/team/app:v2");
        assert_eq!(Title::whole("app:v1").unwrap().full().unwrap(), "app:v1");
        assert!(Title::whole("app@sha256:x").is_err());
        assert_eq!(suffixed(Some("1"), "patched"), "1-patched");
        assert_eq!(suffixed(Some("1-patched"), "patched"), "1-patched");
        assert_eq!(suffixed(None, "patched"), "patched");
        assert!(suffix("").is_err() && suffix("a b").is_err() && suffix("x").is_ok());
    }
}
