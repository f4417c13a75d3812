//! apt's sources, sources.list(5): the one-line format and deb822 stanzas.
//! What apt would refuse is an error, for apt then knows no source at all; a source of a kind that is not reached over
//! HTTP is named for people and left out.

use serde::{Deserialize, Serialize};

use super::Error;
use super::stanza::{self, Field, Stanza};

/// More sources than any image has.
const MAX_SOURCES: usize = 1_000;

/// Options that matter to apt alone: as fields of a stanza, and in the one-line format.
const OTHERS: [(&str, &str); 13] = [
    ("languages", "lang"),
    ("targets", "target"),
    ("pdiffs", "pdiffs"),
    ("by-hash", "by-hash"),
    ("allow-insecure", "allow-insecure"),
    ("allow-weak", "allow-weak"),
    ("allow-downgrade-to-insecure", "allow-downgrade-to-insecure"),
    ("check-date", "check-date"),
    ("date-max-future", "date-max-future"),
    ("valid-until-min", "valid-until-min"),
    ("valid-until-max", "valid-until-max"),
    ("inrelease-path", "inrelease-path"),
    ("snapshot", "snapshot"),
];

/// One deb source: a repository with suites and components.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where the repository is, ending in `/`. May hold `$(ARCH)`.
    pub uri: String,
    /// Suites, such as `bookworm`; those of a flat repository end in `/`. May hold `$(ARCH)`.
    pub suites: Vec<String>,
    /// Components, such as `main`; none for a flat repository.
    pub components: Vec<String>,
    /// Architectures instead of those that apt is configured for; empty: those.
    pub architectures: Vec<String>,
    /// Architectures besides, then those that are left out (`arch+=`, `arch-=`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures_added: Vec<String>,
    /// Architectures that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures_removed: Vec<String>,
    /// Key files (with their `/` in front) or fingerprints that this source must be signed by.
    pub signed_by: Vec<String>,
    /// The same as an armored key in the source itself.
    pub inline_key: Option<String>,
    /// Whether it is trusted without a signature, or not even with one.
    pub trusted: Option<bool>,
    /// Whether the `Valid-Until` of its releases counts.
    pub check_valid_until: Option<bool>,
    /// What else apt is told of it, by the names of options in the one-line format: nothing that matters here, so it is not kept.
    #[serde(skip)]
    pub others: Vec<(String, String)>,
}

/// What files of sources say.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) sources: Vec<Source>,
    pub(super) unsupported: Vec<String>,
}

impl Sources {
    /// Reads a file in the one-line format.
    pub(super) fn read_list(&mut self, file: &str, text: &[u8]) -> Result<(), Error> {
        let text = String::from_utf8_lossy(text);
        for (index, line) in text.lines().enumerate() {
            self.read_line(line)
                .and_then(|()| self.check_count())
                .map_err(|what| Error::syntax(file, index + 1, what))?;
        }
        Ok(())
    }

    fn read_line(&mut self, line: &str) -> Result<(), String> {
        let line = without_comment(line).trim();
        let (kind, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match kind {
            "" | "deb-src" => return Ok(()),
            "deb" => {}
            _ => return Err(format!("the type {:?} is not known", shortened(kind))),
        }
        let mut source = Source::default();
        let mut rest = rest.trim_start();
        if let Some(options) = rest.strip_prefix('[') {
            let (options, after) = options.split_once(']').ok_or("the options have no end")?;
            for option in options.split_ascii_whitespace() {
                let (name, value) = option.split_once('=').ok_or("an option without value")?;
                source.set_option(name, value);
            }
            rest = after;
        }
        let mut words = rest.split_ascii_whitespace();
        let uri = words.next().ok_or("no URI")?;
        let suite = words.next().ok_or("no suite")?;
        source.suites = vec![suite.to_owned()];
        source.components = words.map(ToOwned::to_owned).collect();
        self.add(source, uri)
    }

    /// Reads a file of deb822 stanzas.
    pub(super) fn read_stanzas(&mut self, file: &str, text: &[u8]) -> Result<(), Error> {
        for stanza in stanza::read(file, text)? {
            self.read_stanza(&stanza)
                .and_then(|()| self.check_count())
                .map_err(|what| Error::syntax(file, stanza.line, what))?;
        }
        Ok(())
    }

    fn read_stanza(&mut self, stanza: &Stanza) -> Result<(), String> {
        let enabled = stanza.value("Enabled").and_then(boolean).unwrap_or(true);
        let types = stanza.value("Types").ok_or("no Types")?;
        if !enabled || !types.split_ascii_whitespace().any(|kind| kind == "deb") {
            return Ok(());
        }
        let list = |name| {
            stanza
                .value(name)
                .unwrap_or_default()
                .split_ascii_whitespace()
                .map(ToOwned::to_owned)
        };
        let mut source = Source {
            suites: list("Suites").collect(),
            components: list("Components").collect(),
            ..Source::default()
        };
        for Field { name, value } in &stanza.fields {
            source.set_field(name, value);
        }
        if source.suites.is_empty() {
            return Err("no Suites".to_owned());
        }
        let mut uris = list("URIs").peekable();
        uris.peek().ok_or("no URIs")?;
        uris.try_for_each(|uri| self.add(source.clone(), &uri))
    }

    /// Adds a source that has everything but its URI.
    fn add(&mut self, mut source: Source, uri: &str) -> Result<(), String> {
        let flat = source.suites.iter().filter(|suite| suite.ends_with('/')).count();
        if flat > 0 && !source.components.is_empty() {
            return Err("a suite that ends in / has no components".to_owned());
        }
        if flat < source.suites.len() && source.components.is_empty() {
            return Err("no components".to_owned());
        }
        let (scheme, _) = uri.split_once(':').ok_or("the URI has no scheme")?;
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            let suites = source.suites.join(" ");
            let scheme = shortened(scheme);
            self.unsupported
                .push(format!("a source with {suites}: {scheme}: is not reached over HTTP"));
            return Ok(());
        }
        source.uri = format!("{}/", uri.trim_end_matches('/'));
        self.sources.push(source);
        Ok(())
    }

    fn check_count(&self) -> Result<(), String> {
        if self.sources.len() + self.unsupported.len() > MAX_SOURCES {
            return Err(format!("more than {MAX_SOURCES} sources"));
        }
        Ok(())
    }
}

impl Source {
    /// The sources in a text, in one-line format, or as stanzas where there are `Types`.
    ///
    /// # Errors
    /// [`Error`] when apt would refuse it, and for a source that is not reached over HTTP.
    pub fn parse(name: &str, text: &str) -> Result<Vec<Self>, Error> {
        let mut sources = Sources::default();
        let is_stanza = |line: &str| line.to_ascii_lowercase().starts_with("types:");
        if text.lines().any(is_stanza) {
            sources.read_stanzas(name, text.as_bytes())?;
        } else {
            sources.read_list(name, text.as_bytes())?;
        }
        match sources.unsupported.pop() {
            Some(what) => Err(Error::syntax(name, 1, what)),
            None => Ok(sources.sources),
        }
    }

    /// Takes an option of the one-line format.
    fn set_option(&mut self, name: &str, value: &str) {
        let field = match name {
            "arch" => "Architectures",
            "arch+" => "Architectures-Add",
            "arch-" => "Architectures-Remove",
            other => other,
        };
        self.set_field(field, value.trim_matches('"'));
    }

    /// Takes a field that matters here; its values are separated by blanks or commas.
    fn set_field(&mut self, name: &str, value: &str) {
        let values = value.split([',', ' ', '\t', '\n']).filter(|value| !value.is_empty());
        let values = || values.clone().map(ToOwned::to_owned).collect();
        match name.to_ascii_lowercase().as_str() {
            "architectures" => self.architectures = values(),
            "architectures-add" => self.architectures_added = values(),
            "architectures-remove" => self.architectures_removed = values(),
            "signed-by" if value.contains("-----BEGIN") => self.inline_key = Some(armored(value)),
            "signed-by" => self.signed_by = values(),
            "trusted" => self.trusted = boolean(value),
            "check-valid-until" => self.check_valid_until = boolean(value),
            other => {
                let option = OTHERS.iter().find(|(field, option)| [field, option].contains(&&other));
                let values: Vec<String> = values();
                self.others
                    .extend(option.map(|(_, option)| ((*option).to_owned(), values.join(","))));
            }
        }
    }
}

/// A key from a field, where a blank line is written as a dot.
fn armored(value: &str) -> String {
    let lines = value.trim().lines().map(str::trim);
    lines
        .map(|line| format!("{}\n", if line == "." { "" } else { line }))
        .collect()
}

/// `line` up to a `#` that is not in brackets.
fn without_comment(line: &str) -> &str {
    let mut at = 0;
    while let Some(found) = line[at..].find(['#', '[']) {
        let here = at + found;
        if line[here..].starts_with('#') {
            return &line[..here];
        }
        at = line[here..].find(']').map_or(here + 1, |end| here + end);
    }
    line
}

/// One of apt's words for yes and no (`StringToBool`).
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
