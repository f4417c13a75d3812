//! rpm images on a root with real rpm, dnf and zypper (`tests/tools/rpm.sh`), packages by the real rpmbuild, repositories by the real
//! createrepo_c, and what the image's own tools say of the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::apt::Repository;
use crate::image::{Blob, Compression, Image, ImageBuilder, Layer, Pulled};
use crate::process::{Outcome, outcome, run};
use crate::signer::Signer;

/// Where the image's rpm has its database.
pub const DATABASE: &str = "var/lib/rpm/rpmdb.sqlite";

/// A package to build.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub version: String,
    /// More lines of its preamble, such as `Obsoletes: x < 2`.
    pub preamble: Vec<String>,
    /// What runs after it was installed.
    pub post: String,
    /// Its architecture.
    pub architecture: String,
    /// More commands that make its files in `%{buildroot}`.
    pub install: String,
    /// More lines that list files.
    pub files: String,
}

impl Package {
    /// A package for all architectures with a file that tells its version and a configuration file, `etc/NAME.conf`.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "noarch".to_owned(),
            ..Self::default()
        }
    }

    /// With a line more in its preamble.
    pub fn with(mut self, line: &str) -> Self {
        self.preamble.push(line.to_owned());
        self
    }

    /// With a script that runs after it was installed.
    pub fn post(mut self, script: &str) -> Self {
        self.post = script.to_owned();
        self
    }

    /// With more files: the commands that make them in `%{buildroot}`, and the lines that list them.
    pub fn files(mut self, install: &str, files: &str) -> Self {
        install.clone_into(&mut self.install);
        files.clone_into(&mut self.files);
        self
    }

    /// For one architecture.
    pub fn of(mut self, architecture: &str) -> Self {
        self.architecture = architecture.to_owned();
        self
    }

    /// Builds it; the file is in `folder`, which keeps others too.
    fn build(&self, folder: &Path) -> PathBuf {
        let Self {
            name,
            architecture,
            install,
            files,
            ..
        } = self;
        let (epoch, rest) = self.version.split_once(':').unwrap_or(("", &self.version));
        let (version, release) = rest.split_once('-').expect("a version has a release");
        let mut preamble = self.preamble.join("\n");
        if !epoch.is_empty() {
            preamble += &format!("\nEpoch: {epoch}");
        }
        let post = if self.post.is_empty() {
            String::new()
        } else {
            format!("%post -p /bin/sh\n{}\n", self.post)
        };
        let spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: made by the kit\nLicense: MIT\nAutoReqProv: no\n{preamble}\n\
             %description\nx\n%install\nmkdir -p %{{buildroot}}/usr/share/doc/{name} %{{buildroot}}/usr/share/{name} %{{buildroot}}/etc\n\
             echo {version}-{release} > %{{buildroot}}/usr/share/{name}/version\n\
             echo read me > %{{buildroot}}/usr/share/doc/{name}/README\n\
             echo default of {version} > %{{buildroot}}/etc/{name}.conf\n{install}\n{post}\
             %files\n/usr/share/{name}\n%doc /usr/share/doc/{name}/README\n%config(noreplace) /etc/{name}.conf\n{files}\n"
        );
        let file = folder.join(format!("{name}.spec"));
        fs::write(&file, spec).unwrap();
        let out = folder.join("RPMS");
        let mut rpmbuild = Command::new("rpmbuild");
        rpmbuild
            .env("SOURCE_DATE_EPOCH", "1704067200")
            .args(["-bb", "--quiet", "--target", architecture]);
        for define in [
            format!("_topdir {}", folder.join("top").display()),
            format!("_rpmdir {}", out.display()),
            "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm".to_owned(),
            "use_source_date_epoch_as_buildtime 1".to_owned(),
            "_buildhost kit".to_owned(),
            "clamp_mtime_to_source_date_epoch 1".to_owned(),
            "source_date_epoch_from_changelog 0".to_owned(),
        ] {
            rpmbuild.args(["--define", &define]);
        }
        run(rpmbuild.arg(&file));
        out.join(format!("{name}-{version}-{release}.{architecture}.rpm"))
    }
}

/// An rpm-md repository below a path of a server.
pub struct Offers {
    folder: TempDir,
    path: String,
    signer: Option<Signer>,
}

impl Offers {
    /// An empty one, not served yet.
    pub fn new(path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("repository")).unwrap();
        Self {
            folder,
            path: path.to_owned(),
            signer: None,
        }
    }

    /// Whose index a new key signs, and the public key.
    pub fn signed(mut self) -> (Self, String) {
        let signer = Signer::new("kit");
        let key = signer.armored();
        self.signer = Some(signer);
        (self, key)
    }

    /// Builds packages, and serves them and their index.
    pub fn publish(&self, server: &Repository, packages: &[Package]) {
        let served = self.folder.path().join("repository");
        for package in packages {
            let file = package.build(self.folder.path());
            fs::copy(&file, served.join(file.file_name().unwrap())).unwrap();
        }
        run(Command::new("createrepo_c").arg("-q").arg(&served));
        let root = served.join("repodata/repomd.xml");
        if let Some(signer) = &self.signer {
            let signature = signer.detach_sign(&fs::read_to_string(&root).unwrap());
            fs::write(root.with_extension("xml.asc"), signature).unwrap();
        }
        server.remove(&format!("{}/repodata/", self.path));
        for folder in ["", "repodata"] {
            for entry in fs::read_dir(served.join(folder)).unwrap() {
                let file = entry.unwrap().path();
                if file.is_file() {
                    let below = file.strip_prefix(&served).unwrap().display().to_string();
                    server.put(&format!("{}/{below}", self.path), fs::read(&file).unwrap());
                }
            }
        }
    }

    /// The section of a `.repo` file.
    pub fn section(&self, server: &Repository, options: &str) -> String {
        let (id, url) = (self.path.replace('/', "-"), server.url());
        format!(
            "[{id}]\nname={id}\nbaseurl={url}/{}\nenabled=1\ngpgcheck=0\n{options}\n",
            self.path
        )
    }
}

fn folder() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.testbed/tools");
    std::env::var_os("PATCHPORT_TOOLS_DIR")
        .map_or(own, PathBuf::from)
        .join("rpm")
}

/// The root as a layer, read once per process.
pub async fn base() -> &'static Blob {
    static BASE: OnceCell<Blob> = OnceCell::const_new();
    BASE.get_or_init(|| async {
        let read = |name: &str| {
            let file = folder().join(name);
            fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run tests/tools/install", file.display()))
        };
        Blob {
            bytes: read("root.tar.gz").into(),
            diff_id: String::from_utf8(read("diff_id")).unwrap().trim().to_owned(),
            compression: Compression::Gzip,
        }
    })
    .await
}

/// Begins an image that has these packages, one that says which release it is, and these repositories of dnf's. `without` are
/// programs in `/usr/bin` that it does not have.
pub async fn image(installed: &[Package], repositories: &str, without: &[&str]) -> ImageBuilder {
    let without = without.iter().fold(Layer::new(), |layer, program| {
        layer.file(&format!("usr/bin/.wh.{program}"), "")
    });
    let top = top(without, installed, repositories);
    Image::builder().layer(base().await.clone()).layer(top.gzip())
}

/// The layer on top of the root of such an image.
pub fn top(layer: Layer, installed: &[Package], repositories: &str) -> Layer {
    top_with(layer, installed, repositories, "var/lib/rpm")
}

/// The same with rpm's database in another folder.
pub fn top_with(mut layer: Layer, installed: &[Package], repositories: &str, database: &str) -> Layer {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    fs::create_dir_all(root.join(database)).unwrap();
    layer = layer
        .directory("etc/yum.repos.d")
        .file("etc/yum.repos.d/kit.repo", repositories)
        .file("etc/dnf/plugins/versionlock.list", "");
    let release = Package::new("rocky-release", "9.4-1");
    let release = release.with("Provides: system-release = 9.4").with("Provides: /bin/sh");
    let all = std::iter::once(&release).chain(installed);
    let files: Vec<PathBuf> = all.map(|package| package.build(scratch.path())).collect();
    let mut rpm = Command::new("rpm");
    rpm.env("SOURCE_DATE_EPOCH", "1704067200");
    rpm.arg("--dbpath").arg(Path::new("/").join(database));
    rpm.args(["--define", "_db_backend sqlite", "--root"]).arg(&root);
    rpm.args([
        "-i",
        "--nodeps",
        "--noscripts",
        "--nosignature",
        "--ignorearch",
        "--excludedocs",
    ]);
    run(rpm.args(&files));
    for path in files_below(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let is_scrap = [".rpm.lock", "-shm", "-wal"].iter().any(|end| name.ends_with(end));
        if !is_scrap {
            layer = layer.file(&name, fs::read(&path).unwrap());
        }
    }
    layer
}

/// rpm's view of packages in a folder: their files, and a database of its own in `/var/lib/rpm`.
pub fn installed_in(root: &Path, packages: &[Package]) {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.join("var/lib/rpm")).unwrap();
    let files: Vec<PathBuf> = packages.iter().map(|package| package.build(scratch.path())).collect();
    let mut rpm = judge(root);
    rpm.env("SOURCE_DATE_EPOCH", "1704067200");
    rpm.args(["-i", "--nodeps", "--noscripts", "--nosignature", "--ignorearch"]);
    run(rpm.args(&files));
}

/// This machine's rpm, asked about a folder.
pub fn judge(root: &Path) -> Command {
    let mut rpm = Command::new("rpm");
    rpm.args(["--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite", "--root"]);
    rpm.arg(root);
    rpm
}

/// The two lists of packages that distroless images of Mariner and Azure Linux have in place of a database, as their makers make them.
pub fn manifests(root: &Path) -> [String; 2] {
    const FIELDS: &str = "%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{INSTALLTIME}\\t%{BUILDTIME}\\t%{VENDOR}\\t%{EPOCH}\\t%{SIZE}\\t%{ARCH}\\t%{EPOCHNUM}\\t%{SOURCERPM}\\n";
    [
        run(judge(root).arg("-qa")),
        run(judge(root).args(["-qa", "--qf", FIELDS])),
    ]
}

/// All files and links of a folder as a layer, but for those of rpm's database.
pub fn layer_of(root: &Path) -> Layer {
    let mut layer = Layer::new();
    for path in files_below(root) {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if name.starts_with("var/lib/rpm/") {
            continue;
        }
        layer = match fs::read_link(&path) {
            Ok(target) => layer.symlink(&name, target.to_str().unwrap()),
            Err(_) => {
                let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
                layer.file_mode(&name, fs::read(&path).unwrap(), mode & 0o7777)
            }
        };
    }
    layer
}

fn files_below(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path());
            }
        }
    }
    found
}

/// The file system of an image, unpacked; gone when dropped.
pub struct Rootfs {
    directory: TempDir,
}

impl Rootfs {
    /// Lays the layers of an image over each other, whiteouts respected.
    pub fn unpack(pulled: &Pulled) -> Self {
        let directory = tempfile::Builder::new().prefix("patchport-rpm-").tempdir().unwrap();
        for layer in &pulled.layers {
            crate::debian::lay(directory.path(), layer);
        }
        Self { directory }
    }

    /// The root alone.
    pub async fn bare() -> Self {
        let directory = tempfile::Builder::new().prefix("patchport-rpm-").tempdir().unwrap();
        crate::debian::lay(directory.path(), &base().await.bytes);
        Self { directory }
    }

    /// Puts layers on top of it, and forgets what its tools knew.
    pub fn put(&self, layers: &[Blob]) {
        let path = |path: &str| self.directory.path().join(path);
        let _ = fs::remove_dir_all(path("var/cache/dnf"));
        for end in ["-shm", "-wal"] {
            let _ = fs::remove_file(path(&format!("{DATABASE}{end}")));
        }
        for layer in layers {
            crate::debian::lay(self.directory.path(), &layer.bytes);
        }
    }

    /// Brings back programs that the root has and the image has not, so that they can say what they think of it.
    pub async fn restore(&self, programs: &[&str]) {
        let bare = Self::bare().await;
        for program in programs {
            let path = |rootfs: &Self| rootfs.directory.path().join("usr/bin").join(program);
            fs::copy(path(&bare), path(self)).unwrap_or_else(|error| panic!("{program}: {error}"));
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.directory.path()).arg(program).env_clear();
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", "/root");
        command
    }

    /// A file's content, or nothing if there is no such file.
    pub fn read(&self, path: &str) -> Option<String> {
        let content = fs::read(self.directory.path().join(path)).ok()?;
        Some(String::from_utf8_lossy(&content).into_owned())
    }

    /// Runs a program of the image.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.command(program);
        command.args(arguments);
        outcome(command).await
    }

    /// What the image's own rpm has: versions by `name.architecture`.
    pub async fn installed(&self) -> BTreeMap<String, String> {
        let format = "%{NAME}.%{ARCH} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n";
        let said = self.run("rpm", &["-qa", "--qf", format]).await;
        assert!(said.success, "{}", said.output);
        let pairs = said.output.lines().filter_map(|line| line.split_once(' '));
        pairs
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect()
    }

    /// What the image's own dnf calls outdated, as `name version`, after it has read its repositories afresh.
    pub async fn outdated(&self) -> Vec<String> {
        let said = self.run("dnf", &["-q", "--refresh", "check-update"]).await;
        // 100: there are updates.
        assert!(
            matches!(said.code, Some(0 | 100)),
            "the image's own dnf works: {}",
            said.output
        );
        let lines = said.output.lines().take_while(|line| *line != "Obsoleting Packages");
        let mut found = Vec::new();
        for line in lines {
            if let [package, version, _] = line.split_whitespace().collect::<Vec<_>>()[..] {
                found.push(format!("{} {version}", package.rsplit_once('.').unwrap().0));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// What the image's own zypper calls outdated, as `name version`.
    pub async fn outdated_by_zypper(&self) -> Vec<String> {
        let said = self.run("zypper", &["--non-interactive", "refresh"]).await;
        assert!(said.success, "{}", said.output);
        let said = self.run("zypper", &["--non-interactive", "list-updates"]).await;
        assert!(said.success, "{}", said.output);
        // `v | repository | name | current | available | architecture`
        let mut found = Vec::new();
        for line in said.output.lines().filter(|line| line.starts_with("v ")) {
            if let [_, _, name, _, version, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] {
                found.push(format!("{name} {version}"));
            }
        }
        found.sort();
        found
    }
}
