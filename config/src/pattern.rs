//! Globs over `host/repository:tag`, compiled once.
//! `*` stays within a path segment, `**` crosses segments; without a `:tag` part every tag matches.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

/// The longest pattern that is taken, in bytes.
const MAX_LENGTH: usize = 512;

/// A compiled pattern of a rule. `Display` gives the text it was made from.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    everywhere: bool,
    repository: GlobMatcher,
    /// `None` for any tag.
    tag: Option<GlobMatcher>,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing before the tag, or nothing after its colon.
    #[error("pattern {0:?} has an empty part, write host/repository or host/repository:tag")]
    Empty(String),
    /// Over the length limit; the pattern itself is not shown.
    #[error("pattern is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Upper case can never match a host or a repository.
    #[error("pattern {0:?} has upper-case letters before the tag, hosts and repositories are lower case")]
    UpperCase(String),
    /// `**` glued to other characters.
    #[error("pattern {0:?} uses ** next to other characters, ** must stand alone between slashes")]
    PartialDoubleStar(String),
    /// The glob does not compile.
    #[error("pattern {0:?} is not a glob: {1}")]
    Glob(String, String),
}

impl Pattern {
    /// Whether `host/repository` and `tag` both match.
    #[must_use]
    pub fn matches(&self, host_and_repository: &str, tag: &str) -> bool {
        self.matches_repository(host_and_repository) && self.tag.as_ref().is_none_or(|glob| glob.is_match(tag))
    }

    /// Whether `host/repository` matches, whatever the tag.
    #[must_use]
    pub fn matches_repository(&self, host_and_repository: &str) -> bool {
        self.everywhere || self.repository.is_match(host_and_repository)
    }

    /// Whether every tag matches.
    #[must_use]
    pub fn any_tag(&self) -> bool {
        self.tag.is_none()
    }

    /// Whether no reference can fail to match.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.everywhere && self.any_tag()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        // A colon before the last slash belongs to the host's port.
        let name_start = text.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match text[name_start..].find(':') {
            Some(colon) => (&text[..name_start + colon], Some(&text[name_start + colon + 1..])),
            None => (text, None),
        };
        if repository.split('/').any(str::is_empty) || tag.is_some_and(str::is_empty) {
            return Err(PatternError::Empty(text.to_owned()));
        }
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(PatternError::UpperCase(text.to_owned()));
        }
        let tag = tag.filter(|tag| *tag != "*" && *tag != "**");
        let glued = |segment: &str| segment.contains("**") && segment != "**";
        if repository.split('/').chain(tag).any(glued) {
            return Err(PatternError::PartialDoubleStar(text.to_owned()));
        }
        Ok(Self {
            everywhere: repository.split('/').all(|segment| segment == "**"),
            repository: compile(text, repository)?,
            tag: tag.map(|tag| compile(text, tag)).transpose()?,
            text: text.to_owned(),
        })
    }
}

fn compile(whole: &str, glob: &str) -> Result<GlobMatcher, PatternError> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| PatternError::Glob(whole.to_owned(), error.kind().to_string()))
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, PatternError};

    #[test]
    fn matches() {
        // pattern, host/repository, tag, expected
        let table = [
            ("**", "docker.io/library/debian", "12", true),
            ("docker.io/**", "docker.io/library/debian", "12", true),
            ("docker.io/**", "docker.io/debian", "12", true),
            ("docker.io/**", "docker.io.evil.example/debian", "12", false),
            ("docker.io/*", "docker.io/library/debian", "12", false),
            ("docker.io/library/*", "docker.io/library/debian", "12", true),
            ("docker.io/library/deb*", "docker.io/library/debian", "12", true),
            ("**/debian", "docker.io/library/debian", "12", true),
            ("**/debian", "docker.io/library/debian-slim", "12", false),
            ("docker.io/library/debian:12", "docker.io/library/debian", "12", true),
            (
                "docker.io/library/debian:12",
                "docker.io/library/debian",
                "12-slim",
                false,
            ),
            (
                "docker.io/library/debian:12*",
                "docker.io/library/debian",
                "12-slim",
                true,
            ),
            ("**:{latest,stable}", "docker.io/library/debian", "stable", true),
            ("**:{latest,stable}", "docker.io/library/debian", "12", false),
            ("localhost:5000/app", "localhost:5000/app", "v1", true),
            ("localhost:5000/app:v1", "localhost:5000/app", "v1", true),
            ("localhost:5000/app:v1", "localhost:5000/app", "v2", false),
            ("*/app:*", "quay.io/app", "anything", true),
            ("quay.io/a?c", "quay.io/abc", "1", true),
            ("quay.io/a?c", "quay.io/a/c", "1", false),
        ];
        for (pattern, repository, tag, expected) in table {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(
                parsed.matches(repository, tag),
                expected,
                "{pattern} on {repository}:{tag}"
            );
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn knows_what_it_covers() {
        // pattern, any_tag, matches_everything
        let table = [
            ("**", true, true),
            ("**:*", true, true),
            ("**:latest", false, false),
            ("docker.io/**", true, false),
            ("*", true, false),
        ];
        for (text, any_tag, everything) in table {
            let pattern: Pattern = text.parse().unwrap();
            assert_eq!(
                (pattern.any_tag(), pattern.matches_everything()),
                (any_tag, everything),
                "{text}"
            );
        }
        let tagged: Pattern = "docker.io/app:v1".parse().unwrap();
        assert!(tagged.matches_repository("docker.io/app") && !tagged.matches_repository("docker.io/other"));
    }

    #[test]
    fn refuses() {
        let table = [
            ("", "has an empty part"),
            ("docker.io/app:", "has an empty part"),
            (":latest", "has an empty part"),
            ("docker.io//app", "has an empty part"),
            ("docker.io/", "has an empty part"),
            ("Docker.io/app", "upper-case"),
            ("docker.io/a**", "** must stand alone"),
            ("docker.io/app:v**", "** must stand alone"),
            ("docker.io/[a", "is not a glob"),
            ("docker.io/{a", "is not a glob"),
        ];
        for (text, expected) in table {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!("a".repeat(513).parse::<Pattern>().unwrap_err(), PatternError::TooLong);
    }
}
