//! What the black-box suites are made of: a registry that misbehaves to order, images built in memory, the
//! real binary and the real buildkitd as child processes, and clients. Depends on no crate of the product,
//! so that judge and judged share no mistake. Everything panics with its subject when it cannot be had:
//! a test that cannot run must not pass.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a kit for tests: a part that cannot be made fails the test that wants it; the testbed speaks through the environment"
)]

pub mod alpine;
pub mod apk;
pub mod apt;
pub mod buildkitd;
pub mod client;
pub mod debian;
pub mod distroless;
pub mod docker;
pub mod front;
pub mod image;
pub mod mirror;
pub mod process;
pub mod registry;
pub mod rpm;
pub mod scanner;
pub mod signer;
pub mod tools;

pub use buildkitd::Buildkitd;
pub use docker::Docker;
pub use image::{Image, Index, Layer};
pub use mirror::Mirror;
pub use registry::{Fault, Gate, Registry};

/// The digest of `bytes` as the OCI image specification writes it: `sha256:` and 64 lower-case hex digits.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}
