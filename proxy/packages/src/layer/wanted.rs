//! Which files of a layer are kept: single files, the files directly in some directories, and files by a pattern.
//! What is above them matters too: a link or whiteout there changes what the image has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::layer::path;
use crate::layer::pattern::Pattern;

/// Which files of a layer are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    files: BTreeMap<String, Need>,
    directories: BTreeMap<String, Need>,
    /// Directories whose directories hold one wanted file each, with the name of that file.
    nested: BTreeMap<String, String>,
    /// Everything above a wanted file or directory.
    above: BTreeSet<String>,
    /// Files that matter by being there.
    present: BTreeSet<String>,
    patterns: BTreeSet<Pattern>,
}

/// How much a file is needed, and so how large it may be and what becomes of the layer when it is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A database in one file, the largest that there are. Without it the layer is refused.
    Database,
    /// Without it the layer is refused.
    Required,
    /// Configuration: the layer is taken without it, and the image's [`notes`](crate::layer::Files::notes) say so.
    Optional,
}

/// What an entry is to the wanted files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Its content is kept: it is one of the wanted files.
    File(Need),
    /// Its content is kept: it lies in one of the wanted directories.
    Listed(Need),
    /// It lies above wanted files, or matters by being there: only what kind of thing it is matters.
    Above,
    /// Its content is kept while there is room: it matches a pattern.
    Loose(Pattern),
    /// None.
    No,
}

impl Interest {
    /// Whether the content is kept.
    pub(crate) fn in_content(self) -> bool {
        matches!(self, Self::File(_) | Self::Listed(_) | Self::Loose(_))
    }

    /// Whether it must not be forgotten, however much there is.
    pub(crate) fn is_firm(self) -> bool {
        matches!(self, Self::File(_) | Self::Listed(_) | Self::Above)
    }
}

/// `var/lib/rpm` and the places that took over from it.
const RPM: [&str; 3] = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];

/// rpm's databases: Berkeley DB, ndb, SQLite.
const RPM_DATABASES: [&str; 3] = ["Packages", "Packages.db", "rpmdb.sqlite"];

/// Without these nobody can tell what an image is or has.
const REQUIRED: [&str; 7] = [
    "etc/os-release",
    "usr/lib/os-release",
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
    "var/lib/rpmmanifest/container-manifest-1",
    "var/lib/rpmmanifest/container-manifest-2",
];

/// What package managers are told: by whom, what from, and what to leave alone.
const CONFIGURATION: [&str; 16] = [
    "etc/apk/arch",
    "etc/apk/repositories",
    "etc/apk/world",
    "etc/apt/apt.conf",
    "etc/apt/preferences",
    "etc/apt/sources.list",
    "etc/apt/trusted.gpg",
    "etc/dnf/dnf.conf",
    "etc/dnf/plugins/versionlock.list",
    "etc/machine-id",
    "etc/pacman.conf",
    "etc/pacman.d/gnupg/pubring.gpg",
    "etc/tdnf/tdnf.conf",
    "etc/yum.conf",
    "etc/yum/pluginconf.d/versionlock.list",
    "etc/zypp/locks",
];

/// The same, where each file of a directory says a part.
const CONFIGURATION_DIRECTORIES: [&str; 17] = [
    "etc/apk/keys",
    "etc/apk/repositories.d",
    "etc/apt/apt.conf.d",
    "etc/apt/keyrings",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/apt/trusted.gpg.d",
    "etc/dnf/vars",
    "etc/pacman.d",
    "etc/pki/rpm-gpg",
    "etc/yum.repos.d",
    "etc/yum/vars",
    "etc/zypp/repos.d",
    "lib/apk/keys",
    "usr/share/apk/keys",
    "usr/share/keyrings",
    "usr/share/pacman/keyrings",
];

/// Programs that a patch may be made with, wherever they are.
pub(crate) const TOOLS: [&str; 12] = [
    "apk", "apt-get", "dnf", "dnf5", "dpkg", "microdnf", "pacman", "rpm", "sh", "tdnf", "yum", "zypper",
];

/// Where programs are; where `/bin` is a link, layers hold them at what it leads to.
pub(crate) const PROGRAMS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];

impl Wanted {
    /// Files by path, and directories whose files are kept (not those in directories below). Paths are
    /// relative to the root; `./a`, `/a` and `a` are the same. A layer where one is too large is refused.
    pub fn new<'a>(files: impl IntoIterator<Item = &'a str>, directories: impl IntoIterator<Item = &'a str>) -> Self {
        let mut wanted = Self::default();
        wanted.add_files(Need::Required, files);
        wanted.add_directories(Need::Required, directories);
        wanted
    }

    /// What tells distribution, packages and repositories of an image. Files under `lib` are wanted under
    /// `usr/lib` too: where `/lib` is a link, that is where layers hold them.
    #[must_use]
    pub fn packages() -> Self {
        let mut wanted = Self::new(REQUIRED, ["var/lib/dpkg/status.d"]);
        for directory in RPM {
            let databases = RPM_DATABASES.map(|name| path::join(directory, name));
            wanted.add_files(Need::Database, databases.iter().map(String::as_str));
            // What SQLite has not put into its database yet.
            wanted.add_files(Need::Required, [path::join(directory, "rpmdb.sqlite-wal").as_str()]);
        }
        wanted.add_nested("var/lib/pacman/local", "desc");
        wanted.add_files(Need::Optional, CONFIGURATION);
        wanted.add_directories(Need::Optional, CONFIGURATION_DIRECTORIES);
        let programs = PROGRAMS
            .iter()
            .flat_map(|folder| TOOLS.map(|tool| path::join(folder, tool)));
        for program in programs {
            wanted.add_above(&program);
            wanted.present.insert(program);
        }
        wanted
    }

    /// Files that match one of these patterns as well, wherever they are.
    #[must_use]
    pub fn with(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.patterns.extend(patterns);
        self
    }

    fn add_files<'a>(&mut self, need: Need, files: impl IntoIterator<Item = &'a str>) {
        for file in files.into_iter().map(path::clean) {
            self.add_above(&file);
            self.files.insert(file, need);
        }
    }

    fn add_directories<'a>(&mut self, need: Need, directories: impl IntoIterator<Item = &'a str>) {
        for directory in directories.into_iter().map(path::clean) {
            self.add_above(&directory);
            self.above.insert(directory.clone());
            self.directories.insert(directory, need);
        }
    }

    /// The file `name` of every directory in `directory`.
    fn add_nested(&mut self, directory: &str, name: &str) {
        self.add_above(directory);
        self.above.insert(directory.to_owned());
        self.nested.insert(directory.to_owned(), name.to_owned());
    }

    fn add_above(&mut self, path: &str) {
        self.above.extend(path::ancestors(path).map(ToOwned::to_owned));
    }

    /// Whether files are wanted wherever they are, so that anything that could hide some matters.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether files of this pattern are wanted.
    pub(crate) fn has(&self, pattern: Pattern) -> bool {
        self.patterns.contains(&pattern)
    }

    /// What a clean path is to the wanted files.
    pub(crate) fn interest(&self, path: &str) -> Interest {
        let (parent, name) = path::split(path);
        if let Some(need) = self.files.get(path) {
            Interest::File(*need)
        } else if let Some(need) = self.directories.get(parent).filter(|_| !path.is_empty()) {
            Interest::Listed(*need)
        } else if self.above.contains(path) || self.present.contains(path) || self.nested.contains_key(parent) {
            Interest::Above
        } else if self.nested.get(path::split(parent).0).is_some_and(|file| file == name) {
            Interest::Listed(Need::Required)
        } else {
            let pattern = Pattern::of(path).filter(|pattern| self.patterns.contains(pattern));
            pattern.map_or(Interest::No, Interest::Loose)
        }
    }

    /// All that is wanted, in one spelling: what was read for something else is not mixed up with this.
    pub(crate) fn spelling(&self) -> String {
        let mut text = String::new();
        for (what, paths) in [("file", &self.files), ("directory", &self.directories)] {
            for (path, need) in paths {
                let _ = writeln!(text, "{what} {need:?} {path}");
            }
        }
        for (directory, name) in &self.nested {
            let _ = writeln!(text, "nested {name} {directory}");
        }
        for path in &self.present {
            let _ = writeln!(text, "present {path}");
        }
        for pattern in &self.patterns {
            let _ = writeln!(text, "pattern {pattern:?}");
        }
        text
    }
}
