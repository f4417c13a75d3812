//! What may be served, and how: ordered rules on `host/repository:tag`, the first that matches decides.
//!
//! Pure. A denial holds on every route: a digest is judged by the tags that lead to it.

use patchport_config::{Action, Rule, Terms};
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
        let name = place.to_string();
        let subject = || format!("{name}:{tag}");
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(&name, tag.as_str())) else {
            let reason = Some("no rule matches it".into());
            return Decision::Deny(Denial {
                subject: subject(),
                rule: "none".into(),
                reason,
            });
        };
        match rule.action {
            Action::Pass => Decision::Pass,
            Action::Patch(terms) => Decision::Patch(terms),
            Action::Deny => Decision::Deny(Denial {
                subject: subject(),
                rule: rule.name.clone(),
                reason: rule.reason.clone(),
            }),
        }
    }

    /// Whether a digest of a repository may be read, given the tags through which we served it before (`ways`; an empty
    /// string stands for a pull by digest). Where no rule can deny a tag of the repository, any digest may be; where
    /// some can, only those that an allowed tag has led to.
    ///
    /// # Errors
    /// [`Denial`] with the rule that closes the gate.
    pub fn admits(&self, place: &Place, digest: &str, ways: &[String]) -> Result<(), Denial> {
        let Some(rule) = self.gate(place) else { return Ok(()) };
        let tags = ways.iter().filter_map(|way| way.parse::<Tag>().ok());
        if tags
            .into_iter()
            .any(|tag| !matches!(self.decide(place, &tag), Decision::Deny(_)))
        {
            return Ok(());
        }
        let whole = rule
            .patterns
            .iter()
            .any(|pattern| pattern.any_tag() && pattern.matches_repository(&place.to_string()));
        let some = "some tags of this repository are denied, and no allowed tag has led to this digest";
        let reason = rule.reason.clone().or_else(|| (!whole).then(|| some.to_owned()));
        Err(Denial {
            subject: format!("{place}@{digest}"),
            rule: rule.name.clone(),
            reason,
        })
    }

    /// The first rule that denies some tag of the repository, if it can be reached at all.
    fn gate(&self, place: &Place) -> Option<&Rule> {
        let name = place.to_string();
        for rule in &self.rules {
            let mut patterns = rule
                .patterns
                .iter()
                .filter(|pattern| pattern.matches_repository(&name))
                .peekable();
            if patterns.peek().is_some() && rule.action == Action::Deny {
                return Some(rule);
            }
            if patterns.any(patchport_config::Pattern::any_tag) {
                return None;
            }
        }
        None
    }
}
