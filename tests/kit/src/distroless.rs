//! Images without a package manager, made of real packages of this machine's own distribution: their files, and dpkg's database in
//! parts. Older versions come from the machine's package mirror by apt itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::image::{Blob, Compression, from_tar};
use crate::process::run;

/// The release of this machine, such as `bookworm`.
pub fn codename() -> String {
    let text = fs::read_to_string("/etc/os-release").expect("this machine has an os-release");
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("this machine's release has a name")
        .trim_matches('"')
        .to_owned()
}

/// The sources of this machine's distribution, as apt writes them, with `$codename` for its release.
pub fn sources() -> String {
    let format = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let lines = run(Command::new("apt-get")
        .args(["indextargets", "--format", format])
        .args(["Identifier: Packages", "Origin: Debian"]));
    let codename = codename();
    let fill = |line: &str| {
        let (address, rest) = line.rsplit_once("/ ").expect("a source has a suite");
        format!("{address}/ {}\n", rest.replace(&codename, "$codename"))
    };
    lines.lines().map(fill).collect()
}

/// The versions of a package that the machine's mirror has, in the order of dpkg.
pub fn versions(name: &str) -> Vec<String> {
    let text = run(Command::new("apt-cache").args(["madison", name]));
    let mut versions: Vec<String> = text
        .lines()
        .filter(|line| line.contains(" Packages"))
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect();
    versions.sort_by(|one, other| {
        if is_older(one, other) {
            std::cmp::Ordering::Less
        } else {
            std::cmp::Ordering::Greater
        }
    });
    versions.dedup();
    assert!(!versions.is_empty(), "the machine's mirror has {name}");
    versions
}

/// Whether dpkg takes a version for older than another.
pub fn is_older(one: &str, other: &str) -> bool {
    let status = Command::new("dpkg")
        .args(["--compare-versions", one, "lt", other])
        .status();
    status.expect("dpkg is there").success()
}

/// A package file of the machine's mirror, fetched by apt into a folder.
pub fn download(name: &str, version: &str, folder: &Path) -> PathBuf {
    let target = folder.join(format!("{name}-{}", version.replace([':', '/'], "_")));
    fs::create_dir_all(&target).unwrap();
    let fetched = || fs::read_dir(&target).unwrap().next().map(|file| file.unwrap().path());
    if let Some(file) = fetched() {
        return file;
    }
    run(Command::new("apt-get")
        .args([
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "download",
            &format!("{name}={version}"),
        ])
        .current_dir(&target));
    fetched().expect("apt has left a file")
}

/// A root file system while it is put together.
pub struct Root(tempfile::TempDir);

impl Default for Root {
    fn default() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("patchport-distroless-")
            .tempdir()
            .unwrap();
        fs::create_dir_all(directory.path().join("var/lib/dpkg/status.d")).unwrap();
        Self(directory)
    }
}

impl Root {
    /// An empty one; `merged`: with links in place of `/bin`, `/lib`, `/lib64` and `/sbin`.
    pub fn new(merged: bool) -> Self {
        let root = Self::default();
        for name in ["bin", "lib", "lib64", "sbin"].iter().filter(|_| merged) {
            fs::create_dir_all(root.path().join("usr").join(name)).unwrap();
            std::os::unix::fs::symlink(format!("usr/{name}"), root.path().join(name)).unwrap();
        }
        root
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Unpacks a package and notes it in the database, its documentation dropped but for the copyright.
    pub fn install(&self, deb: &Path) {
        let mut unpack = Command::new("sh");
        unpack.args([
            "-c",
            "dpkg-deb --fsys-tarfile \"$1\" | tar -x --keep-directory-symlink -p -C \"$2\"",
            "sh",
        ]);
        run(unpack.arg(deb).arg(self.path()));
        let field = |name: &str| {
            run(Command::new("dpkg-deb").arg("-f").arg(deb).arg(name))
                .trim()
                .to_owned()
        };
        let name = field("Package");
        let database = self.path().join("var/lib/dpkg/status.d");
        let control = run(Command::new("dpkg-deb").arg("-f").arg(deb));
        fs::write(database.join(&name), control).unwrap();
        let info = tempfile::tempdir().unwrap();
        run(Command::new("dpkg-deb").arg("-e").arg(deb).arg(info.path()));
        if let Ok(sums) = fs::read(info.path().join("md5sums")) {
            fs::write(database.join(format!("{name}.md5sums")), sums).unwrap();
        }
        let dropped = "find usr/share/doc usr/share/man usr/share/locale usr/share/lintian usr/share/bug ! -type d ! -name copyright -delete; \
                       find usr/share/man usr/share/locale usr/share/lintian usr/share/bug usr/share/doc -type d -empty -delete";
        let mut command = Command::new("sh");
        // Folders that are not there are no error.
        let _ = command
            .args(["-c", dropped])
            .current_dir(self.path())
            .stderr(std::process::Stdio::null())
            .status();
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// All of it as a layer.
    pub fn layer(&self) -> Blob {
        let tar = tempfile::NamedTempFile::new().unwrap();
        run(Command::new("tar")
            .args([
                "-c",
                "--sort=name",
                "--numeric-owner",
                "--mtime=2024-01-01",
                "--format=pax",
                "--xattrs",
            ])
            .args(["--pax-option=delete=atime,delete=ctime", "-f"])
            .arg(tar.path())
            .arg("-C")
            .arg(self.path())
            .arg("."));
        from_tar(&fs::read(tar.path()).unwrap(), Compression::Gzip)
    }
}

/// What is below a folder: by path what it is, its mode, owner, and the digest of its content or its target.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    let script =
        "find . -printf '%P\\t%y %m %U:%G %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum";
    let text = run(Command::new("sh").args(["-c", script]).current_dir(root));
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some((path, what)) = line.split_once('\t') {
            found.insert(path.to_owned(), what.to_owned());
        } else if let Some((digest, path)) = line.split_once("  ./") {
            found.entry(path.to_owned()).or_default().push_str(digest);
        }
    }
    found.remove("");
    found
}

/// What other readers make of an image: an OCI layout unpacked by umoci. Gives the root file system, gone with the folder.
pub fn umoci(layout: &Path, folder: &Path) -> PathBuf {
    let bundle = folder.join("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:kit", layout.display()))
        .arg(&bundle));
    bundle.join("rootfs")
}
