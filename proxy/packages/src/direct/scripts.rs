//! Which packages may do without their maintainer scripts and triggers.
//! Read in their Debian 11 to 13 versions, for an upgrade from any earlier version: what a script does there concerns a running system
//! (services, debconf), a first installation, or what the image has settled otherwise.

use std::collections::BTreeSet;

use super::{About, Examined, Incoming};
use crate::deb::Control;
use crate::layer::Tree;
use crate::layer::tree::Leaf;

/// Packages by name, and what their scripts are for. A `*` stands for the digits and dots of a version.
const REVIEWED: [(&str, &str); 17] = [
    (
        "base-files",
        "makes folders and default files that a first installation lacks",
    ),
    (
        "ca-certificates",
        "makes the bundle of certificates, which is made here",
    ),
    (
        "libc-bin",
        "runs ldconfig, and puts a default nsswitch.conf where there is none",
    ),
    ("libc6", "asks about services to restart, and looks at the kernel's age"),
    ("libgcc-s1", "has had links of folders to move"),
    ("libpam0g", "asks about services to restart"),
    ("libpython*-minimal", "compiles modules ahead of their use"),
    ("libpython*-stdlib", "compiles modules ahead of their use"),
    ("libssl1.1", "asks about services to restart"),
    ("libssl3", "asks about services to restart"),
    ("libssl3t64", "asks about services to restart"),
    ("libstdc++6", "removes what gdb's modules were compiled to"),
    ("netbase", "makes /etc/hosts and /etc/networks at a first installation"),
    ("openssl", "links /usr/lib/ssl to /etc/ssl where there is nothing"),
    ("python*-minimal", "compiles modules ahead of their use"),
    (
        "tzdata",
        "sets /etc/localtime from debconf, which the image has settled",
    ),
    ("zlib1g", "has had links of folders to move"),
];

/// Why a package cannot do without its scripts and triggers; nothing when it can.
pub(super) fn refusal(name: &str, control: &Control) -> Option<String> {
    let is_reviewed = REVIEWED.iter().any(|(pattern, _)| matches(pattern, name));
    if is_reviewed {
        return None;
    }
    if !control.scripts.is_empty() {
        return Some(format!(
            "its {} cannot run in an image without a shell, and is not known to be needless there",
            control.scripts.join(" and ")
        ));
    }
    let trigger = control.triggers.iter().find(|line| !is_ldconfig(line))?;
    Some(format!(
        "its trigger {trigger:?} cannot run in an image without a package manager"
    ))
}

/// Why the image's cache of libraries would be wrong afterwards; an image without one needs none, for libraries are found where the
/// loader looks.
pub(super) fn cache<F>(
    tree: &Tree,
    package: &Incoming<F>,
    found: &Examined<'_>,
    gone: &BTreeSet<String>,
) -> Result<(), String> {
    const CACHE: &str = "etc/ld.so.cache";
    let has_cache = tree.place(CACHE).is_some_and(|place| tree.get(&place).is_some());
    let About::Debian(control) = &package.about else {
        return Ok(());
    };
    if !has_cache || !control.triggers.iter().any(|line| is_ldconfig(line)) {
        return Ok(());
    }
    let is_library = |path: &str| path.rsplit('/').next().is_some_and(|name| name.contains(".so"));
    let is_new =
        |place: &&String| is_library(place) && !matches!(tree.get(place), Some(Leaf::File(_) | Leaf::Symlink(_)));
    let was_its = |place: &&String| {
        is_library(place)
            && found
                .fragment
                .sums
                .iter()
                .flatten()
                .any(|(path, _)| tree.place(path).as_ref() == Some(*place))
    };
    match found.written().find(is_new).or_else(|| gone.iter().find(was_its)) {
        Some(library) => Err(format!(
            "/{library} comes or goes with it, and the image has /{CACHE}, which only ldconfig could bring up to date"
        )),
        None => Ok(()),
    }
}

fn is_ldconfig(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let is_activation = words.next().is_some_and(|word| word.starts_with("activate"));
    is_activation && words.next() == Some("ldconfig") && words.next().is_none()
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let version = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_triggers() {
        let with = |scripts: &[&'static str], triggers: &[&str]| Control {
            scripts: scripts.to_vec(),
            triggers: triggers.iter().map(|line| (*line).to_owned()).collect(),
            ..Control::default()
        };
        let ldconfig = "activate-noawait ldconfig";
        let taken = [
            ("anything", with(&[], &[])),
            ("libfoo1", with(&[], &[ldconfig])),
            ("libc6", with(&["postinst", "preinst"], &[ldconfig])),
            ("libpython3.11-minimal", with(&["postinst"], &[])),
            ("python3-minimal", with(&["postinst"], &[])),
        ];
        for (name, control) in taken {
            assert_eq!(refusal(name, &control), None, "{name}");
        }
        let refused = [
            ("foo", with(&["postinst"], &[]), "its postinst"),
            ("foo", with(&[], &["interest /usr/lib/foo"]), "its trigger"),
            ("foo", with(&[], &["activate ldconfig2"]), "its trigger"),
            ("libpython-evil-minimal", with(&["prerm"], &[]), "its prerm"),
            ("libc6-dev", with(&["preinst", "prerm"], &[]), "its preinst and prerm"),
        ];
        for (name, control, reason) in refused {
            assert!(
                refusal(name, &control).is_some_and(|text| text.starts_with(reason)),
                "{name}"
            );
        }
    }
}
