//! The scripts of packages, and what runs them: an image may lack that.

use crate::inventory::replaces;
use crate::layer::Tree;
use crate::rpm::values::Values;
use crate::rpm::{Head, Running};

/// What rpm runs by itself, whatever the image has.
const OWN: &str = "<lua>";

/// When a script runs, and the tag of its interpreter (rpm's `rpmtag.h`).
const INSTALLED: [(&str, u32); 4] = [
    ("%pretrans", 1153),
    ("%pre", 1085),
    ("%post", 1086),
    ("%posttrans", 1154),
];
const ERASED: [(&str, u32); 4] = [
    ("%preuntrans", 5105),
    ("%preun", 1087),
    ("%postun", 1088),
    ("%postuntrans", 5106),
];

/// Triggers of packages on files: the tags of programs, of beginnings of paths, and of the number of the program that each of those is for.
const ON_FILES: [(&str, [u32; 3]); 2] = [
    ("a file trigger", [5067, 5069, 5070]),
    ("a transaction file trigger", [5077, 5079, 5080]),
];

/// A script of a package.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Script {
    /// When it runs, as a spec file has it, such as `%post`.
    pub when: &'static str,
    /// The program that runs it, by its path in the image; `<lua>` is a part of rpm.
    pub program: String,
}

/// The scripts of one version of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripts {
    /// Those that run when it is installed.
    pub installed: Vec<Script>,
    /// Those that run when another version takes its place.
    pub erased: Vec<Script>,
}

impl Scripts {
    pub(crate) fn of(header: &Values<'_>) -> Self {
        let found = |tags: [(&'static str, u32); 4]| {
            let script = |(when, tag)| {
                Some(Script {
                    when,
                    program: header.text(tag)?,
                })
            };
            tags.into_iter().filter_map(script).collect()
        };
        Self {
            installed: found(INSTALLED),
            erased: found(ERASED),
        }
    }
}

/// What a package runs when files of other packages come or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// What it is, in words for people.
    pub when: &'static str,
    /// The program that runs it, by its path in the image.
    pub program: String,
    /// The beginning of the paths of those files.
    pub prefix: String,
}

impl Trigger {
    pub(crate) fn all(header: &Values<'_>) -> Vec<Self> {
        let mut found = Vec::new();
        for (when, [programs, prefixes, numbers]) in ON_FILES {
            let programs: Vec<String> = header.texts(programs).collect();
            for (prefix, number) in header.texts(prefixes).zip(header.numbers(numbers)) {
                let program = usize::try_from(number).ok().and_then(|number| programs.get(number));
                let Some(program) = program.filter(|program| *program != OWN).cloned() else {
                    continue;
                };
                found.push(Self { when, program, prefix });
            }
        }
        found
    }
}

/// Why the new version of a package cannot be installed in an image, for want of what runs a script; nothing when it can. `installed`
/// is what the image's packages run.
#[must_use]
pub fn unrunnable(tree: &Tree, new: &Head, installed: &[Running]) -> Option<String> {
    let lacks = |program: &str| program != OWN && !tree.has_file(program.trim_start_matches('/'));
    let lacking = |script: &&Script| lacks(&script.program);
    let own = new.scripts.installed.iter().find(lacking);
    let is_old =
        |old: &&Running| old.name == new.package.name && replaces(&new.package.architecture, &old.architecture);
    let erased = || {
        let old = installed.iter().filter(is_old);
        old.flat_map(|old| &old.scripts.erased).find(lacking)
    };
    if let Some(Script { when, program }) = own.or_else(erased) {
        return Some(format!(
            "its script {when} needs {program}, which the image does not have"
        ));
    }
    let others = installed
        .iter()
        .filter(|own| !is_old(own))
        .map(|own| (&own.name, &own.triggers));
    let others = others.chain([(&new.package.name, &new.triggers)]);
    for (name, triggers) in others {
        let fires = |trigger: &&Trigger| {
            lacks(&trigger.program) && new.entries.iter().any(|entry| entry.path.starts_with(&trigger.prefix))
        };
        if let Some(Trigger { when, program, .. }) = triggers.iter().find(fires) {
            return Some(format!(
                "{when} of {name} needs {program}, which the image does not have"
            ));
        }
    }
    None
}
