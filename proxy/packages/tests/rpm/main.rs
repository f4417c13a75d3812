//! What is read of rpm, against the real rpm and dnf, and on bytes as an attacker would make them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

mod bed;
mod configuration;
mod databases;
mod hostile;
mod kit;
mod metadata;
mod outdated;
mod versions;
