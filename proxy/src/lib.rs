//! An OCI registry mirror that patches images as they are pulled.
//!
//! One file or folder per stage of a request (see `docs/ARCHITECTURE.md`); [`handler`] reads them top to bottom, and
//! [`app`] puts them together.

pub mod admin;
pub mod answers;
pub mod app;
pub mod assemble;
pub mod blobs;
pub mod catalog;
pub mod cli;
pub mod depot;
pub mod evidence;
pub mod flight;
pub mod handler;
pub mod index;
pub mod inspect;
pub mod library;
pub mod limits;
mod net;
pub mod patch;
pub mod plan;
pub mod policy;
pub mod referrers;
pub mod resolve;
pub mod respond;
pub mod route;
pub mod scan;
pub mod serve;
pub mod service;
pub mod sources;
pub mod store;
pub mod subject;
pub mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod turns;
pub mod upstream;
