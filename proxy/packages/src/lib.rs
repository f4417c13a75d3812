//! Package databases, their versions, and the image layers they are read from. Pure and synchronous:
//! no network, no files, no clock. All input is taken for hostile: everything has a limit, nothing panics.

pub mod apk;
pub mod apt;
pub mod deb;
pub mod direct;
pub mod document;
pub mod dpkg;
pub mod findings;
pub mod inventory;
pub mod language;
pub mod layer;
pub mod lifecycle;
pub mod openpgp;
pub mod os_release;
pub mod osv;
pub mod pacman;
pub mod report;
pub mod rpm;
pub mod version;

pub use findings::{Finding, Findings};
pub use inventory::{Changes, Inventory};
pub use os_release::OsRelease;
pub use version::{Family, Version};
