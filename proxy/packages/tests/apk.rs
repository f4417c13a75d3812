//! apk: versions, databases, settings, indexes and what is outdated, compared with the real apk of a real Alpine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "apk/configuration.rs"]
mod configuration;
#[path = "apk/database.rs"]
mod database;
#[path = "apk/index.rs"]
mod index;
#[path = "apk/kit.rs"]
mod kit;
#[path = "apk/outdated.rs"]
mod outdated;
#[path = "apk/version.rs"]
mod version;
