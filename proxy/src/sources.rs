//! The operator's source policy, applied to every source that we use: BuildKit's policy is asked about what BuildKit never sees.
//!
//! A base image is `docker-image://HOST/REPOSITORY[:TAG][@DIGEST]`, a file of a repository its URL. A base that a rule converts is
//! not patched: the layers of an image stay what they are. A file that a rule converts is fetched from where the rule says.

use std::path::Path;

use patchport_buildkit::SourcePolicy;
use patchport_buildkit::source_policy::{Denied, ReadError, Source};
use patchport_oci::{Digest, Tag};

use crate::route::Place;

/// The policy, if there is one. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sources(Option<SourcePolicy>);

/// Why a source is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The policy denies it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The policy wants another image.
    #[error(
        "the source policy {policy}, {rule}, has {to} used in place of {from}: a patch keeps the layers of its image, so pull {to} itself"
    )]
    Converted {
        /// The policy's file.
        policy: String,
        /// The rule.
        rule: String,
        /// The image.
        from: String,
        /// What is to take its place.
        to: String,
    },
    /// The policy has it converted to what cannot be used.
    #[error("the source policy {policy}, {rule}, converts {from} to {to}: {reason}")]
    Unusable {
        /// The policy's file.
        policy: String,
        /// The rule.
        rule: String,
        /// The file.
        from: String,
        /// What is to take its place.
        to: String,
        /// Why it cannot.
        reason: &'static str,
    },
}

impl Sources {
    /// The policy in a file; none without one.
    ///
    /// # Errors
    /// [`ReadError`] names file, rule and field.
    pub fn read(path: Option<&Path>) -> Result<Self, ReadError> {
        Ok(Self(path.map(SourcePolicy::read).transpose()?))
    }

    /// The policy for BuildKit.
    pub fn policy(&self) -> Option<&SourcePolicy> {
        self.0.as_ref()
    }

    /// What decisions are kept apart by: another policy may decide otherwise.
    pub fn mark(&self) -> Option<u64> {
        let digest = self.0.as_ref()?.digest().get(..16)?;
        u64::from_str_radix(digest, 16).ok()
    }

    /// Whether files of repositories may be denied or converted. Then only we may fetch them: nobody judges what an image's own tool
    /// asks for.
    pub fn restrict_files(&self) -> bool {
        let policy = self.0.as_ref();
        policy.is_some_and(|policy| policy.restricts("http://") || policy.restricts("https://"))
    }

    /// Whether an image may be patched, by the tags that lead to it and the digests of it, those of its index among them.
    ///
    /// # Errors
    /// [`SourceError`] names the image and the rule.
    pub fn admit_image(&self, place: &Place, tags: &[Tag], digests: &[&Digest]) -> Result<(), SourceError> {
        let Some(policy) = &self.0 else { return Ok(()) };
        let name = format!("docker-image://{place}");
        let tagged: Vec<String> = tags.iter().map(|tag| format!("{name}:{tag}")).collect();
        let pinned =
            |name: &String| -> Vec<String> { digests.iter().map(|digest| format!("{name}@{digest}")).collect() };
        let mut names: Vec<String> = tagged.iter().flat_map(pinned).collect();
        names.extend(pinned(&name));
        names.extend(tagged);
        let source = Source {
            names,
            ..Source::default()
        };
        match policy.judge(&source)? {
            None => Ok(()),
            Some(converted) => Err(SourceError::Converted {
                policy: policy.name().to_owned(),
                rule: converted.rule,
                from: source.name().to_owned(),
                to: converted.source.name().to_owned(),
            }),
        }
    }

    /// Where a file of a repository is to be fetched, when not from its own URL, which carries no user.
    ///
    /// # Errors
    /// [`SourceError`] names the file and the rule.
    pub fn file(&self, url: &str) -> Result<Option<String>, SourceError> {
        let Some(policy) = &self.0 else { return Ok(None) };
        let Some(converted) = policy.judge(&Source::named(url))? else {
            return Ok(None);
        };
        let to = converted.source.name();
        let reason = if !to.starts_with("https://") && !to.starts_with("http://") {
            "it is no URL of HTTP"
        } else if !converted.source.attributes.is_empty() {
            "attributes are not known for files that Patchport fetches"
        } else {
            return Ok(Some(to.to_owned()));
        };
        Err(SourceError::Unusable {
            policy: policy.name().to_owned(),
            rule: converted.rule,
            from: url.to_owned(),
            to: to.to_owned(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests;
