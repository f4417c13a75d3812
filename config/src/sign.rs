//! `[sign]`: who signs patched images, if anybody.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::value;

/// Who signs patched images: a key, a program, or nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [sign] table")]
pub struct Sign {
    /// PEM file of an ECDSA P-256 private key, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// A program with its arguments: gets what is to be signed on its standard input and writes the signature. It has the
    /// environment of this process.
    pub program: Vec<String>,
    /// How long the program may take; a patch that is not signed by then has failed.
    #[serde(with = "value::duration")]
    pub timeout: Duration,
}

impl Default for Sign {
    fn default() -> Self {
        Self {
            key: None,
            program: Vec::new(),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Sign {
    /// Notes what is wrong with it.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.key.is_some() && !self.program.is_empty() {
            problems.add("sign.program", "is given together with key, keep one of them");
        }
        if self.key.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
            problems.add("sign.key", "is empty");
        }
        if self.program.first().is_some_and(String::is_empty) {
            problems.add(
                "sign.program",
                "begins with an empty name, give a program and its arguments",
            );
        }
    }
}
