//! Which files of a layer are kept: single files, and the files directly in some directories.
//! The directories above them matter too: a link or whiteout there changes what the image has.

use std::collections::BTreeSet;

use crate::layer::path;

/// Which files of a layer are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    files: BTreeSet<String>,
    directories: BTreeSet<String>,
    /// Everything above a wanted file or directory.
    above: BTreeSet<String>,
}

/// What an entry is to the wanted files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Its content is kept: it is one of the wanted files.
    File,
    /// Its content is kept: it lies in one of the wanted directories.
    Listed,
    /// It lies above wanted files: only what kind of thing it is matters.
    Above,
    /// None.
    No,
}

impl Interest {
    /// Whether the content is kept.
    pub(crate) fn in_content(self) -> bool {
        matches!(self, Self::File | Self::Listed)
    }
}

impl Wanted {
    /// Files by path, and directories whose files are kept (not those in directories below). Paths are
    /// relative to the root; `./a`, `/a` and `a` are the same.
    pub fn new<'a>(files: impl IntoIterator<Item = &'a str>, directories: impl IntoIterator<Item = &'a str>) -> Self {
        let clean = |paths: &mut dyn Iterator<Item = &'a str>| -> BTreeSet<String> { paths.map(path::clean).collect() };
        let files = clean(&mut files.into_iter());
        let directories = clean(&mut directories.into_iter());
        let above = files
            .iter()
            .chain(&directories)
            .flat_map(|path| path::ancestors(path))
            .map(ToOwned::to_owned);
        let above = above.chain(directories.iter().cloned()).collect();
        Self {
            files,
            directories,
            above,
        }
    }

    /// What tells distribution, packages and repositories of an image. Files under `lib` are wanted under
    /// `usr/lib` too: where `/lib` is a link, that is where layers hold them.
    #[must_use]
    pub fn packages() -> Self {
        let files = [
            "etc/os-release",
            "usr/lib/os-release",
            "var/lib/dpkg/status",
            "etc/apt/sources.list",
            "lib/apk/db/installed",
            "usr/lib/apk/db/installed",
        ];
        Self::new(files, ["var/lib/dpkg/status.d", "etc/apt/sources.list.d"])
    }

    /// What a clean path is to the wanted files.
    pub(crate) fn interest(&self, path: &str) -> Interest {
        if self.files.contains(path) {
            Interest::File
        } else if self.directories.contains(path::split(path).0) && !path.is_empty() {
            Interest::Listed
        } else if self.above.contains(path) {
            Interest::Above
        } else {
            Interest::No
        }
    }
}
