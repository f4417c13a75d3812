//! Why there is no configuration: each error names file or variable, key, value and what is allowed.

use std::fmt;
use std::path::PathBuf;

/// Why the configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration file {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is not UTF-8.
    #[error("the configuration file {} is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML. The line itself is not shown: it may hold a password.
    #[error("{}:{line}:{column}: not valid TOML: {text}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What the parser expected.
        text: String,
    },
    /// A variable whose name cannot mean a key.
    #[error("environment variable {name}: {text}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        text: &'static str,
    },
    /// Values that are wrong; at least one.
    #[error("{}", Lines(.0))]
    Refused(Vec<Problem>),
}

/// One value that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File, variable or defaults that the value came from.
    pub origin: String,
    /// The key, such as `cache.tag_ttl` or `rule[0].wait`.
    pub key: String,
    /// The value as written, if it is a short one and no secret.
    pub found: Option<String>,
    /// What is wrong, and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)?;
        self.found
            .as_ref()
            .map_or(Ok(()), |found| write!(f, " (found {found})"))
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}
