//! BuildKit's source policies: which sources a build may use, and what it uses in their place.
//!
//! The file is what `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` names for `docker buildx`, JSON of `moby.buildkit.v1.sourcepolicy.Policy`. Rules are judged as
//! BuildKit's own engine does (`sourcepolicy/engine.go`): constraints first; the last rule that matches allows or denies; a rule that
//! converts begins again with what it gives. What BuildKit would take for something else without a word is refused here.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy as wire;
use regex::Regex;
use sha2::{Digest as _, Sha256};

pub use file::ReadError;

/// Conversions after which a policy counts as one that never ends; BuildKit's own number.
const MAX_CONVERSIONS: usize = 20;

/// A policy. Clones share it.
#[derive(Clone)]
pub struct SourcePolicy(Arc<Inner>);

struct Inner {
    name: String,
    rules: Vec<Rule>,
    wire: wire::Policy,
    digest: String,
}

struct Rule {
    action: wire::PolicyAction,
    identifier: String,
    matcher: Matcher,
    constraints: Vec<Constraint>,
    updates: Option<wire::Update>,
}

enum Matcher {
    Exact,
    Wildcard(Regex),
    Regex(Regex),
}

struct Constraint {
    key: String,
    condition: Condition,
}

enum Condition {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

/// A source as BuildKit names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `docker-image://docker.io/library/debian:12`, `https://deb.example.org/...`: the first is the name that it goes by, and a rule
    /// is about it when it is about any of them.
    pub names: Vec<String>,
    /// What is to be known about it besides, such as `http.checksum`.
    pub attributes: BTreeMap<String, String>,
}

impl Source {
    /// A source with one name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            names: vec![name.into()],
            attributes: BTreeMap::new(),
        }
    }

    /// The name that it goes by.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// Why a source is not to be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A rule says so.
    #[error("the source {source_name} is denied by the source policy {policy}, {rule}")]
    Rule {
        /// The source.
        source_name: String,
        /// The policy's file.
        policy: String,
        /// The rule, by its number and what it says.
        rule: String,
    },
    /// Rules convert it into each other.
    #[error("the source {source_name} is converted more than {MAX_CONVERSIONS} times by the source policy {policy}")]
    Endless {
        /// The source.
        source_name: String,
        /// The policy's file.
        policy: String,
    },
}

/// What a source is converted to, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// What is to be used.
    pub source: Source,
    /// The last rule that converted it, by its number and what it says.
    pub rule: String,
}

impl SourcePolicy {
    /// Reads a policy's file.
    ///
    /// # Errors
    /// [`ReadError`] names file, rule and field.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        file::read(path)
    }

    /// What names the policy: another policy has another one.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// The policy's file.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether a source may be used, and what is to be used in its place when a rule converts it.
    ///
    /// # Errors
    /// [`Denied`] names the source and the rule.
    pub fn judge(&self, source: &Source) -> Result<Option<Converted>, Denied> {
        let mut converted: Option<Converted> = None;
        for _ in 0..=MAX_CONVERSIONS {
            let current = converted.as_ref().map_or(source, |converted| &converted.source);
            match self.pass(current)? {
                Some(next) => converted = Some(next),
                None => return Ok(converted),
            }
        }
        Err(Denied::Endless {
            source_name: source.name().to_owned(),
            policy: self.0.name.clone(),
        })
    }

    /// Whether some rule denies or converts sources with this beginning, as far as can be told from the rules alone.
    pub fn restricts(&self, beginning: &str) -> bool {
        let may = |rule: &Rule| match &rule.matcher {
            Matcher::Exact => rule.identifier.starts_with(beginning),
            Matcher::Wildcard(_) => {
                let start = rule.identifier.split('*').next().unwrap_or_default();
                start.starts_with(beginning) || beginning.starts_with(start)
            }
            // Only the scheme of an anchored expression can be told.
            Matcher::Regex(_) => {
                let start = rule
                    .identifier
                    .strip_prefix('^')
                    .and_then(|rest| rest.split_once("://"));
                start.is_none_or(|(scheme, _)| {
                    !scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                        || beginning.starts_with(scheme)
                })
            }
        };
        let restricting = self
            .0
            .rules
            .iter()
            .filter(|rule| rule.action != wire::PolicyAction::Allow);
        restricting.into_iter().any(may)
    }

    /// One look at all rules.
    fn pass(&self, source: &Source) -> Result<Option<Converted>, Denied> {
        let mut denied = None;
        for (at, rule) in self.0.rules.iter().enumerate() {
            let Some(name) = rule.matched(source) else { continue };
            match rule.action {
                wire::PolicyAction::Allow => denied = None,
                wire::PolicyAction::Deny => denied = Some((at, name)),
                wire::PolicyAction::Convert => {
                    if let Some(source) = rule.converted(source, name) {
                        let rule = rule.shown(at);
                        return Ok(Some(Converted { source, rule }));
                    }
                }
            }
        }
        match denied {
            None => Ok(None),
            Some((at, name)) => Err(Denied::Rule {
                source_name: name.to_owned(),
                policy: self.0.name.clone(),
                rule: self.0.rules.get(at).map(|rule| rule.shown(at)).unwrap_or_default(),
            }),
        }
    }

    /// The policy for BuildKit, which has seen to these sources under other names already: they are allowed.
    pub(crate) fn to_wire(&self, own: impl IntoIterator<Item = String>) -> wire::Policy {
        let mut policy = self.0.wire.clone();
        policy.rules.extend(own.into_iter().map(|identifier| wire::Rule {
            action: wire::PolicyAction::Allow.into(),
            selector: Some(wire::Selector {
                identifier,
                match_type: wire::MatchType::Exact.into(),
                constraints: Vec::new(),
            }),
            updates: None,
        }));
        policy
    }
}

impl fmt::Debug for SourcePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourcePolicy({}, {} rules)", self.0.name, self.0.rules.len())
    }
}

impl Rule {
    /// The name of a source that the rule is about.
    fn matched<'a>(&self, source: &'a Source) -> Option<&'a str> {
        let value = |key: &str| source.attributes.get(key).map_or("", String::as_str);
        let holds = |constraint: &Constraint| match &constraint.condition {
            Condition::Equal(wanted) => value(&constraint.key) == wanted,
            Condition::NotEqual(unwanted) => value(&constraint.key) != unwanted,
            Condition::Matches(pattern) => pattern.is_match(value(&constraint.key)),
        };
        if !self.constraints.iter().all(holds) {
            return None;
        }
        let is_meant = |name: &&String| match &self.matcher {
            _ if self.identifier == **name => true,
            Matcher::Exact => false,
            Matcher::Wildcard(pattern) | Matcher::Regex(pattern) => pattern.is_match(name),
        };
        source.names.iter().find(is_meant).map(String::as_str)
    }

    /// What a source becomes; nothing when it is that already.
    fn converted(&self, source: &Source, name: &str) -> Option<Source> {
        let updates = self.updates.as_ref()?;
        let template = match updates.identifier.as_str() {
            "" => &self.identifier,
            identifier => identifier,
        };
        let made = match &self.matcher {
            Matcher::Exact => template.to_owned(),
            Matcher::Regex(pattern) => pattern.replace_all(name, template).into_owned(),
            Matcher::Wildcard(pattern) => pattern.captures(name).map_or_else(
                || name.to_owned(),
                |found| {
                    let mut made = String::new();
                    found.expand(template, &mut made);
                    made
                },
            ),
        };
        let same = |(key, value): (&String, &String)| source.attributes.get(key).map_or("", String::as_str) == value;
        if (made.is_empty() || source.names.contains(&made)) && updates.attrs.iter().all(same) {
            return None;
        }
        let mut converted = source.clone();
        if !made.is_empty() && !source.names.contains(&made) {
            converted.names = vec![made];
        }
        converted.attributes.extend(updates.attrs.clone());
        Some(converted)
    }

    fn shown(&self, at: usize) -> String {
        format!("rule {} ({} {:?})", at + 1, self.action.as_str_name(), self.identifier)
    }
}

/// A wildcard as BuildKit takes it: `*` stands for any text.
fn wildcard(text: &str) -> Result<Regex, String> {
    if text.contains("**") {
        return Err("`**` is no wildcard of BuildKit's, use `*`".to_owned());
    }
    let pattern = regex::escape(text).replace("\\*", "(.*)");
    Regex::new(&format!("^{pattern}$")).map_err(|error| error.to_string())
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
