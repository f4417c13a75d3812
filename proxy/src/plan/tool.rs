//! Which package manager carries out a plan: the image's own, by what its layers show.

use std::fmt;

use patchport_packages::Inventory;
use patchport_packages::inventory::Manager;
use serde::Serialize;

/// What upgrades the packages of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `apt-get`, and `dpkg` below it.
    Apt,
    /// `dpkg` in an image without `apt-get`.
    Dpkg,
}

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
            Manager::DpkgFragments => Err("images without a package manager (distroless) are not supported yet"),
            Manager::Apk | Manager::Rpm | Manager::RpmManifest | Manager::Pacman => {
                Err("images of this package manager are not supported yet (apt's are)")
            }
        }
    }

    /// The program's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dpkg => "dpkg",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
