//! Which package manager carries out a plan: the image's own, by what its layers show.

use std::fmt;

use patchport_packages::Inventory;
use patchport_packages::inventory::Manager;
use serde::Serialize;

/// What upgrades the packages of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `apk`, of version 2 or 3.
    Apk,
    /// `apt-get`, and `dpkg` below it.
    Apt,
    /// `dpkg` in an image without `apt-get`.
    Dpkg,
    /// `dnf`, of version 4 or 5, and `rpm` below it.
    Dnf,
    /// `dnf5` in an image that does not call it `dnf`.
    Dnf5,
    /// `zypper`, and `rpm` below it.
    Zypper,
    /// `tdnf`, and `rpm` below it where that is there.
    Tdnf,
    /// `microdnf`, and `rpm` below it where that is there.
    Microdnf,
    /// `yum` of before dnf, and `rpm` below it.
    Yum,
    /// `rpm` in an image without any of these.
    Rpm,
    /// `rpm` of a helper image, for one with rpm's database that cannot upgrade its packages itself.
    Helper,
    /// `pacman`.
    Pacman,
    /// None: the files of packages are laid over an image whose dpkg database is split (distroless). Needs no container.
    Fragments,
    /// None: the same over an image that has lists of rpm packages and no database (distroless).
    Manifest,
    /// None: the same over an image that has apk's database and no apk that could run.
    ApkFiles,
}

/// The tools of rpm images, the one that is taken first; where `yum` is another name for dnf, dnf is there too.
const RPM: [Tool; 7] = [
    Tool::Dnf,
    Tool::Dnf5,
    Tool::Zypper,
    Tool::Tdnf,
    Tool::Microdnf,
    Tool::Yum,
    Tool::Rpm,
];

impl Tool {
    /// The tool for an image.
    ///
    /// # Errors
    /// In words for people, when it has none that is known here.
    pub fn of(inventory: &Inventory) -> Result<Self, &'static str> {
        let has = |tool: &str| inventory.tools.iter().any(|own| own == tool);
        match inventory.manager {
            Manager::Dpkg if !has("sh") => Err("the image has no shell to upgrade packages with"),
            Manager::Dpkg if has("apt-get") => Ok(Self::Apt),
            Manager::Dpkg if has("dpkg") => Ok(Self::Dpkg),
            Manager::Dpkg => Err("the image has dpkg's database, but neither apt-get nor dpkg"),
            Manager::Rpm if !has("sh") => Ok(Self::Helper),
            Manager::Rpm => Ok(RPM.into_iter().find(|tool| has(tool.name())).unwrap_or(Self::Helper)),
            Manager::DpkgFragments => Ok(Self::Fragments),
            Manager::RpmManifest => Ok(Self::Manifest),
            Manager::Apk if has("apk") && has("sh") => Ok(Self::Apk),
            Manager::Apk => Ok(Self::ApkFiles),
            Manager::Pacman if !has("sh") => Err("the image has no shell to upgrade packages with"),
            Manager::Pacman if has("pacman") => Ok(Self::Pacman),
            Manager::Pacman => Err("the image has pacman's database, but not pacman"),
        }
    }

    /// The program's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Apt => "apt-get",
            Self::Dpkg => "dpkg",
            Self::Dnf => "dnf",
            Self::Dnf5 => "dnf5",
            Self::Zypper => "zypper",
            Self::Tdnf => "tdnf",
            Self::Microdnf => "microdnf",
            Self::Yum => "yum",
            Self::Rpm | Self::Helper => "rpm",
            Self::Pacman => "pacman",
            Self::Fragments => "status.d",
            Self::Manifest => "rpmmanifest",
            Self::ApkFiles => "apk's database",
        }
    }

    /// Whether it needs no container.
    #[must_use]
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Fragments | Self::Manifest | Self::ApkFiles)
    }

    /// Whether a plan that asks for nothing but files may do without the container that it otherwise needs.
    #[must_use]
    pub fn may_be_direct(self) -> bool {
        self == Self::Apk
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use patchport_packages::inventory::Repositories;
    use patchport_packages::{Inventory, OsRelease};

    use super::{Manager, Tool};

    fn of(manager: Manager, tools: &[&str]) -> Result<Tool, &'static str> {
        Tool::of(&Inventory {
            os: OsRelease::parse(b"ID=rocky\n").unwrap(),
            manager,
            packages: vec![],
            held: vec![],
            repositories: Repositories::default(),
            tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        })
    }

    #[test]
    fn rpm_images_are_upgraded_by_the_best_tool_that_they_have() {
        let cases: [(&[&str], Tool); 8] = [
            (&["dnf", "microdnf", "rpm", "sh", "yum"], Tool::Dnf),
            (&["dnf5", "rpm", "sh"], Tool::Dnf5),
            (&["rpm", "sh", "zypper"], Tool::Zypper),
            (&["rpm", "sh", "tdnf"], Tool::Tdnf),
            (&["microdnf", "rpm", "sh"], Tool::Microdnf),
            (&["rpm", "sh", "yum"], Tool::Yum),
            // A Debian's own tools on an rpm image say nothing.
            (&["apt-get", "dpkg", "rpm", "sh"], Tool::Rpm),
            (&["microdnf", "sh"], Tool::Microdnf),
        ];
        for (tools, expected) in cases {
            assert_eq!(of(Manager::Rpm, tools), Ok(expected), "{tools:?}");
        }
        for nothing_that_runs in [&["dnf", "rpm"][..], &["sh"], &[]] {
            assert_eq!(
                of(Manager::Rpm, nothing_that_runs),
                Ok(Tool::Helper),
                "{nothing_that_runs:?}"
            );
        }
        assert_eq!(of(Manager::Dpkg, &["apt-get", "dpkg", "sh"]), Ok(Tool::Apt));
    }
}
