//! What a report says about the image it was made for, and whether that is the expected one.
//! Whatever a report says must be right; what it must say at least is the caller's choice.

use patchport_oci::digest::Digest;
use patchport_oci::platform::Platform;

use super::{Binding, Error, Required};
use crate::os_release::OsRelease;

/// What a report says about its image; empty where it says nothing.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The digest of the config. Engines that keep images by manifest give the manifest's, or the index's.
    pub(super) image_id: String,
    /// Digests of the manifest or of an index, by which registries know the image; one of them must be right.
    pub(super) digests: Vec<String>,
    /// The layers' uncompressed digests, lowest first.
    pub(super) diff_ids: Vec<String>,
    /// The platform; empty members where nothing is said.
    pub(super) platform: Platform,
    /// The distribution in the scanner's own words, and its version.
    pub(super) distribution: String,
    pub(super) version: String,
}

impl Identity {
    /// Compares with what is expected; true when the report is tied to the image's content, by a digest or by its maker.
    pub(super) fn check(&self, expected: &Binding<'_>) -> Result<bool, Error> {
        self.check_platform(&expected.platform)?;
        let proven = self.check_digests(expected)? || expected.required == Required::Distribution;
        self.check_distribution(&expected.inventory.os, proven)?;
        let platform_is_said = !self.platform.architecture.is_empty();
        match expected.required {
            Required::Image if !proven => Err(Error::Unidentified("image")),
            Required::Platform if !proven && !platform_is_said => Err(Error::Unidentified("architecture")),
            Required::Image | Required::Platform | Required::Distribution => Ok(proven),
        }
    }

    fn check_platform(&self, expected: &Platform) -> Result<(), Error> {
        let said = self.platform.clone();
        // A member that the report leaves open is as expected: Trivy and Grype often leave the variant out.
        let mut whole = expected.clone();
        for (member, value) in [
            (&mut whole.os, said.os),
            (&mut whole.architecture, said.architecture),
            (&mut whole.variant, said.variant),
        ] {
            if !value.is_empty() {
                *member = value;
            }
        }
        if whole.same(expected) {
            return Ok(());
        }
        Err(Error::foreign("platform", &whole.to_string(), expected))
    }

    /// The config's digest decides over those of manifests: it stands for all content, while a manifest may be written
    /// in several ways, and Grype makes one up for images that come from an engine.
    fn check_digests(&self, expected: &Binding<'_>) -> Result<bool, Error> {
        let is_one = |list: &[Digest], text: &str| list.iter().any(|digest| digest.to_string() == text);
        let is_index = |text: &str| is_one(&expected.indexes, text);
        let is_image = |text: &str| text == expected.config.to_string() || is_one(&expected.manifests, text);
        let (mut proven, mut listed) = (false, false);
        if !self.image_id.is_empty() {
            (proven, listed) = (is_image(&self.image_id), is_index(&self.image_id));
            if !proven && !listed {
                return Err(Error::foreign("image ID", &self.image_id, &expected.config));
            }
        }
        if let Some(first) = self.digests.first().filter(|_| !proven) {
            proven = self.digests.iter().any(|digest| is_image(digest));
            listed = self.digests.iter().any(|digest| is_index(digest));
            if !proven && !listed {
                let manifests = expected.manifests.iter().chain(&expected.indexes);
                let manifests: Vec<_> = manifests.map(Digest::to_string).collect();
                return Err(Error::foreign("manifest", first, manifests.join(" or ")));
            }
        }
        if !self.diff_ids.is_empty() {
            let same = self.diff_ids.len() == expected.diff_ids.len();
            let mut pairs = self.diff_ids.iter().zip(&expected.diff_ids);
            if let Some((found, layer)) = pairs.find(|(found, layer)| **found != layer.to_string()) {
                return Err(Error::foreign("layer", found, layer));
            }
            if !same {
                let (found, layers) = (self.diff_ids.len(), expected.diff_ids.len());
                return Err(Error::foreign(
                    "an image with layers numbering",
                    &found.to_string(),
                    layers,
                ));
            }
            proven = true;
        }
        // An index stands for several images; the platform, which was compared, picks one of them.
        Ok(proven || (listed && !self.platform.architecture.is_empty()))
    }

    fn check_distribution(&self, expected: &OsRelease, proven: bool) -> Result<(), Error> {
        if self.distribution.is_empty() {
            return Err(Error::Unidentified("distribution"));
        }
        let said = canonical(&self.distribution);
        if said != canonical(&expected.id) {
            // Scanners take some derivatives for what they derive from; their versions then cannot be compared.
            if proven && expected.id_like.iter().any(|like| canonical(like) == said) {
                return Ok(());
            }
            return Err(Error::foreign("the distribution", &self.distribution, &expected.id));
        }
        let version = expected.version_id.as_deref().unwrap_or_default();
        if are_compatible(&self.version, version) {
            return Ok(());
        }
        let found = format!("{} {}", self.distribution, self.version);
        Err(Error::foreign(
            "the release",
            &found,
            format_args!("{} {version}", expected.id),
        ))
    }
}

/// Scanners have their own words for some distributions; this is `os-release`'s `ID`.
fn canonical(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let known = match lower.as_str() {
        "alma" => "almalinux",
        "amazon" | "amazonlinux" => "amzn",
        "oracle" | "oraclelinux" => "ol",
        "redhat" | "red hat enterprise linux" => "rhel",
        "rockylinux" => "rocky",
        "cbl-mariner" | "cbl mariner" => "mariner",
        "azure" | "azure linux" => "azurelinux",
        "suse linux enterprise server" | "suse" => "sles",
        "suse linux enterprise micro" | "slem" | "sle-micro" => "sl-micro",
        "opensuse.leap" | "opensuseleap" => "opensuse-leap",
        "opensuse.tumbleweed" | "opensusetumbleweed" => "opensuse-tumbleweed",
        "arch linux" | "archlinux" => "arch",
        _ => return lower,
    };
    known.to_owned()
}

/// Whether two texts can name the same release: equal in the numbers that both have. Trivy reads Debian's point release
/// (`12.7`), where os-release says `12`; words such as `trixie/sid` or `(Karoo)` say nothing.
fn are_compatible(found: &str, expected: &str) -> bool {
    fn numbers(text: &str) -> impl Iterator<Item = &str> {
        let word = text.split_whitespace().next().unwrap_or_default();
        let parts = word.split(['.', '-']);
        parts.take_while(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    }
    numbers(found).zip(numbers(expected)).all(|(one, other)| one == other)
}
