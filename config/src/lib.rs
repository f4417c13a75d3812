//! The configuration of Patchport: schema, defaults, environment, validation.
//! `Config::load` is the only reader of configuration files and of the environment; what it returns is
//! valid as a whole, so nothing below it checks a setting again.

mod admin;
mod buildkit;
mod cache;
mod credentials;
mod document;
mod environment;
mod error;
mod helper;
mod host;
mod listener;
mod load;
mod log;
mod patch;
mod pattern;
mod platforms;
mod prefix;
mod repository;
mod rule;
mod scan;
mod secret;
mod selection;
mod server;
mod sign;
mod store;
mod upstream;
mod url;
mod value;
mod words;

use std::path::Path;

pub use admin::Admin;
pub use buildkit::BuildKit;
pub use cache::Cache;
pub use credentials::Credentials;
pub use error::{Error, Problem};
pub use helper::Helper;
pub use listener::{Listener, Tls};
pub use log::{Log, LogFormat};
pub use patch::{CacheScope, Compression, PackageSource, Patch};
pub use pattern::{Pattern, PatternError};
pub use platforms::{Emulation, Platforms, PlatformsError};
pub use prefix::{Prefix, PrefixError};
pub use repository::{Repository, Tolerance};
pub use rule::{Action, EndOfLife, Fallback, MAX_WAIT, Rule, Terms};
pub use scan::{Distribution, Scan, Scanner};
pub use secret::Secret;
pub use selection::{Selection, SelectionError, Severity};
pub use server::Server;
pub use sign::Sign;
pub use store::Store;
pub use upstream::Upstream;
pub use url::{Url, UrlError};
pub use words::WordError;

use document::Document;

/// The effective configuration: defaults, then the file, then the environment, checked as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[store]`: where state lives.
    pub store: Store,
    /// `[log]`: what is logged and how.
    pub log: Log,
    /// `[server]`: limits of the process.
    pub server: Server,
    /// `[[listener]]`: where clients pull from; at least one.
    pub listeners: Vec<Listener>,
    /// `[admin]`: where probes go.
    pub admin: Admin,
    /// `[cache]`: how upstream answers are kept and waited for.
    pub cache: Cache,
    /// `[buildkit]`: which BuildKit patches.
    pub buildkit: BuildKit,
    /// `[patch]`: how patches are made.
    pub patch: Patch,
    /// `[scan]`: how findings come about.
    pub scan: Scan,
    /// `[sign]`: who signs patched images.
    pub sign: Sign,
    /// `[[repository]]`: how package repositories are reached; the first entry that matches decides.
    pub repositories: Vec<Repository>,
    /// `[[helper]]`: images with the package managers of distributions; the first entry that matches decides.
    pub helpers: Vec<Helper>,
    /// `[[upstream]]`: the closed table of registries; at least one, names are unique.
    pub upstreams: Vec<Upstream>,
    /// `[[rule]]`: ordered, the first match decides, the last matches everything.
    pub rules: Vec<Rule>,
}

impl Config {
    /// Reads the configuration: built-in defaults, then `path` (if given, it must exist), then the
    /// variables `PATCHPORT__SECTION__KEY` of `env`. A list given in the file replaces the default list;
    /// a variable may change one item of a list (`PATCHPORT__LISTENER__0__ADDRESS`).
    ///
    /// # Errors
    /// [`Error`] names file or variable, key, value and what is allowed. Everything that is wrong with
    /// values that could be read is reported at once.
    pub fn load(path: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        load::load(path, env)
    }

    /// The configuration as TOML that `load` would read back, secrets replaced by `<hidden>`.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "strings, numbers, lists and tables of them always have a TOML form"
    )]
    pub fn render(&self) -> String {
        toml::to_string(&Document::from(self)).expect("a configuration document is representable in TOML")
    }
}

impl Default for Config {
    #[expect(
        clippy::expect_used,
        reason = "the built-in document is constant and loaded by the tests"
    )]
    fn default() -> Self {
        let no_files = |_: &Path| Err("the built-in configuration reads no files".to_owned());
        Document::default()
            .check(no_files)
            .expect("the built-in configuration is valid")
    }
}
