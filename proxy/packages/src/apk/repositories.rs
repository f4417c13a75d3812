//! `etc/apk/repositories` and the files of `repositories.d` (apk-repositories(5)): where packages come from.
//! Reads the plain lines of apk 2 and what 3 adds. As in apk, a line that is not understood ends its file, with a note.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::is_word;

/// More lines than this are not read, over all files; apk stops at about 30 repositories.
const MAX_REPOSITORIES: usize = 256;

/// The longest address or value, in bytes, as in apk.
const MAX_LENGTH: usize = 4096;

/// A repository of packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its address, or a folder in the image: what stands before the architecture, or the index itself.
    pub url: String,
    /// How it is laid out.
    pub format: Format,
    /// Its tag, without `@`: only packages that ask for it come from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// How a repository is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A folder for each architecture with an `APKINDEX.tar.gz`.
    V2,
    /// A folder for each architecture with a `Packages.adb`.
    V3,
    /// The address is that of an index, and packages are beside it.
    Index,
}

impl Repository {
    /// The address of its index for an architecture.
    #[must_use]
    pub fn index_url(&self, architecture: &str) -> String {
        let Self { url, format, .. } = self;
        match format {
            Format::V2 => format!("{url}/{architecture}/APKINDEX.tar.gz"),
            Format::V3 => format!("{url}/{architecture}/Packages.adb"),
            Format::Index => url.clone(),
        }
    }
}

impl Repository {
    /// The folder of a package's file, and its name there, for an architecture of its own.
    #[must_use]
    pub fn package_place(&self, name: &str, version: &str, architecture: &str) -> (String, String) {
        let Self { url, format, .. } = self;
        let folder = match format {
            Format::V2 | Format::V3 => format!("{url}/{architecture}"),
            Format::Index => url.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned(),
        };
        (folder, format!("{name}-{version}.apk"))
    }

    /// The line of `etc/apk/repositories` for a copy of it at `url`, of the index `file` there.
    #[must_use]
    pub fn line_at(&self, url: &str, file: &str) -> String {
        let (keyword, address) = match self.format {
            Format::V2 => ("", url.to_owned()),
            Format::V3 => ("v3 ", url.to_owned()),
            Format::Index => ("ndx ", format!("{url}/{file}")),
        };
        let tag = self.tag.as_ref().map(|tag| format!("@{tag} ")).unwrap_or_default();
        format!("{keyword}{tag}{address}\n")
    }
}

impl fmt::Display for Repository {
    /// As apk takes it, without what may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, "@{tag} ")?;
        }
        let secret = self.url.split_once("://").and_then(|(scheme, rest)| {
            let host = rest.split('/').next().unwrap_or_default();
            let (secret, _) = host.rsplit_once('@')?;
            Some((scheme, rest.get(secret.len()..)?.strip_prefix('@')?))
        });
        match secret {
            Some((scheme, rest)) => write!(f, "{scheme}://*@{rest}"),
            None => f.write_str(&self.url),
        }
    }
}

/// What was read so far: repositories, and the variables for what follows.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) repositories: Vec<Repository>,
    pub(crate) notes: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl Reader {
    /// A reader for an image of an architecture, where that is known.
    pub(crate) fn new(architecture: Option<&str>) -> Self {
        let variables = architecture.map(|name| ("APK_ARCH".to_owned(), name.to_owned()));
        Self {
            variables: variables.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Reads a file; `file` names it in notes.
    pub(crate) fn add(&mut self, file: &str, bytes: &[u8]) {
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1_u64..) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let line = String::from_utf8_lossy(line);
            if let Err(why) = self.line(&line) {
                self.notes.push(format!("{file}:{number}: {why}: apk reads no further"));
                return;
            }
        }
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let (first, rest) = word(line);
        let is_keyword = !first.starts_with(['@', '$', '/']) && !first.contains("://");
        let (format, rest) = match first {
            "" => return Err("a blank at the beginning of a line"),
            "set" => return self.set(rest),
            "ndx" => (Some(Format::Index), rest),
            "v2" => (Some(Format::V2), rest),
            "v3" => (Some(Format::V3), rest),
            _ if is_keyword => return Err("a keyword that is not known"),
            _ => (None, line),
        };
        let (tag, rest) = match word(rest) {
            (tag, rest) if tag.starts_with('@') => (tag.strip_prefix('@'), rest),
            _ => (None, rest),
        };
        if tag.is_some_and(|tag| tag.is_empty() || !is_word(tag)) {
            return Err("a tag that is no word");
        }
        let (url, components) = word(rest);
        let is_index = url.ends_with(".adb") || url.ends_with(".tar.gz");
        let format = format.unwrap_or(if is_index { Format::Index } else { Format::V2 });
        let url = self.expand(url)?;
        let url = url.trim_end_matches('/');
        if !url.starts_with('/') && !url.contains("://") {
            return Err("no address of a repository");
        }
        let components = self.expand(components)?;
        let mut urls: Vec<String> = components
            .split([' ', '\t'])
            .filter(|component| !component.is_empty())
            .map(|component| format!("{url}/{component}"))
            .collect();
        if urls.is_empty() {
            urls.push(url.to_owned());
        }
        if self.repositories.len().saturating_add(urls.len()) > MAX_REPOSITORIES {
            return Err("more repositories than apk takes");
        }
        self.repositories.extend(urls.into_iter().map(|url| Repository {
            url,
            format,
            tag: tag.map(ToOwned::to_owned),
        }));
        Ok(())
    }

    /// `set [-default] key=value`.
    fn set(&mut self, definition: &str) -> Result<(), &'static str> {
        let (option, rest) = word(definition);
        let (definition, keep) = match option {
            "-default" => (rest, true),
            _ if option.starts_with('-') => return Err("an option of set that is not known"),
            _ => (definition, false),
        };
        let (key, value) = definition.split_once('=').ok_or("a variable without a value")?;
        let is_key = key.starts_with(|first: char| first.is_ascii_alphabetic())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_key || key.starts_with("APK_") {
            return Err("a variable that cannot be set");
        }
        let value = self.expand(value)?;
        if !(keep && self.variables.contains_key(key)) {
            self.variables.insert(key.to_owned(), value);
        }
        Ok(())
    }

    /// Puts values in the place of each `${variable}`.
    fn expand(&self, text: &str) -> Result<String, &'static str> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (key, after) = after.split_once('}').ok_or("a variable without its end")?;
            let value = self.variables.get(key).ok_or("a variable that was not set")?;
            expanded.push_str(before);
            expanded.push_str(value);
            if expanded.len() > MAX_LENGTH {
                break;
            }
            rest = after;
        }
        expanded.push_str(rest);
        if expanded.len() > MAX_LENGTH {
            return Err("an address or value that is too long");
        }
        Ok(expanded)
    }
}

/// The first word of a line, and what comes after it.
fn word(line: &str) -> (&str, &str) {
    let (first, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (first, rest.trim_start_matches([' ', '\t']))
}
