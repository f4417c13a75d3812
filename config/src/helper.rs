//! `[[helper]]`: images with the package manager of a distribution, for its images that have a package database and no package
//! manager. A helper is only run: nothing of it gets into an image.

use globset::Glob;
use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::host::{HOST_FORM, is_host};

/// What stands for `VERSION_ID` in the name of an image, and for its part before the first dot.
const VERSION: &str = "$version";
const MAJOR: &str = "$major";

/// The helpers that are known without being configured: `ID`, `VERSION_ID`, image.
const KNOWN: [(&str, &str, &str); 12] = [
    ("rhel", "*", "docker.io/redhat/ubi$major:latest"),
    ("rocky", "*", "docker.io/rockylinux/rockylinux:$major"),
    ("almalinux", "*", "docker.io/library/almalinux:$major"),
    ("centos", "*", "quay.io/centos/centos:stream$major"),
    ("ol", "*", "docker.io/library/oraclelinux:$major"),
    ("amzn", "*", "public.ecr.aws/amazonlinux/amazonlinux:$version"),
    ("fedora", "*", "quay.io/fedora/fedora:$version"),
    ("sles", "*", "registry.suse.com/bci/bci-base:$version"),
    ("opensuse-leap", "*", "docker.io/opensuse/leap:$version"),
    ("opensuse-tumbleweed", "*", "docker.io/opensuse/tumbleweed:latest"),
    ("azurelinux", "*", "mcr.microsoft.com/azurelinux/base/core:$version"),
    ("mariner", "*", "mcr.microsoft.com/cbl-mariner/base/core:$version"),
];

/// The helper of a distribution's releases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[helper]] table")]
pub struct Helper {
    /// `ID` of the image's os-release, such as `rhel`.
    pub id: String,
    /// Its releases by `VERSION_ID`, a glob; all of them without.
    #[serde(default = "any")]
    pub version: String,
    /// The image, with the name of its upstream and a tag or digest; `$version` stands for the image's `VERSION_ID`, `$major` for what
    /// stands before the first dot of that.
    pub image: String,
}

fn any() -> String {
    "*".to_owned()
}

impl Helper {
    /// The list of a configuration that has none.
    pub(crate) fn built_in() -> Vec<Self> {
        let own = |(id, version, image): (&str, &str, &str)| Self {
            id: id.to_owned(),
            version: version.to_owned(),
            image: image.to_owned(),
        };
        KNOWN.into_iter().map(own).collect()
    }

    /// Whether it is for this release. A glob that is none matches nothing; the check of the configuration does not let it come here.
    #[must_use]
    pub fn matches(&self, id: &str, version: &str) -> bool {
        let glob = Glob::new(&self.version).map(|glob| glob.compile_matcher());
        self.id == id && glob.is_ok_and(|glob| glob.is_match(version))
    }

    /// The image for a release.
    #[must_use]
    pub fn image(&self, version: &str) -> String {
        let major = version.split('.').next().unwrap_or_default();
        self.image.replace(VERSION, version).replace(MAJOR, major)
    }

    /// Notes what is wrong with it under `key`.
    pub(crate) fn check(&self, key: &str, problems: &mut Problems) {
        if self.id.is_empty() {
            problems.add(
                format!("{key}.id"),
                "is empty, give the ID of the distribution's os-release",
            );
        }
        problems.keep(format!("{key}.version"), Glob::new(&self.version));
        let image = self.image("1.0");
        let (host, rest) = image.split_once('/').unwrap_or(("", &image));
        if !is_host(host) || !host.contains(['.', ':']) && host != "localhost" {
            let text = format!("must begin with the name of an [[upstream]]: {HOST_FORM}");
            problems.add(format!("{key}.image"), text);
        } else if !rest.contains(['@', ':']) {
            problems.add(
                format!("{key}.image"),
                "has neither a tag nor a digest, write such as \"docker.io/library/almalinux:$major\"",
            );
        }
    }
}
