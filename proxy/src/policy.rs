//! What may be served, and how: ordered rules on `host/repository:tag`, the first that matches decides.
//!
//! Pure. A denial holds on every route: a digest is judged by the tags that lead to it.

use patchport_config::{Action, Pattern, Rule, Terms};
use patchport_oci::Tag;

use crate::route::Place;

/// The operator's rules.
pub struct Policy {
    rules: Vec<Rule>,
}

/// What happens to a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The original is served.
    Pass,
    /// The patched image is served, on these terms.
    Patch(Terms),
    /// Nothing is served.
    Deny(Denial),
}

/// A refusal, and which rule it comes from.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{subject} is denied by rule `{rule}` of this mirror{}", reason.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct Denial {
    /// What was asked for.
    pub subject: String,
    /// The rule's name.
    pub rule: String,
    /// What the operator says about it, or we.
    pub reason: Option<String>,
}

impl Policy {
    /// Rules, of which the last matches everything (the configuration sees to that).
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// What happens to a tag of a repository.
    pub fn decide(&self, place: &Place, tag: &Tag) -> Decision {
        let subject = || format!("{place}:{tag}");
        let names = names(place);
        let matches = |rule: &&Rule| names.iter().any(|name| rule.matches(name, tag.as_str()));
        let Some(rule) = self.rules.iter().find(matches) else {
            let reason = Some("no rule matches it".into());
            let rule = "none".into();
            return Decision::Deny(Denial {
                subject: subject(),
                rule,
                reason,
            });
        };
        match rule.action {
            Action::Pass => Decision::Pass,
            Action::Patch(terms) => Decision::Patch(terms),
            Action::Deny => {
                let (rule, reason) = (rule.name.clone(), rule.reason.clone());
                Decision::Deny(Denial {
                    subject: subject(),
                    rule,
                    reason,
                })
            }
        }
    }

    /// Whether a digest of a repository may be read, given the tags that lead to it. Where no rule denies a tag of the
    /// repository, any digest may be; where some do, only what a tag leads to that is not denied. What a rule falls back to
    /// when a patch is late or fails is about the tag: the original stays readable by its own digest.
    ///
    /// # Errors
    /// [`Denial`] with the rule that closes the gate.
    pub fn admits(&self, place: &Place, digest: &str, ways: &[Tag]) -> Result<(), Denial> {
        let Some(rule) = self.gate(place) else {
            return Ok(());
        };
        let open = |tag: &Tag| !matches!(self.decide(place, tag), Decision::Deny(_));
        if ways.iter().any(open) {
            return Ok(());
        }
        let names = names(place);
        let of_place = |pattern: &&Pattern| names.iter().any(|name| pattern.matches_repository(name));
        let whole = rule.action == Action::Deny && rule.patterns.iter().filter(of_place).any(Pattern::any_tag);
        let some = "not every image of this repository is served, and no tag that is has led to this digest";
        let reason = rule.reason.clone().or_else(|| (!whole).then(|| some.to_owned()));
        let (subject, rule) = (format!("{place}@{digest}"), rule.name.clone());
        Err(Denial { subject, rule, reason })
    }

    /// Whether [`Self::admits`] needs to know the ways.
    pub fn is_gated(&self, place: &Place) -> bool {
        self.gate(place).is_some()
    }

    /// The first rule that may deny a tag of the repository, if it can be reached at all.
    fn gate(&self, place: &Place) -> Option<&Rule> {
        let names = names(place);
        for rule in &self.rules {
            let of_place = |pattern: &&Pattern| names.iter().any(|name| pattern.matches_repository(name));
            let mut patterns = rule.patterns.iter().filter(of_place).peekable();
            let closes = rule.action == Action::Deny;
            if patterns.peek().is_some() && closes {
                return Some(rule);
            }
            if patterns.any(Pattern::any_tag) {
                return None;
            }
        }
        None
    }
}

/// The names by which rules may call a repository: its own, and Docker's short one for `library/`.
fn names(place: &Place) -> Vec<String> {
    let short = place
        .repository
        .as_str()
        .strip_prefix("library/")
        .filter(|_| place.site.docker_library);
    let short = short.map(|name| format!("{}/{name}", place.upstream()));
    [place.to_string()].into_iter().chain(short).collect()
}

#[cfg(test)]
mod tests;
