//! One repository of an image, from its section of a file and what the main section says for all.

use serde::{Deserialize, Serialize};

use crate::rpm::configuration::ini::{Section, flag, list};
use crate::rpm::configuration::{Error, MAX_PATTERNS, Variables, refuse_long, too_many};

/// dnf's priority of a repository that names none.
const DEFAULT_PRIORITY: u32 = 99;

/// A repository. Texts are as the image has them, with its variables replaced: any text, also where a URL should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its identifier, such as `baseos`.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// The file that defines it.
    pub file: String,
    /// Whether it is used.
    pub enabled: bool,
    /// Where it is; any of them serves.
    pub base_urls: Vec<String>,
    /// Where a list of such places is, one a line.
    pub mirror_list: Option<String>,
    /// Where such a list in XML is, with checksums of the repository's index.
    pub metalink: Option<String>,
    /// Whether packages must be signed.
    pub gpg_check: bool,
    /// Whether the index must be signed.
    pub repository_gpg_check: bool,
    /// Where the keys are that sign them.
    pub gpg_keys: Vec<String>,
    /// A package of a repository with a lower number hides those of the same name from others.
    pub priority: u32,
    /// Packages that are not to be seen.
    pub excludes: Vec<String>,
    /// When not empty: the only packages that are to be seen.
    pub includes: Vec<String>,
    /// Whether its packages count even where a module of the same name is enabled.
    pub module_hotfixes: bool,
    /// Whether certificates are checked.
    pub tls_verify: bool,
    /// The proxy that it is reached through.
    pub proxy: Option<String>,
}

impl Repository {
    pub(crate) fn of(section: &Section, main: &Section, variables: &Variables) -> Result<Self, Error> {
        let text = |key| section.value(key).map(|value| variables.substitute(value));
        let inherited = |key| section.value(key).or_else(|| main.value(key));
        let is = |key, otherwise| inherited(key).and_then(flag).unwrap_or(otherwise);
        let urls = |key| {
            let all = section
                .value(key)
                .into_iter()
                .flat_map(|value| list(&variables.substitute(value)));
            all.collect::<Vec<_>>()
        };
        let id = variables.substitute(&section.name);
        let proxy = inherited("proxy").map(|value| variables.substitute(value));
        let base_urls = urls("baseurl");
        let gpg_keys = urls("gpgkey");
        for (what, urls) in [("base URLs", &base_urls), ("keys", &gpg_keys)] {
            if urls.len() > MAX_PATTERNS {
                return Err(too_many(&section.file, what, MAX_PATTERNS));
            }
        }
        Ok(Self {
            name: text("name").unwrap_or_else(|| id.clone()),
            id,
            file: section.file.clone(),
            enabled: section.value("enabled").and_then(flag).unwrap_or(true),
            base_urls,
            mirror_list: text("mirrorlist").filter(|url| !url.is_empty()),
            metalink: text("metalink").filter(|url| !url.is_empty()),
            gpg_check: is("gpgcheck", false),
            repository_gpg_check: is("repo_gpgcheck", false),
            gpg_keys,
            priority: inherited("priority")
                .and_then(|text| text.parse().ok())
                .unwrap_or(DEFAULT_PRIORITY),
            excludes: patterns(section, &["exclude", "excludepkgs"], variables)?,
            includes: patterns(section, &["includepkgs"], variables)?,
            module_hotfixes: section.value("module_hotfixes").and_then(flag).unwrap_or(false),
            tls_verify: is("sslverify", true),
            proxy: proxy.filter(|proxy| !proxy.is_empty() && proxy != "_none_"),
        })
    }
}

/// The words of all options of some names.
pub(crate) fn patterns(section: &Section, keys: &[&str], variables: &Variables) -> Result<Vec<String>, Error> {
    let values = keys.iter().filter_map(|key| section.value(key));
    let found: Vec<String> = values.flat_map(|value| list(&variables.substitute(value))).collect();
    if found.len() > MAX_PATTERNS {
        return Err(too_many(&section.file, "patterns", MAX_PATTERNS));
    }
    refuse_long(&section.file, &found)?;
    Ok(found)
}
