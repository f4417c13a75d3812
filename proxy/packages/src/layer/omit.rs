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

/// What package managers write besides the packages, caches that hold inode numbers or times, and what a build
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
    Omit::Below("var/cache/dnf"),
    Omit::Below("var/cache/yum"),
    Omit::Below("var/cache/libdnf5"),
    Omit::Below("var/cache/tdnf"),
    Omit::Below("var/cache/zypp"),
    Omit::Prefix("var/lib/dnf", "history.sqlite"),
    Omit::Below("var/lib/dnf/repos"),
    Omit::Prefix("var/lib/tdnf", "history.db"),
    Omit::Below("var/lib/yum/history"),
    Omit::Prefix("usr/lib/sysimage/libdnf5", "transaction_history.sqlite"),
    Omit::Prefix("var/lib/zypp", "Anonymous"),
    Omit::Path("var/lib/YaST2/cookies"),
    Omit::Prefix("var/log", "dnf"),
    Omit::Prefix("var/log", "tdnf"),
    Omit::Path("var/log/hawkey.log"),
    Omit::Path("var/log/yum.log"),
    Omit::Path("var/log/zypper.log"),
    Omit::Below("var/log/zypp"),
    Omit::Below("var/log/YaST2"),
    // rpm's locks, and what SQLite and Berkeley DB keep beside a database while it is open.
    Omit::Path("var/lib/rpm/.rpm.lock"),
    Omit::Prefix("var/lib/rpm", "__db."),
    Omit::Path("var/lib/rpm/rpmdb.sqlite-shm"),
    Omit::EmptyFile("var/lib/rpm/rpmdb.sqlite-wal"),
    Omit::Path("usr/lib/sysimage/rpm/.rpm.lock"),
    Omit::Prefix("usr/lib/sysimage/rpm", "__db."),
    Omit::Path("usr/lib/sysimage/rpm/rpmdb.sqlite-shm"),
    Omit::EmptyFile("usr/lib/sysimage/rpm/rpmdb.sqlite-wal"),
    // apk writes it anew whatever it does; a patch does not change what somebody wants to have.
    Omit::Path("etc/apk/world"),
    Omit::Path("lib/apk/db/lock"),
    Omit::Path("usr/lib/apk/db/lock"),
    Omit::Path("var/log/apk.log"),
    Omit::Below("var/cache/apk"),
    Omit::Below("var/lib/pacman/sync"),
    Omit::Path("var/lib/pacman/db.lck"),
    Omit::Below("var/cache/pacman"),
    Omit::Path("var/log/pacman.log"),
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
            "var/cache/dnf/kit-1/repodata/repomd.xml",
            "var/lib/dnf/history.sqlite-wal",
            "var/lib/tdnf/history.db",
            "var/log/dnf.rpm.log",
            "var/lib/rpm/.rpm.lock",
            "var/lib/rpm/__db.001",
            "usr/lib/sysimage/rpm/rpmdb.sqlite-shm",
            "dev/null",
            "proc",
            "run/lock",
            "tmp/x/y",
            "etc/apk/world",
            "usr/lib/apk/db/lock",
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
            "var/lib/dnf/modulefailsafe",
            "var/lib/rpm/rpmdb.sqlite",
            // Changes that are not in the database yet: without them it tells a lie.
            "var/lib/rpm/rpmdb.sqlite-wal",
            "var/lib/zypp/AutoInstalled",
            "etc",
        ];
        for path in kept {
            assert!(!omitted(path, false), "{path}");
        }
        assert!(omitted("var/lib/rpm/rpmdb.sqlite-wal", true));
        assert!(omitted("etc/hosts", true) && !omitted("etc/hostx", true));
    }
}
