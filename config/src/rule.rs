//! `[[rule]]`: what happens to which image. Ordered; the first rule that matches decides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::pattern::Pattern;
use crate::platforms::{Emulation, Platforms};
use crate::selection::Selection;
use crate::value;
use crate::words::words;

/// The longest `wait`: containerd gives a registry 30 seconds for response headers, and what is prepared
/// after the wait needs some of them.
pub const MAX_WAIT: Duration = Duration::from_secs(25);

/// The wait of a rule that names none.
const DEFAULT_WAIT: Duration = Duration::from_secs(20);

words! {
    /// What a client gets when its patch is late or failed.
    Fallback {
        /// The newest patched image of that tag; the original when there is none yet.
        ServeLastPatched = "serve-last-patched",
        /// The original, with a `Warning` header.
        ServeOriginal = "serve-original",
        /// 403.
        Deny = "deny",
    }
}

words! {
    /// What becomes of an image whose distribution is no longer maintained.
    EndOfLife {
        /// It is patched with what there is.
        Patch = "patch",
        /// Its patch has failed: `on_failure` decides.
        Fail = "fail",
    }
}

words! {
    /// The word that a rule's `action` is written with.
    ActionWord {
        Pass = "pass",
        Patch = "patch",
        Deny = "deny",
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name in logs and denials; unique.
    pub name: String,
    /// It matches when one of these does; at least one.
    pub patterns: Vec<Pattern>,
    /// What it does.
    pub action: Action,
    /// Shown to a client that is denied.
    pub reason: Option<String>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serves the original.
    Pass,
    /// Serves the patched image.
    Patch(Terms),
    /// Answers 403.
    Deny,
}

/// What a patch upgrades, how long a pull waits for it, and what it gets when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a pull waits; more than zero, at most [`MAX_WAIT`].
    pub wait: Duration,
    /// What it gets when the patch is not ready then.
    pub on_timeout: Fallback,
    /// What it gets when the patch failed.
    pub on_failure: Fallback,
    /// Which outdated packages are upgraded.
    pub patch: Selection,
    /// Whether an upgrade may go to another major version of its upstream, or to another origin than the installed
    /// package came from, where it is no security fix.
    pub major_upgrades: bool,
    /// Which images of an index are patched, of those that workers run.
    pub platforms: Platforms,
    /// Whether a worker may emulate a platform.
    pub emulation: Emulation,
    /// What becomes of an image whose distribution is no longer maintained.
    pub end_of_life: EndOfLife,
}

impl Rule {
    /// Whether the rule decides about this reference.
    #[must_use]
    pub fn matches(&self, host_and_repository: &str, tag: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(host_and_repository, tag))
    }

    /// Whether no reference can pass this rule by.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.patterns.iter().any(Pattern::matches_everything)
    }
}

/// A `[[rule]]` table as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[rule]] table")]
pub(crate) struct Entry {
    name: String,
    #[serde(rename = "match", deserialize_with = "value::one_or_many")]
    patterns: Vec<String>,
    action: ActionWord,
    #[serde(default, with = "value::duration::optional", skip_serializing_if = "Option::is_none")]
    wait: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_timeout: Option<Fallback>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_failure: Option<Fallback>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Selection>,
    #[serde(default, deserialize_with = "value::switch", skip_serializing_if = "Option::is_none")]
    major_upgrades: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platforms: Option<Platforms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emulation: Option<Emulation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_of_life: Option<EndOfLife>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Entry {
    /// The only rule of a configuration that has none.
    pub(crate) fn built_in() -> Self {
        Self {
            name: "everything".to_owned(),
            patterns: vec!["**".to_owned()],
            action: ActionWord::Patch,
            wait: Some(DEFAULT_WAIT),
            on_timeout: Some(Fallback::ServeLastPatched),
            on_failure: Some(Fallback::ServeOriginal),
            patch: Some(Selection::Outdated),
            major_upgrades: Some(false),
            platforms: None,
            emulation: Some(Emulation::Never),
            end_of_life: Some(EndOfLife::Patch),
            reason: None,
        }
    }

    /// The rule, or what is wrong with it under `key`.
    pub(crate) fn check(self, key: &str, problems: &mut Problems) -> Option<Rule> {
        if self.name.is_empty() {
            problems.add(format!("{key}.name"), "is empty");
        }
        if self.patterns.is_empty() {
            problems.add(
                format!("{key}.match"),
                "is empty, give at least one pattern, \"**\" matches everything",
            );
        }
        let action = match self.action {
            ActionWord::Patch => self.terms(key, problems).map(Action::Patch),
            ActionWord::Pass => self.without_terms(key, Action::Pass, problems),
            ActionWord::Deny => self.without_terms(key, Action::Deny, problems),
        };
        let mut patterns = Vec::with_capacity(self.patterns.len());
        for (index, text) in self.patterns.iter().enumerate() {
            patterns.extend(problems.keep(format!("{key}.match[{index}]"), text.parse::<Pattern>()));
        }
        Some(Rule {
            name: self.name,
            patterns,
            action: action?,
            reason: self.reason,
        })
    }

    fn terms(&self, key: &str, problems: &mut Problems) -> Option<Terms> {
        let wait = self.wait.unwrap_or(DEFAULT_WAIT);
        if wait.is_zero() || wait > MAX_WAIT {
            problems.add(
                format!("{key}.wait"),
                "must be more than zero and at most 25s, clients give up after 30s",
            );
        }
        for (name, _) in [("on_timeout", self.on_timeout), ("on_failure", self.on_failure)]
            .iter()
            .filter(|(_, word)| word.is_none())
        {
            let words = "serve-last-patched, serve-original, deny";
            problems.add(
                format!("{key}.{name}"),
                format!("is missing, action \"patch\" needs one of: {words}"),
            );
        }
        Some(Terms {
            wait,
            on_timeout: self.on_timeout?,
            on_failure: self.on_failure?,
            patch: self.patch.unwrap_or(Selection::Outdated),
            major_upgrades: self.major_upgrades.unwrap_or(false),
            platforms: self.platforms.unwrap_or(Platforms::ALL),
            emulation: self.emulation.unwrap_or(Emulation::Never),
            end_of_life: self.end_of_life.unwrap_or(EndOfLife::Patch),
        })
    }

    fn without_terms(&self, key: &str, action: Action, problems: &mut Problems) -> Option<Action> {
        let given = [
            ("wait", self.wait.is_some()),
            ("on_timeout", self.on_timeout.is_some()),
            ("on_failure", self.on_failure.is_some()),
            ("patch", self.patch.is_some()),
            ("major_upgrades", self.major_upgrades.is_some()),
            ("platforms", self.platforms.is_some()),
            ("emulation", self.emulation.is_some()),
            ("end_of_life", self.end_of_life.is_some()),
        ];
        for (name, _) in given.iter().filter(|(_, given)| *given) {
            problems.add(
                format!("{key}.{name}"),
                format!("is allowed with action \"patch\" only, this one is \"{}\"", self.action),
            );
        }
        Some(action)
    }
}

impl From<&Rule> for Entry {
    fn from(rule: &Rule) -> Self {
        let terms = match rule.action {
            Action::Patch(terms) => Some(terms),
            Action::Pass | Action::Deny => None,
        };
        Self {
            name: rule.name.clone(),
            patterns: rule.patterns.iter().map(ToString::to_string).collect(),
            action: match rule.action {
                Action::Pass => ActionWord::Pass,
                Action::Patch(_) => ActionWord::Patch,
                Action::Deny => ActionWord::Deny,
            },
            wait: terms.map(|terms| terms.wait),
            on_timeout: terms.map(|terms| terms.on_timeout),
            on_failure: terms.map(|terms| terms.on_failure),
            patch: terms.map(|terms| terms.patch),
            major_upgrades: terms.map(|terms| terms.major_upgrades),
            platforms: terms
                .map(|terms| terms.platforms)
                .filter(|platforms| !platforms.is_all()),
            emulation: terms.map(|terms| terms.emulation),
            end_of_life: terms.map(|terms| terms.end_of_life),
            reason: rule.reason.clone(),
        }
    }
}
