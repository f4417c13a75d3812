//! Which paths a patch layer leaves out: what differs from run to run, and what a patch must not ship.

use crate::layer::path;

/// One kind of paths that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omit {
    /// A directory and everything below it.
    Below(&'static str),
    /// Names in a directory that begin so.
    Prefix(&'static str, &'static str),
    /// Names in a directory that end so.
    Suffix(&'static str, &'static str),
    /// Exactly this path.
    Path(&'static str),
    /// This path when it is an empty file: what BuildKit leaves where it mounts its own.
    EmptyFile(&'static str),
}

/// What apt and dpkg write besides the packages, caches that hold inode numbers or times, and what a build
/// mounts over the image.
pub(crate) const DEFAULTS: &[Omit] = &[
    Omit::Below("var/log/apt"),
    Omit::Path("var/log/dpkg.log"),
    Omit::Path("var/log/alternatives.log"),
    Omit::Path("var/cache/ldconfig/aux-cache"),
    Omit::Below("var/cache/apt"),
    Omit::Below("var/lib/apt/lists"),
    Omit::Below("var/lib/apt/periodic"),
    Omit::Path("var/lib/apt/daily_lock"),
    Omit::Suffix("var/lib/dpkg", "-old"),
    Omit::Prefix("var/lib/dpkg", "lock"),
    Omit::Path("var/lib/dpkg/triggers/Lock"),
    Omit::Suffix("var/cache/debconf", "-old"),
    Omit::EmptyFile("etc/resolv.conf"),
    Omit::EmptyFile("etc/hosts"),
    Omit::EmptyFile("etc/hostname"),
    Omit::Path(".dockerenv"),
    Omit::Below("dev"),
    Omit::Below("proc"),
    Omit::Below("sys"),
    Omit::Below("run"),
    Omit::Below("tmp"),
    Omit::Below("var/tmp"),
];

impl Omit {
    /// Whether a clean path is left out. `empty` says whether it is a regular file without content.
    pub(crate) fn matches(&self, path: &str, empty: bool) -> bool {
        let (parent, name) = path::split(path);
        match *self {
            Self::Below(directory) => path == directory || path::is_below(path, directory),
            Self::Prefix(directory, start) => parent == directory && name.starts_with(start),
            Self::Suffix(directory, end) => parent == directory && name.ends_with(end),
            Self::Path(exact) => path == exact,
            Self::EmptyFile(exact) => path == exact && empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULTS, Omit};

    #[test]
    fn defaults() {
        let omitted = |path: &str, empty: bool| DEFAULTS.iter().any(|omit: &Omit| omit.matches(path, empty));
        let out = [
            "var/log/apt",
            "var/log/apt/term.log",
            "var/log/dpkg.log",
            "var/cache/apt/archives/partial",
            "var/lib/apt/lists/lock",
            "var/lib/dpkg/status-old",
            "var/lib/dpkg/lock-frontend",
            "var/cache/debconf/config.dat-old",
            "dev/null",
            "proc",
            "run/lock",
            "tmp/x/y",
        ];
        for path in out {
            assert!(omitted(path, false), "{path}");
        }
        let kept = [
            "var/log",
            "var/log/aptitude",
            "var/lib/dpkg/status",
            "var/lib/dpkg/info/x.list-old",
            "var/lib/dpkg/info/lock",
            "etc/resolv.conf",
            "device",
            "usr/tmp",
            "var/cache/debconf/config.dat",
            "etc",
        ];
        for path in kept {
            assert!(!omitted(path, false), "{path}");
        }
        assert!(omitted("etc/hosts", true) && !omitted("etc/hostx", true));
    }
}
