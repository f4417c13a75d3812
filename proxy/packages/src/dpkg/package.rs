//! One package as dpkg knows it: identity, version, source, and what state it is in.
//! Names and architectures are checked, for they become arguments and keys.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::inventory::Source;
use crate::version::Version;

/// A stanza of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The binary package's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its architecture, such as `amd64` or `all`.
    pub architecture: String,
    /// The source package it was built from; advisories name that one.
    pub source: Source,
    /// What dpkg wants with it and how far that got.
    pub status: Status,
    /// `Multi-Arch`.
    pub multi_arch: MultiArch,
    /// `Essential: yes`.
    pub essential: bool,
}

impl Package {
    /// What identifies a package in a database: `name:architecture`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.name, self.architecture)
    }

    /// Whether it is completely installed; nothing less counts.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.status.state == State::Installed
    }

    /// Whether it is installed and held at its version.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_installed() && self.status.want == Want::Hold
    }
}

/// The three words of `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What the administrator wants.
    pub want: Want,
    /// Whether it must be installed again.
    pub flag: Flag,
    /// How far it got.
    pub state: State,
}

impl Status {
    /// What a package without a `Status` field is taken for where there are none.
    pub(crate) const INSTALLED: Self = Self {
        want: Want::Install,
        flag: Flag::Ok,
        state: State::Installed,
    };
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split_ascii_whitespace();
        let mut next = || words.next().ok_or(());
        let status = Self {
            want: next()?.parse()?,
            flag: next()?.parse()?,
            state: next()?.parse()?,
        };
        if words.next().is_some() { Err(()) } else { Ok(status) }
    }
}

/// Defines an enum of dpkg's words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant,)+ }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err(()) }
            }
        }
    };
}

words! {
    /// What the administrator wants with a package.
    Want {
        /// Nothing was said.
        Unknown = "unknown",
        /// To be installed and upgraded.
        Install = "install",
        /// To stay at its version.
        Hold = "hold",
        /// To be removed.
        Deinstall = "deinstall",
        /// To be removed with its configuration.
        Purge = "purge",
    }
}

words! {
    /// Whether a package is broken.
    Flag {
        /// It is not.
        Ok = "ok",
        /// It must be installed again.
        ReinstallRequired = "reinstreq",
    }
}

words! {
    /// How far installing or removing got.
    State {
        /// Nothing of it is there.
        NotInstalled = "not-installed",
        /// Only its configuration is there.
        ConfigFiles = "config-files",
        /// Unpacking began.
        HalfInstalled = "half-installed",
        /// Unpacked, not configured.
        Unpacked = "unpacked",
        /// Configuring began.
        HalfConfigured = "half-configured",
        /// Another package has to process its triggers.
        TriggersAwaited = "triggers-awaited",
        /// It has to process triggers.
        TriggersPending = "triggers-pending",
        /// Complete.
        Installed = "installed",
    }
}

words! {
    /// Whether a package is there for several architectures, or serves them.
    MultiArch {
        /// Neither; also when the field is missing.
        No = "no",
        /// May be installed once per architecture.
        Same = "same",
        /// Serves other architectures.
        Foreign = "foreign",
        /// Whoever depends on it decides.
        Allowed = "allowed",
    }
}

/// Whether dpkg takes this as a package name (`pkg_name_is_illegal`).
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte);
    (1..=255).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

/// Whether dpkg takes this as an architecture (`dpkg_arch_name_is_illegal`).
pub(crate) fn is_architecture(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

/// Name and version of `Source: name (version)`, with the binary's name when there is no field.
pub(crate) fn split_source<'a>(field: Option<&'a str>, binary: &'a str) -> (&'a str, Option<&'a str>) {
    let Some(field) = field.filter(|field| !field.is_empty()) else {
        return (binary, None);
    };
    match field.split_once('(') {
        Some((name, rest)) => (name.trim_end(), Some(rest.strip_suffix(')').unwrap_or(rest).trim())),
        None => (field, None),
    }
}
