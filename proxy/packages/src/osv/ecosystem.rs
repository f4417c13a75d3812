//! OSV's names for distributions and their releases, and which of them are about an image.

use crate::os_release::OsRelease;
use crate::version::Family;

/// Ecosystems of distributions, with the family of their versions and the `os-release` IDs that they are about.
const KNOWN: [(&str, Family, &[&str]); 17] = [
    ("Debian", Family::Deb, &["debian"]),
    ("Ubuntu", Family::Deb, &["ubuntu"]),
    ("Echo", Family::Deb, &["echo"]),
    ("Alpine", Family::Apk, &["alpine"]),
    ("Alpaquita", Family::Apk, &["alpaquita"]),
    ("Chainguard", Family::Apk, &["chainguard"]),
    ("MinimOS", Family::Apk, &["minimos"]),
    ("Wolfi", Family::Apk, &["wolfi"]),
    ("AlmaLinux", Family::Rpm, &["almalinux"]),
    ("Azure Linux", Family::Rpm, &["azurelinux", "mariner"]),
    ("Mageia", Family::Rpm, &["mageia"]),
    ("Photon OS", Family::Rpm, &["photon"]),
    ("Red Hat", Family::Rpm, &["rhel"]),
    ("Rocky Linux", Family::Rpm, &["rocky"]),
    ("SUSE", Family::Rpm, &["sles"]),
    ("openEuler", Family::Rpm, &["openeuler"]),
    ("openSUSE", Family::Rpm, &["opensuse-leap", "opensuse-tumbleweed"]),
];

/// The family of an ecosystem's versions; nothing for languages and what is not known here.
pub(super) fn family(name: &str) -> Option<Family> {
    known(name).map(|(_, family, _)| *family)
}

fn known(name: &str) -> Option<&'static (&'static str, Family, &'static [&'static str])> {
    let distribution = name.split(':').next().unwrap_or_default();
    KNOWN.iter().find(|(known, ..)| *known == distribution)
}

/// Whether an ecosystem, with its release, is about an image's distribution and release.
pub(super) fn is_of(name: &str, os: &OsRelease) -> bool {
    if !known(name).is_some_and(|(_, _, ids)| ids.contains(&os.id.to_ascii_lowercase().as_str())) {
        return false;
    }
    let version = os.version_id.as_deref().unwrap_or_default();
    let (distribution, release) = name.split_once(':').unwrap_or((name, ""));
    let major = version.split('.').next().unwrap_or_default();
    match distribution {
        // They have one release.
        "Chainguard" | "Wolfi" | "MinimOS" | "Echo" => true,
        "Alpine" => release
            .strip_prefix('v')
            .is_some_and(|release| is_branch(release, version)),
        // `24.04:LTS`, `24.10`; what begins with `Pro` is for subscribers.
        "Ubuntu" => !version.is_empty() && release.split(':').next() == Some(version),
        // `enterprise_linux:9::baseos`; other products get their updates by subscriptions of their own.
        "Red Hat" => {
            let mut parts = release.split(':');
            parts.next() == Some("enterprise_linux") && !major.is_empty() && parts.next() == Some(major)
        }
        "SUSE" => is_suse(release, version),
        "openSUSE" => match os.id.as_str() {
            "opensuse-tumbleweed" => release == "Tumbleweed",
            _ => release.strip_prefix("Leap ") == Some(version),
        },
        "openEuler" => release.split('-').next() == Some(version),
        "Photon OS" | "Mageia" | "Alpaquita" => release == version,
        _ => !major.is_empty() && release == major,
    }
}

/// Whether an Alpine version such as `3.23.1` is of the branch `3.23`. Development versions (`3.23_alpha`) are of none.
fn is_branch(branch: &str, version: &str) -> bool {
    let rest = version.strip_prefix(branch);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `Linux Enterprise Server 15 SP6`, `Linux Enterprise Module for Basesystem 15 SP6`; the version is `15.6`.
fn is_suse(release: &str, version: &str) -> bool {
    let product = ["Linux Enterprise Server ", "Linux Enterprise Module for "];
    let words = match version.split_once('.') {
        Some((major, "0")) => format!(" {major}"),
        Some((major, pack)) => format!(" {major} SP{pack}"),
        None => format!(" {version}"),
    };
    // What else is derived from the server (LTSS, for SAP) gets its updates by subscriptions of its own.
    product.iter().any(|product| release.starts_with(product))
        && release
            .strip_suffix(&words)
            .is_some_and(|rest| !rest.bytes().any(|byte| byte.is_ascii_digit()))
}
