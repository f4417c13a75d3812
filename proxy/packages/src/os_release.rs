//! `os-release`: which distribution an image is (os-release(5)).
//! Keeps the few keys that decide how to patch; their values are checked, for they end up in names.

use serde::{Deserialize, Serialize};

/// The largest file that is taken, in bytes.
pub const MAX_SIZE: usize = 64 * 1024;

/// What an image says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsRelease {
    /// `ID`, such as `debian`; `linux` when the file has none, as os-release(5) says.
    pub id: String,
    /// `ID_LIKE`: the distributions it derives from, closest first.
    pub id_like: Vec<String>,
    /// `VERSION_ID`, such as `12`; rolling distributions have none.
    pub version_id: Option<String>,
    /// `VERSION_CODENAME`, such as `bookworm`; else the word in brackets that `VERSION` ends with in images that leave it out.
    pub version_codename: Option<String>,
    /// `PRETTY_NAME`, for people. Any text.
    pub pretty_name: Option<String>,
    /// `NAME`, for people. Any text.
    pub name: Option<String>,
    /// `SUPPORT_END`: the day its support ends, `2026-08-31`. Any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_end: Option<String>,
}

/// Why a file is not an `os-release`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Over the size limit.
    #[error("os-release is larger than {MAX_SIZE} bytes")]
    TooLarge,
    /// Not text.
    #[error("os-release is not UTF-8 text")]
    NotText,
    /// A quote that is not closed, or text after it.
    #[error("os-release line {line}: the value of {key} is not quoted as os-release(5) says")]
    Quoting {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A value with characters that its key does not allow.
    #[error("os-release line {line}: {key} has the value {value:?}, only letters, digits and . _ - + ~ are allowed")]
    Value {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

impl OsRelease {
    /// Reads the content of an `os-release` file. A key that comes twice counts the second time, as in a shell.
    ///
    /// # Errors
    /// [`Error`] when the file is too large, no text, or one of our keys is malformed. Other lines are not
    /// looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_SIZE {
            return Err(Error::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Error::NotText)?;
        let (mut found, mut bracketed) = (Self::unnamed(), None);
        for (index, line) in text.lines().enumerate() {
            if let Some((key, value)) = line.trim().split_once('=') {
                found.set(index + 1, key, value)?;
                bracketed = bracketed.or_else(|| in_brackets(value).filter(|_| key == "VERSION"));
            }
        }
        found.version_codename = found.version_codename.or(bracketed);
        Ok(found)
    }

    fn unnamed() -> Self {
        let (version_id, version_codename, pretty_name, name) = (None, None, None, None);
        Self {
            id: "linux".to_owned(),
            id_like: Vec::new(),
            version_id,
            version_codename,
            pretty_name,
            name,
            support_end: None,
        }
    }

    fn set(&mut self, line: usize, key: &str, raw: &str) -> Result<(), Error> {
        let entry = Entry { line, key, raw };
        match key {
            "ID" => self.id = entry.word()?.unwrap_or_else(|| "linux".to_owned()),
            "ID_LIKE" => {
                let text = entry.text()?.unwrap_or_default();
                self.id_like = text
                    .split_whitespace()
                    .map(|word| entry.checked(word))
                    .collect::<Result<_, _>>()?;
            }
            "VERSION_ID" => self.version_id = entry.word()?,
            "VERSION_CODENAME" => self.version_codename = entry.word()?,
            "PRETTY_NAME" => self.pretty_name = entry.text()?,
            "NAME" => self.name = entry.text()?,
            "SUPPORT_END" => self.support_end = entry.text()?,
            _ => {}
        }
        Ok(())
    }
}

/// The name of a release that the text of `VERSION` ends with: `12 (bookworm)`.
fn in_brackets(text: &str) -> Option<String> {
    let (_, name) = text.trim_matches(['"', '\'']).strip_suffix(')')?.rsplit_once('(')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    is_name.then(|| name.to_owned())
}

/// One assignment.
struct Entry<'a> {
    line: usize,
    key: &'a str,
    raw: &'a str,
}

impl Entry<'_> {
    /// The value without quotes; an empty one is none.
    fn text(&self) -> Result<Option<String>, Error> {
        let malformed = || Error::Quoting {
            line: self.line,
            key: self.key.to_owned(),
        };
        let value = unquote(self.raw).ok_or_else(malformed)?;
        Ok((!value.is_empty()).then_some(value))
    }

    /// The value as something that may be part of a name.
    fn word(&self) -> Result<Option<String>, Error> {
        self.text()?.map(|value| self.checked(&value)).transpose()
    }

    fn checked(&self, value: &str) -> Result<String, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
        if value.bytes().all(allowed) {
            return Ok(value.to_owned());
        }
        Err(Error::Value {
            line: self.line,
            key: self.key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// A value without its quotes and escapes, or nothing when it is not one shell word.
fn unquote(raw: &str) -> Option<String> {
    let mut rest = raw.chars();
    let quote = match rest.clone().next() {
        Some(quote @ ('"' | '\'')) => {
            rest.next();
            Some(quote)
        }
        _ => None,
    };
    let mut value = String::with_capacity(raw.len());
    while let Some(next) = rest.next() {
        match next {
            _ if Some(next) == quote => return rest.as_str().is_empty().then_some(value),
            '\\' if quote != Some('\'') => value.push(rest.next()?),
            '"' | '\'' if quote.is_none() => return None,
            _ if quote.is_none() && next.is_whitespace() => return None,
            _ => value.push(next),
        }
    }
    quote.is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{Error, MAX_SIZE, OsRelease};

    #[test]
    fn debian_and_ubuntu() {
        let debian = b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\nHOME_URL=\"https://www.debian.org/\"\n";
        let parsed = OsRelease::parse(debian).unwrap();
        assert_eq!(
            (parsed.id.as_str(), parsed.version_id.as_deref()),
            ("debian", Some("12"))
        );
        assert_eq!(parsed.version_codename.as_deref(), Some("bookworm"));
        assert_eq!(parsed.pretty_name.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        let mint =
            OsRelease::parse(b"# comment\nID='linuxmint'\n\nID_LIKE=\"ubuntu debian\"\r\nnonsense\nX=\"open").unwrap();
        assert_eq!(
            (mint.id.as_str(), mint.id_like),
            ("linuxmint", vec!["ubuntu".to_owned(), "debian".to_owned()])
        );
        assert_eq!(OsRelease::parse(b"").unwrap().id, "linux");
        assert_eq!(OsRelease::parse(b"ID=a\nID=b\nVERSION_ID=").unwrap().id, "b");
    }

    #[test]
    fn quotes_and_escapes() {
        let table: [(&str, Option<&str>); 12] = [
            ("plain", Some("plain")),
            ("\"a b\"", Some("a b")),
            ("'a \\ b'", Some("a \\ b")),
            (r#""say \"hi\" \$5 \\""#, Some("say \"hi\" $5 \\")),
            ("\"it's\"", Some("it's")),
            ("a\\ b", Some("a b")),
            ("\"\"", None),
            ("\"open", Some("!")),
            ("\"a\"b", Some("!")),
            ("a b", Some("!")),
            ("a\"b\"", Some("!")),
            ("a\\", Some("!")),
        ];
        for (raw, expected) in table {
            let seen = OsRelease::parse(format!("NAME={raw}").as_bytes());
            match expected {
                Some("!") => assert_eq!(
                    seen,
                    Err(Error::Quoting {
                        line: 1,
                        key: "NAME".to_owned()
                    }),
                    "{raw}"
                ),
                expected => assert_eq!(seen.unwrap().name.as_deref(), expected, "{raw}"),
            }
        }
    }

    #[test]
    fn refuses() {
        assert_eq!(OsRelease::parse(&vec![b' '; MAX_SIZE + 1]), Err(Error::TooLarge));
        assert_eq!(OsRelease::parse(&[0xff]), Err(Error::NotText));
        let error = OsRelease::parse(b"NAME=x\nID=\"a;rm\"").unwrap_err().to_string();
        assert!(
            error.starts_with("os-release line 2: ID has the value \"a;rm\""),
            "{error}"
        );
        assert!(OsRelease::parse(b"VERSION_CODENAME=../x").is_err());
    }
}
