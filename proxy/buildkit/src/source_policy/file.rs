//! The file of a source policy: JSON as BuildKit's clients take it, read once and with a limit.
//! Members that BuildKit would pass over, and words that it does not know, are errors that name rule and field.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy as wire;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Constraint, Inner, Matcher, Rule, SourcePolicy, digest, wildcard};

/// The largest file, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The most rules.
const MAX_RULES: usize = 10_000;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("the source policy {path} cannot be read")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is too large.
    #[error("the source policy {path} has more than {MAX_FILE} bytes")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// It is not JSON, or has a member that no policy has.
    #[error("the source policy {path} is no policy: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// Where and why.
        reason: String,
    },
    /// A rule cannot be used.
    #[error("the source policy {path}: rule {rule}, {field}: {reason}")]
    Rule {
        /// The file.
        path: String,
        /// The rule, from 1.
        rule: usize,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    action: Word,
    selector: Selector,
    #[serde(default)]
    updates: Option<Updates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    #[serde(default)]
    identifier: String,
    #[serde(default, alias = "matchType")]
    match_type: Word,
    #[serde(default)]
    constraints: Vec<Bound>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: Word,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Updates {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: HashMap<String, String>,
}

/// A word of an enumeration, or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Name(String),
    Number(i32),
}

impl Default for Word {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Word {
    fn value<T: TryFrom<i32>>(&self, named: fn(&str) -> Option<T>, known: &str) -> Result<T, String> {
        let (found, shown) = match self {
            Self::Name(name) => (named(name), name.chars().take(40).collect()),
            Self::Number(number) => (T::try_from(*number).ok(), number.to_string()),
        };
        found.ok_or_else(|| format!("{shown:?} is not known, use {known}"))
    }
}

pub(super) fn read(path: &Path) -> Result<SourcePolicy, ReadError> {
    let name = path.display().to_string();
    let io = |source| ReadError::Io {
        path: name.clone(),
        source,
    };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(io)?.take(MAX_FILE + 1);
    file.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ReadError::TooLarge { path: name });
    }
    parse(&name, &bytes)
}

pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<SourcePolicy, ReadError> {
    let malformed = |reason: String| ReadError::Malformed {
        path: name.to_owned(),
        reason,
    };
    let document: Document = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if !(0..=1).contains(&document.version) {
        return Err(malformed(format!(
            "its version is {}, and 1 is known",
            document.version
        )));
    }
    if document.rules.len() > MAX_RULES {
        return Err(malformed(format!("it has more than {MAX_RULES} rules")));
    }
    let mut rules = Vec::with_capacity(document.rules.len());
    for (at, value) in document.rules.into_iter().enumerate() {
        let made = rule(value).map_err(|(field, reason)| ReadError::Rule {
            path: name.to_owned(),
            rule: at + 1,
            field,
            reason,
        });
        rules.push(made?);
    }
    let (rules, sent) = rules.into_iter().unzip();
    Ok(SourcePolicy(std::sync::Arc::new(Inner {
        name: name.to_owned(),
        rules,
        wire: wire::Policy {
            version: document.version,
            rules: sent,
        },
        digest: digest(bytes),
    })))
}

/// A rule for us and for BuildKit; an error is a field and what is wrong with it.
fn rule(value: Value) -> Result<(Rule, wire::Rule), (String, String)> {
    let whole = |error: serde_json::Error| ("the whole of it".to_owned(), error.to_string());
    let entry: Entry = serde_json::from_value(value).map_err(whole)?;
    let in_field = |field: &str| {
        let field = field.to_owned();
        move |reason: String| (field, reason)
    };
    let Selector {
        identifier,
        match_type,
        constraints,
    } = entry.selector;
    let action = entry
        .action
        .value(wire::PolicyAction::from_str_name, "ALLOW, DENY or CONVERT");
    let action = action.map_err(in_field("action"))?;
    let kind = match_type.value(wire::MatchType::from_str_name, "WILDCARD, EXACT or REGEX");
    let kind = kind.map_err(in_field("selector.match_type"))?;
    let matcher = match kind {
        wire::MatchType::Exact => Ok(Matcher::Exact),
        wire::MatchType::Wildcard => wildcard(&identifier).map(Matcher::Wildcard),
        wire::MatchType::Regex => expression(&identifier).map(Matcher::Regex),
    };
    let matcher = matcher.map_err(in_field("selector.identifier"))?;
    let (mut bounds, mut sent) = (Vec::new(), Vec::new());
    for (at, bound) in constraints.into_iter().enumerate() {
        let made = constraint(&bound);
        let (own, wire) = made.map_err(|(field, reason)| (format!("selector.constraints[{at}].{field}"), reason))?;
        bounds.push(own);
        sent.push(wire);
    }
    let updates = entry.updates.map(|updates| wire::Update {
        identifier: updates.identifier,
        attrs: updates.attrs,
    });
    if action == wire::PolicyAction::Convert && updates.is_none() {
        return Err(("updates".to_owned(), "is missing, CONVERT needs one".to_owned()));
    }
    let sent = wire::Rule {
        action: action.into(),
        selector: Some(wire::Selector {
            identifier: identifier.clone(),
            match_type: kind.into(),
            constraints: sent,
        }),
        updates: updates.clone(),
    };
    let own = Rule {
        action,
        identifier,
        matcher,
        constraints: bounds,
        updates,
    };
    Ok((own, sent))
}

fn constraint(bound: &Bound) -> Result<(Constraint, wire::AttrConstraint), (&'static str, String)> {
    let condition = bound
        .condition
        .value(wire::AttrMatch::from_str_name, "EQUAL, NOTEQUAL or MATCHES");
    let condition = condition.map_err(|reason| ("condition", reason))?;
    let sent = wire::AttrConstraint {
        key: bound.key.clone(),
        value: bound.value.clone(),
        condition: condition.into(),
    };
    let condition = match condition {
        wire::AttrMatch::Equal => Condition::Equal(bound.value.clone()),
        wire::AttrMatch::Notequal => Condition::NotEqual(bound.value.clone()),
        wire::AttrMatch::Matches => Condition::Matches(expression(&bound.value).map_err(|reason| ("value", reason))?),
    };
    let own = Constraint {
        key: bound.key.clone(),
        condition,
    };
    Ok((own, sent))
}

fn expression(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string().lines().collect::<Vec<_>>().join(" "))
}
