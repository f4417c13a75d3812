//! A text that must not appear in logs, in errors or in the rendered configuration.
//! Only `Secret::expose` gives it away, so a search for that word finds every use.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands in for a secret wherever it would be shown.
pub(crate) const HIDDEN: &str = "<hidden>";

/// A secret text: `Debug` and `Serialize` show `<hidden>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Takes strings only: a number would be respelled on its way here, and `serde`'s own error for a
    /// wrong type would print it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match config::Value::deserialize(deserializer)?.kind {
            config::ValueKind::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("must be a string in quotes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn nothing_shows_it() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "<hidden> <hidden>");
        let table = toml::to_string(&std::collections::BTreeMap::from([("password", &secret)])).unwrap();
        assert_eq!(table.trim(), r#"password = "<hidden>""#);
        assert_eq!(secret.expose(), "hunter2");
    }
}
