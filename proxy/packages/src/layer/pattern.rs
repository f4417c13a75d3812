//! Files that are wanted wherever they are: what package managers of programming languages leave beside the code.
//! Of each only what tells packages is kept, so that a hundred thousand of them take little memory.

use serde::{Deserialize, Serialize};

use crate::layer::path;

/// A kind of files that are wanted wherever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Python's `*.dist-info/METADATA`, `*.egg-info/PKG-INFO` and `*.egg-info`. Their headers are kept.
    Python,
    /// `package.json` of a package in `node_modules`: `node_modules/NAME/package.json` or
    /// `node_modules/@SCOPE/NAME/package.json`. Name and version are kept.
    Node,
    /// .NET's `*.deps.json`. Names and kinds of its libraries are kept.
    Dotnet,
    /// What the Go linker writes into executables, as text.
    Go,
}

impl Pattern {
    /// All patterns.
    pub const ALL: [Self; 4] = [Self::Python, Self::Node, Self::Dotnet, Self::Go];

    /// The pattern that a clean path matches. Go's is in the content of a file, no path tells it.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (parent, name) = path::split(path);
        match name {
            "METADATA" => ends_in(path::split(parent).1, ".dist-info").then_some(Self::Python),
            "PKG-INFO" => ends_in(path::split(parent).1, ".egg-info").then_some(Self::Python),
            "package.json" => is_node_package(parent).then_some(Self::Node),
            _ if ends_in(name, ".egg-info") => Some(Self::Python),
            _ if ends_in(name, ".deps.json") => Some(Self::Dotnet),
            _ => None,
        }
    }

    /// Whether a directory of this clean path could be the one that holds a matching file: something else of that path
    /// takes the file away. Directories further above can have any name.
    pub(crate) fn could_be_above(path: &str) -> bool {
        let name = path::split(path).1;
        name == "node_modules" || ends_in(name, ".dist-info") || ends_in(name, ".egg-info") || is_node_package(path)
    }

    /// The part of a file's content that tells packages. What is broken stays as it is, for the one who reads it later to
    /// say so, but not more than [`MOST_BROKEN`] bytes of it.
    pub(crate) fn condense(self, mut bytes: Vec<u8>) -> Vec<u8> {
        let condensed = match self {
            Self::Python => {
                bytes.truncate(end_of_headers(&bytes));
                return bytes;
            }
            Self::Go => return bytes,
            Self::Node => again::<NodePackage>(&bytes),
            Self::Dotnet => again::<DotnetDeps>(&bytes),
        };
        condensed.unwrap_or_else(|| {
            bytes.truncate(MOST_BROKEN);
            bytes
        })
    }
}

/// How much is kept of a file that cannot be condensed.
const MOST_BROKEN: usize = 1024;

/// `package.json`, as far as it matters. Anything but texts is no name or version.
#[derive(Serialize, Deserialize)]
pub(crate) struct NodePackage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<serde_json::Value>,
}

/// `*.deps.json`, as far as it matters: `NAME/VERSION` of each library.
#[derive(Serialize, Deserialize)]
pub(crate) struct DotnetDeps {
    #[serde(default)]
    pub(crate) libraries: std::collections::BTreeMap<String, DotnetLibrary>,
}

/// A library of a `*.deps.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct DotnetLibrary {
    /// `package`, `project`, `reference`, ...
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<serde_json::Value>,
}

/// JSON read and written again without what the type does not have. Editors of some systems begin a file with a mark.
fn again<T: for<'a> Deserialize<'a> + Serialize>(bytes: &[u8]) -> Option<Vec<u8>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    serde_json::to_vec(&serde_json::from_slice::<T>(bytes).ok()?).ok()
}

/// Where the headers of a message end: before its first empty line.
fn end_of_headers(bytes: &[u8]) -> usize {
    let mut length = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
        length += line.len();
    }
    length
}

/// Whether a name ends so, and is more than the end.
fn ends_in(name: &str, end: &str) -> bool {
    name.len() > end.len() && name.ends_with(end)
}

/// Whether a directory is that of a package in `node_modules`. Dotted names are npm's own.
fn is_node_package(directory: &str) -> bool {
    let (parent, name) = path::split(directory);
    let parent = match path::split(parent) {
        (above, scope) if scope.starts_with('@') => above,
        _ => parent,
    };
    path::split(parent).1 == "node_modules" && !name.starts_with(['.', '@'])
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn paths() {
        let table = [
            (
                "usr/lib/python3/dist-packages/a-1.dist-info/METADATA",
                Some(Pattern::Python),
            ),
            ("a-1.egg-info/PKG-INFO", Some(Pattern::Python)),
            ("usr/lib/python3/dist-packages/a-1.egg-info", Some(Pattern::Python)),
            ("a.egg-info/METADATA", None),
            (".dist-info/METADATA", None),
            ("METADATA", None),
            (".egg-info", None),
            ("app/node_modules/a/package.json", Some(Pattern::Node)),
            ("node_modules/a/package.json", Some(Pattern::Node)),
            ("node_modules/@s/a/package.json", Some(Pattern::Node)),
            ("node_modules/a/node_modules/b/package.json", Some(Pattern::Node)),
            (
                "node_modules/.pnpm/a@1/node_modules/a/package.json",
                Some(Pattern::Node),
            ),
            ("node_modules/package.json", None),
            ("node_modules/@s/package.json", None),
            ("node_modules/.cache/package.json", None),
            ("node_modules/a/test/package.json", None),
            ("app/package.json", None),
            ("package.json", None),
            ("app/App.deps.json", Some(Pattern::Dotnet)),
            (".deps.json", None),
        ];
        for (path, expected) in table {
            assert_eq!(Pattern::of(path), expected, "{path}");
        }
    }

    #[test]
    fn only_what_tells_packages_is_kept() {
        let table: [(Pattern, &str, &str); 7] = [
            (
                Pattern::Python,
                "Name: a\r\nVersion: 1\r\n\r\nLong text",
                "Name: a\r\nVersion: 1\r\n",
            ),
            (Pattern::Python, "Name: a", "Name: a"),
            (
                Pattern::Node,
                r#"{"x":[{"y":1}],"version":"1","name":"a"}"#,
                r#"{"name":"a","version":"1"}"#,
            ),
            (Pattern::Node, "\u{feff}{}", "{}"),
            (Pattern::Node, "{", "{"),
            (
                Pattern::Dotnet,
                r#"{"targets":{},"libraries":{"A/1":{"type":"package","sha512":"x"}}}"#,
                r#"{"libraries":{"A/1":{"type":"package"}}}"#,
            ),
            (Pattern::Go, "path\tx\n", "path\tx\n"),
        ];
        for (pattern, content, expected) in table {
            let condensed = pattern.condense(content.as_bytes().to_vec());
            assert_eq!(String::from_utf8(condensed).unwrap(), expected, "{content}");
        }
        assert_eq!(Pattern::Node.condense(vec![b'['; 9000]).len(), 1024);
    }
}
