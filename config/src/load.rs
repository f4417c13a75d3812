//! Reads file and environment, lays them over the defaults, and tells errors with their origin.
//! The `config` crate merges; its error texts are taken apart here so that all of ours look alike.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use config::{ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use crate::document::{Document, Problems};
use crate::error::{Error, Problem};
use crate::{Config, environment};

/// The largest configuration file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The largest password file, in bytes.
const MAX_PASSWORD_FILE: u64 = 64 * 1024;

/// The longest value that an error repeats, in bytes.
const MAX_SHOWN: usize = 200;

/// See [`Config::load`].
pub(crate) fn load(path: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Config, Error> {
    let mut builder = config::Config::builder();
    let defaults = config::Config::try_from(&Document::default());
    builder = builder.add_source(defaults.map_err(|error| refused(&config::Config::default(), path, error))?);
    if let Some(path) = path {
        builder = builder.add_source(FileLayer::read(path)?);
    }
    for variable in environment::variables(env)? {
        builder = builder.add_source(variable);
    }
    let merged = builder
        .build()
        .map_err(|error| refused(&config::Config::default(), path, error))?;
    let document: Document = merged
        .clone()
        .try_deserialize()
        .map_err(|error| refused(&merged, path, error))?;
    document.check(read_password).map_err(|Problems(problems)| {
        Error::Refused(
            problems
                .into_iter()
                .map(|(key, text)| problem(&merged, path, key, None, text))
                .collect(),
        )
    })
}

/// The values of a file, each with the file as its origin.
#[derive(Clone, Debug)]
struct FileLayer(Map<String, Value>);

impl FileLayer {
    fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::TooLarge {
                path: path.to_owned(),
                limit: MAX_FILE,
            });
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::NotText { path: path.to_owned() })?;
        let origin = path.display().to_string();
        FileFormat::Toml
            .parse(Some(&origin), &text)
            .map(Self)
            .map_err(|cause| syntax(path, &text, &*cause))
    }
}

impl Source for FileLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Where the parser stopped. Its own `Display` would show the line.
fn syntax(path: &Path, text: &str, cause: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    let (message, offset) = match cause.downcast_ref::<toml::de::Error>() {
        Some(error) => (error.message().to_owned(), error.span().map_or(0, |span| span.start)),
        None => ("a number is out of range".to_owned(), 0),
    };
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    Error::Syntax {
        path: path.to_owned(),
        line,
        column,
        text: message,
    }
}

/// An error of the `config` crate in our form.
fn refused(merged: &config::Config, path: Option<&Path>, error: ConfigError) -> Error {
    let (key, text) = match error {
        ConfigError::At { error, key, .. } => (key.unwrap_or_default(), error.to_string()),
        ConfigError::Type {
            unexpected,
            expected,
            key,
            ..
        } => (
            key.unwrap_or_default(),
            format!("found {unexpected}, expected {expected}"),
        ),
        ConfigError::NotFound(key) => (key, "is missing".to_owned()),
        other => (String::new(), other.to_string()),
    };
    let key = dotted(&key);
    let unknown = text
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once("`, "));
    let problem = match unknown {
        Some((field, allowed)) => {
            let dot = if key.is_empty() { "" } else { "." };
            problem(
                merged,
                path,
                format!("{key}{dot}{field}"),
                None,
                format!("unknown key, {allowed}"),
            )
        }
        None => {
            let found = value_at(merged, &key).and_then(|value| shown(&key, &value));
            problem(merged, path, key, found, text)
        }
    };
    Error::Refused(vec![problem])
}

fn problem(merged: &config::Config, path: Option<&Path>, key: String, found: Option<String>, text: String) -> Problem {
    // A key that is missing has no value with an origin: it would have been in the file.
    let fallback = || path.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
    let origin = value_at(merged, &key).and_then(|value| value.origin().map(ToOwned::to_owned));
    Problem {
        origin: origin.unwrap_or_else(fallback),
        key,
        found,
        text,
    }
}

/// The value at a key such as `rule[0].wait`, with its origin (`Config::get` would lose that).
fn value_at(merged: &config::Config, key: &str) -> Option<Value> {
    let mut parts = key.split(['.', '[']);
    let mut value = merged.collect().ok()?.remove(parts.next()?)?;
    for part in parts {
        value = match (value.kind, part.strip_suffix(']')) {
            (ValueKind::Table(mut table), None) => table.remove(part)?,
            (ValueKind::Array(items), Some(index)) => items.into_iter().nth(index.parse().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// The `config` crate writes `rule[0]wait`; we write `rule[0].wait`.
fn dotted(key: &str) -> String {
    key.replace(']', "].")
        .replace("].[", "][")
        .replace("]..", "].")
        .trim_end_matches('.')
        .to_owned()
}

/// A value as an error may repeat it: short, scalar, no secret.
fn shown(key: &str, value: &Value) -> Option<String> {
    let text = match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) => value.to_string(),
        _ => return None,
    };
    (text.len() <= MAX_SHOWN && !key.ends_with("password")).then_some(text)
}

/// The trimmed content of a password file.
fn read_password(path: &Path) -> Result<String, String> {
    let name = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PASSWORD_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() as u64 > MAX_PASSWORD_FILE {
        return Err(format!("{name} is larger than {MAX_PASSWORD_FILE} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8 text"))?;
    match text.trim() {
        "" => Err(format!("{name} is empty")),
        password => Ok(password.to_owned()),
    }
}
