//! What apt decides about, one case at a time: what is installed, what repositories offer, and what the real apt is known to
//! make of it, so that a case still shows what it was written for.

use crate::kit::{Repository, Scene};

mod architectures;
mod dependencies;
mod policy;
mod versions;

/// A case.
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: &'static str,
    /// What apt has.
    pub(crate) scene: Scene,
    /// What a plain upgrade installs, as `name:architecture version`, sorted.
    pub(crate) plain: &'static [&'static str],
    /// What an upgrade with new packages installs.
    pub(crate) with_new: &'static [&'static str],
}

fn case(name: &'static str, scene: Scene, plain: &'static [&'static str], with_new: &'static [&'static str]) -> Case {
    Case {
        name,
        scene,
        plain,
        with_new,
    }
}

/// A stanza; `name:architecture version`, where the architecture is amd64 unless it is said.
pub(crate) fn stanza(package: &str, fields: &str) -> String {
    let (package, version) = package.split_once(' ').expect("name and version");
    let (name, architecture) = package.split_once(':').unwrap_or((package, "amd64"));
    let fields: String = fields.split(';').map(|field| format!("{}\n", field.trim())).collect();
    let fields = if fields.trim().is_empty() {
        String::new()
    } else {
        fields
    };
    format!("Package: {name}\nArchitecture: {architecture}\nVersion: {version}\n{fields}")
}

/// What is installed: packages with more fields, separated by `;`.
pub(crate) fn installed(packages: &[(&str, &str)]) -> String {
    let stanzas = packages.iter().map(|(package, fields)| {
        let wanted = if fields.contains("HOLD") { "hold" } else { "install" };
        let fields = fields.replace("HOLD", "");
        format!(
            "{}Status: {wanted} ok installed\nMaintainer: kit\nDescription: kit\n\n",
            stanza(package, &fields)
        )
    });
    stanzas.collect()
}

/// What a repository offers.
pub(crate) fn offers(packages: &[(&str, &str)]) -> String {
    let stanzas = packages.iter().map(|(package, fields)| {
        let file = package.replace([':', ' '], "_");
        let hash = "0123456789abcdef".repeat(4);
        format!(
            "{}Filename: pool/{file}.deb\nSize: 100\nSHA256: {hash}\nDescription: kit\n\n",
            stanza(package, fields)
        )
    });
    stanzas.collect()
}

/// One ordinary suite.
fn main(packages: &[(&str, &str)]) -> Vec<Repository> {
    vec![Repository::new("bookworm", "Debian", &offers(packages))]
}

/// An ordinary suite, and another.
fn with(other: Repository, packages: &[(&str, &str)]) -> Vec<Repository> {
    let mut repositories = main(packages);
    repositories.push(other);
    repositories
}

fn security(packages: &[(&str, &str)]) -> Repository {
    Repository::new("bookworm-security", "Debian-Security", &offers(packages))
}

fn backports(packages: &[(&str, &str)]) -> Repository {
    let release = "NotAutomatic: yes\nButAutomaticUpgrades: yes\n";
    Repository::new("bookworm-backports", "Debian Backports", &offers(packages)).release(release)
}

fn experimental(packages: &[(&str, &str)]) -> Repository {
    Repository::new("experimental", "Debian", &offers(packages)).release("NotAutomatic: yes\n")
}

fn scene(repositories: Vec<Repository>, packages: &[(&str, &str)]) -> Scene {
    Scene::new(repositories, &installed(packages))
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    [
        versions::versions(),
        policy::policy(),
        dependencies::dependencies(),
        dependencies::new_packages(),
        architectures::architectures(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
