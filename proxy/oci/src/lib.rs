//! OCI names, digests, platforms, manifests, routes and error bodies.
//!
//! Everything here is parsed once, at the edge, into types that cannot be wrong, and does no I/O.
//! The manifest view is our own and not a crate's: it must accept what clients accept (Docker types, odd platforms),
//! refuse what confuses them (CVE-2021-41190), and keep the bytes that were received.

pub mod digest;
pub mod error;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod platform;
pub mod range;
pub mod route;

pub use digest::{Digest, Hasher};
pub use error::ErrorCode;
pub use manifest::{Descriptor, Manifest};
pub use name::{Reference, Repository, Tag};
pub use platform::Platform;
pub use range::ByteRange;
pub use route::Route;
