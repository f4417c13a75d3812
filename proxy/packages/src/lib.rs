//! Package databases, their versions, and the image layers they are read from. Pure and synchronous:
//! no network, no files, no clock. All input is taken for hostile: everything has a limit, nothing panics.

pub mod dpkg;
pub mod inventory;
pub mod layer;
pub mod os_release;
pub mod version;

pub use inventory::{Changes, Inventory};
pub use os_release::OsRelease;
pub use version::Version;
