//! apt, as seen from outside: small tables, and the real `apt-get` as judge.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod configuration;
mod index;
mod judge;
mod outdated;
