//! Which indexes a configuration asks for: one of each release, component and architecture.

use std::collections::HashSet;

use super::{Configuration, Source};

/// More indexes than any image asks for.
const MAX_TARGETS: usize = 2_000;

/// One Packages index of one release.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which of the sources, from 0.
    pub source: usize,
    /// The repository, ending in `/`.
    pub uri: String,
    /// The suite as the source says it; that of a flat repository ends in `/`.
    pub suite: String,
    /// The component; nothing in a flat repository.
    pub component: Option<String>,
    /// The architecture.
    pub architecture: String,
}

impl Target {
    /// The folder of `InRelease` below the repository, ending in `/`; `./` for the repository itself.
    #[must_use]
    pub fn release(&self) -> String {
        if self.component.is_some() {
            return format!("dists/{}/", self.suite);
        }
        let folder = self.suite.trim_start_matches(['.', '/']);
        if folder.is_empty() {
            "./".to_owned()
        } else {
            folder.to_owned()
        }
    }

    /// The index below that folder, without what its compression adds.
    #[must_use]
    pub fn packages(&self) -> String {
        match &self.component {
            Some(component) => format!("{component}/binary-{}/Packages", self.architecture),
            None => "Packages".to_owned(),
        }
    }

    /// The host that pins name; empty when there is none.
    pub(super) fn host(&self) -> &str {
        let after = self.uri.split_once("://").map_or("", |(_, after)| after);
        let authority = after.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.starts_with('[') {
            return host.split_inclusive(']').next().unwrap_or_default();
        }
        host.split(':').next().unwrap_or_default()
    }
}

/// The indexes that a configuration asks for, in its order, each once, for a native architecture such as `amd64`.
#[must_use]
pub fn targets(configuration: &Configuration, native: &str) -> Vec<Target> {
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for (index, source) in configuration.sources.iter().enumerate() {
        for target in of_source(index, source, configuration, native) {
            if targets.len() < MAX_TARGETS
                && seen.insert(Target {
                    source: 0,
                    ..target.clone()
                })
            {
                targets.push(target);
            }
        }
    }
    targets
}

fn of_source(index: usize, source: &Source, configuration: &Configuration, native: &str) -> Vec<Target> {
    let filled = |text: &str| text.replace("$(ARCH)", native);
    let architectures = architectures(source, configuration, native);
    let mut targets = Vec::new();
    for suite in &source.suites {
        let target = |component: Option<&String>, architecture: &str| Target {
            source: index,
            uri: filled(&source.uri),
            suite: filled(suite),
            component: component.map(|component| filled(component)),
            architecture: architecture.to_owned(),
        };
        if source.components.is_empty() {
            // One index for all architectures.
            targets.push(target(None, native));
        }
        for component in &source.components {
            targets.extend(
                architectures
                    .iter()
                    .map(|architecture| target(Some(component), architecture)),
            );
            if targets.len() > MAX_TARGETS {
                return targets;
            }
        }
    }
    targets
}

/// The architectures of a source, the native one first where it is one of them.
fn architectures(source: &Source, configuration: &Configuration, native: &str) -> Vec<String> {
    let mut all: Vec<String> = if source.architectures.is_empty() {
        std::iter::once(native.to_owned())
            .chain(configuration.architectures.iter().cloned())
            .collect()
    } else {
        source.architectures.clone()
    };
    all.extend(source.architectures_added.iter().cloned());
    let mut seen = HashSet::new();
    all.retain(|name| !source.architectures_removed.contains(name) && name != "all" && seen.insert(name.clone()));
    all
}
