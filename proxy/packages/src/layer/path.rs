//! Paths of layer entries in one spelling: relative to the root, no `.`, no `..`, no empty parts.

/// The prefix of a whiteout's name (OCI image spec, layer.md, "Whiteouts").
pub(crate) const WHITEOUT: &str = ".wh.";

/// The name that makes its directory opaque.
pub(crate) const OPAQUE: &str = ".wh..wh..opq";

/// How a path reads when it is cleaned within a root that it cannot leave: what containerd unpacks it as.
/// The root itself is empty.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a path has a `..` part, so that cleaning changes what it means.
pub(crate) fn climbs(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// Parent and name of a clean path; the parent of a top-level name is the root.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Parent and name, joined.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}

/// Whether a clean path lies somewhere below a clean directory.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() && !path.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// All directories above a clean path, the root first.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let root = (!path.is_empty()).then_some("");
    root.into_iter()
        .chain(path.match_indices('/').map(|(index, _)| &path[..index]))
}

#[cfg(test)]
mod tests {
    use super::{ancestors, clean, climbs, is_below, split};

    #[test]
    fn one_spelling() {
        let table = [
            ("./a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("a/./b", "a/b"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../../b", "b"),
            ("./", ""),
            ("", ""),
            ("a/..b/...", "a/..b/..."),
        ];
        for (path, expected) in table {
            assert_eq!(clean(path), expected, "{path}");
        }
        assert!(climbs(b"a/../b") && climbs(b"..") && !climbs(b"a/..b"));
    }

    #[test]
    fn parents() {
        assert_eq!((split("a/b/c"), split("a")), (("a/b", "c"), ("", "a")));
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["", "a", "a/b"]);
        assert_eq!(ancestors("").count(), 0);
        assert!(
            is_below("a/b", "a")
                && is_below("a", "")
                && !is_below("ab", "a")
                && !is_below("a", "a")
                && !is_below("", "")
        );
    }
}
