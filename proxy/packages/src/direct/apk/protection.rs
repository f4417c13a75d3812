//! Which files apk keeps as their owner has changed them: those in folders that are protected, by default all below `etc`
//! (apk-protected_paths(5)).

use globset::{GlobBuilder, GlobMatcher};

use super::{MAX_PATTERNS, content};
use crate::layer::Tree;
use crate::layer::path;

/// Where an image says more.
pub(super) const FOLDER: &str = "etc/apk/protected_paths.d";
/// What is protected without a word, in the order in which it counts.
const DEFAULTS: [&str; 3] = ["+etc", "@etc/init.d", "!etc/apk"];

/// What is protected.
pub(super) struct Protection {
    /// By the parts of their paths.
    patterns: Vec<(Vec<GlobMatcher>, bool)>,
}

impl Default for Protection {
    fn default() -> Self {
        Self::of(DEFAULTS.into_iter())
    }
}

impl Protection {
    /// What is protected in an image, or why that cannot be told.
    pub(super) fn read(tree: &Tree) -> Result<Self, String> {
        let mut lines: Vec<String> = DEFAULTS.map(str::to_owned).into();
        let place = tree.resolve(FOLDER).unwrap_or_default();
        let files: Vec<String> = tree.children(&place).map(|(path, _)| path.to_owned()).collect();
        for file in files.iter().filter(|file| !place.is_empty() && file.ends_with(".list")) {
            let (_, name) = path::split(file);
            let text = content(tree, &path::join(FOLDER, name))?.unwrap_or_default();
            lines.extend(String::from_utf8_lossy(text).lines().map(str::to_owned));
        }
        if lines.len() > MAX_PATTERNS {
            return Err(format!("/{FOLDER} has more than {MAX_PATTERNS} lines"));
        }
        Ok(Self::of(lines.iter().map(String::as_str)))
    }

    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pattern = |line: &str| {
            let rest = line.strip_prefix(['-', '+', '@', '!']).unwrap_or(line);
            let parts = rest.trim_matches('/').split('/').map(glob);
            // What nobody can read matches nothing there either.
            Some((parts.collect::<Option<Vec<_>>>()?, !line.starts_with('-')))
        };
        Self {
            patterns: lines.filter_map(pattern).collect(),
        }
    }

    /// Whether a file is.
    pub(super) fn covers(&self, file: &str) -> bool {
        let (folder, _) = path::split(file);
        let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        let mut is_protected = false;
        // Each folder is what the last pattern says that names it, and else what the folder above it is.
        for depth in 1..=parts.len() {
            let own = parts.get(..depth).unwrap_or_default();
            let names = |pattern: &&(Vec<GlobMatcher>, bool)| {
                let (globs, _) = pattern;
                globs.len() == depth && globs.iter().zip(own).all(|(glob, part)| glob.is_match(part))
            };
            if let Some((_, protects)) = self.patterns.iter().rev().find(names) {
                is_protected = *protects;
            }
        }
        is_protected
    }
}

/// A pattern of fnmatch(3) with `FNM_PATHNAME`, as what matches it; nothing when it is malformed.
pub(super) fn glob(pattern: &str) -> Option<GlobMatcher> {
    let mut escaped = String::with_capacity(pattern.len());
    for symbol in pattern.chars() {
        match symbol {
            // What has a meaning here and none there.
            '{' => escaped.push_str("[{]"),
            '}' => escaped.push_str("[}]"),
            '*' if escaped.ends_with('*') => {}
            other => escaped.push(other),
        }
    }
    let mut builder = GlobBuilder::new(&escaped);
    let glob = builder.literal_separator(true).backslash_escape(true).build();
    glob.ok().map(|glob| glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected() {
        let own = ["-etc/ssl/certs", "# usr", "opt/*/conf", "+srv/[ab]", "-etc/c?"];
        let protection = Protection::of(DEFAULTS.into_iter().chain(own));
        let cases = [
            ("etc/passwd", true),
            ("etc/ssl/openssl.cnf", true),
            ("etc/ssl/certs/ca.pem", false),
            ("etc/ssl/certs/below/ca.pem", false),
            ("etc/init.d/service", true),
            ("etc/apk/world", true),
            ("etc/cx/file", false),
            ("usr/etc/file", false),
            ("etc", false),
            ("opt/app/conf/file", true),
            ("opt/app/conf/below/file", true),
            ("opt/app/more/conf/file", false),
            ("srv/a/file", true),
            ("srv/c/file", false),
        ];
        for (path, expected) in cases {
            assert_eq!(protection.covers(path), expected, "{path}");
        }
    }

    #[test]
    fn patterns() {
        let is = |pattern: &str, text: &str| glob(pattern).is_some_and(|glob| glob.is_match(text));
        assert!(is("/lib/modules/*", "/lib/modules/6.1"));
        assert!(!is("/lib/modules/*", "/lib/modules/6.1/kernel"));
        assert!(is("/a**b", "/axb") && !is("/a**b", "/a/b"));
        assert!(is("/{a,b}", "/{a,b}") && !is("/{a,b}", "/a"));
    }
}
