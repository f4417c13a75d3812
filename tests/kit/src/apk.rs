//! Packages of apk with files and scripts: their files in the format of version 2, made here, or of version 3, by the real apk; how an
//! image has them installed; and repositories of either format.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use flate2::write::GzEncoder;

use crate::alpine::{Key, apk};
use crate::apt::Repository;
use crate::image::Layer;
use crate::process::run;

/// The name of a key in images, by which signatures of version 2 find it.
const KEY: &str = "kit.rsa.pub";

/// The formats of packages and repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Gzip members and `APKINDEX.tar.gz`: what distributions use.
    V2,
    /// ADB and `Packages.adb`.
    V3,
}

/// A package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with the release.
    pub version: String,
    needs: Vec<String>,
    provides: Vec<String>,
    files: Vec<File>,
    /// Symbolic links with what they lead to, and hard links with the file that they share.
    links: Vec<(String, String, tar::EntryType)>,
    /// Name as in version 2 (`post-upgrade`), and text.
    scripts: Vec<(String, String)>,
}

/// A file of a package.
#[derive(Clone, Debug)]
struct File {
    path: String,
    content: Vec<u8>,
    mode: u32,
    /// The value of `security.capability`.
    capability: Option<Vec<u8>>,
}

impl Package {
    /// An empty one.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            needs: Vec::new(),
            provides: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            scripts: Vec::new(),
        }
    }

    /// Needs another.
    pub fn needs(mut self, what: &str) -> Self {
        self.needs.push(what.to_owned());
        self
    }

    /// Provides something by another name.
    pub fn provides(mut self, what: &str) -> Self {
        self.provides.push(what.to_owned());
        self
    }

    /// Has a file.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push(File {
            path: path.to_owned(),
            content: content.into(),
            mode,
            capability: None,
        });
        self
    }

    /// Has a symbolic link, and so is of version 2 only.
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        let link = (path.to_owned(), target.to_owned(), tar::EntryType::Symlink);
        self.links.push(link);
        self
    }

    /// Has another name for one of its files, and so is of version 2 only.
    pub fn hard_link(mut self, path: &str, file: &str) -> Self {
        let link = (path.to_owned(), file.to_owned(), tar::EntryType::Link);
        self.links.push(link);
        self
    }

    /// Has an executable with `cap_net_raw=ep`.
    pub fn capable(mut self, path: &str, content: &str) -> Self {
        // VFS_CAP_REVISION_2 with the effective bit; permitted: bit 13.
        let mut value = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
        value.resize(20, 0);
        self.files.push(File {
            path: path.to_owned(),
            content: content.into(),
            mode: 0o755,
            capability: Some(value),
        });
        self
    }

    /// Has a script, such as `post-upgrade`.
    pub fn script(mut self, name: &str, text: &str) -> Self {
        self.scripts.push((name.to_owned(), text.to_owned()));
        self
    }

    fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }

    /// Its folders, outermost first, and its files in the order of both formats.
    fn folders(&self) -> Vec<String> {
        let mut folders = Vec::new();
        let files = self.files.iter().map(|file| &file.path);
        for path in files.chain(self.links.iter().map(|(path, ..)| path)) {
            let parts: Vec<&str> = path.split('/').collect();
            folders.extend((1..parts.len()).map(|depth| parts[..depth].join("/")));
        }
        folders.sort();
        folders.dedup();
        folders
    }

    /// The file of a package of version 2: three gzip members, of which the first signs the second, which has the sum of the third.
    pub fn v2(&self, key: &Key) -> Vec<u8> {
        let data = gzip(&self.data());
        let information = [
            format!("pkgname = {}\npkgver = {}\n", self.name, self.version),
            format!("arch = {}\nsize = 4096\n", std::env::consts::ARCH),
            "pkgdesc = made by the kit\nurl = https://kit.example\nlicense = MIT\nbuilddate = 1704067200\n".to_owned(),
            self.needs.iter().map(|need| format!("depend = {need}\n")).collect(),
            self.provides
                .iter()
                .map(|name| format!("provides = {name}\n"))
                .collect(),
            format!("datahash = {}\n", &crate::digest(&data)[7..]),
        ];
        let mut control = tar::Builder::new(Vec::new());
        add(&mut control, ".PKGINFO", information.concat().as_bytes(), 0o644);
        for (name, text) in &self.scripts {
            add(&mut control, &format!(".{name}"), text.as_bytes(), 0o755);
        }
        let control = gzip(&cut(control));
        [key.sign(&control), control, data].concat()
    }

    /// The tar of its files, each with the checksum that apk writes into its database.
    fn data(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for folder in self.folders() {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            tar.append_data(&mut header, format!("{folder}/"), std::io::empty())
                .unwrap();
        }
        for File {
            path,
            content,
            mode,
            capability,
        } in &self.files
        {
            let sum = hex::encode(sha1(content));
            let mut records = vec![("APK-TOOLS.checksum.SHA1", sum.as_bytes())];
            if let Some(value) = capability {
                records.push(("SCHILY.xattr.security.capability", value));
            }
            extend(&mut tar, &records);
            add(&mut tar, path, content, *mode);
        }
        for (path, target, kind) in &self.links {
            let mut header = header(*kind, if kind.is_symlink() { 0o777 } else { 0o644 }, 0);
            if kind.is_symlink() {
                extend(
                    &mut tar,
                    &[(
                        "APK-TOOLS.checksum.SHA1",
                        hex::encode(sha1(target.as_bytes())).as_bytes(),
                    )],
                );
            }
            tar.append_link(&mut header, path, target).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// The file of a package of version 3.
    fn v3(&self, key: &Key) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (tree, scripts, file) = (
            folder.path().join("tree"),
            folder.path().join("s"),
            folder.path().join("out"),
        );
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(&scripts).unwrap();
        for File {
            path, content, mode, ..
        } in &self.files
        {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let mut command = apk();
        command
            .env("SOURCE_DATE_EPOCH", "1704067200")
            .args(["mkpkg", "--sign-key"])
            .arg(key.private());
        command.arg("--files").arg(&tree).arg("--output").arg(&file);
        for (name, text) in &self.scripts {
            fs::write(scripts.join(name), text).unwrap();
            command.args(["--script", &format!("{name}:{}", scripts.join(name).display())]);
        }
        let mut info = vec![
            format!("name:{}", self.name),
            format!("version:{}", self.version),
            format!("arch:{}", std::env::consts::ARCH),
            "license:MIT".to_owned(),
            "description:made by the kit".to_owned(),
        ];
        info.extend(self.needs.iter().map(|need| format!("depends:{need}")));
        info.extend(self.provides.iter().map(|name| format!("provides:{name}")));
        for line in info {
            command.args(["--info", &line]);
        }
        run(&mut command);
        fs::read(file).unwrap()
    }

    /// Its paragraph of `lib/apk/db/installed`.
    pub fn installed(&self) -> String {
        let checksum = base64(&sha1(self.file_name().as_bytes()));
        let mut text = format!(
            "C:Q1{checksum}\nP:{}\nV:{}\nA:{}\nS:1\nI:4096\nT:made by the kit\nU:https://kit.example\nL:MIT\n",
            self.name,
            self.version,
            std::env::consts::ARCH
        );
        for (letter, words) in [("D", &self.needs), ("p", &self.provides)] {
            if !words.is_empty() {
                text.push_str(&format!("{letter}:{}\n", words.join(" ")));
            }
        }
        for folder in self.folders() {
            text.push_str(&format!("F:{folder}\n"));
            for File {
                path, content, mode, ..
            } in &self.files
            {
                if path.rsplit_once('/').map_or("", |(folder, _)| folder) == folder {
                    let name = path.rsplit('/').next().unwrap();
                    let access = if *mode == 0o644 {
                        String::new()
                    } else {
                        format!("a:0:0:{mode:o}\n")
                    };
                    let sum = base64(&sha1(content));
                    text.push_str(&format!("R:{name}\n{access}Z:Q1{sum}\n"));
                }
            }
            for (path, target, kind) in &self.links {
                if path.rsplit_once('/').map_or("", |(folder, _)| folder) == folder {
                    assert!(kind.is_symlink(), "images with hard links are not made here");
                    let name = path.rsplit('/').next().unwrap();
                    text.push_str(&format!(
                        "R:{name}\na:0:0:777\nZ:Q1{}\n",
                        base64(&sha1(target.as_bytes()))
                    ));
                }
            }
        }
        text + "\n"
    }

    /// Puts its files into an image.
    pub fn put(&self, mut layer: Layer) -> Layer {
        for File {
            path, content, mode, ..
        } in &self.files
        {
            layer = layer.file_mode(path, content, *mode);
        }
        for (path, target, kind) in &self.links {
            assert!(kind.is_symlink(), "images with hard links are not made here");
            layer = layer.symlink(path, target);
        }
        layer
    }
}

/// What an image on the real Alpine has in its layer: packages, `world`, the line for its repositories, and the key of their indexes.
pub async fn layer(line: &str, key: &Key, world: &str, installed: &[Package]) -> Layer {
    let base = crate::alpine::base().await;
    let database: String = installed.iter().map(Package::installed).collect();
    let layer = Layer::new()
        .file("etc/apk/keys/kit.rsa.pub", key.public())
        .file("etc/apk/repositories", line)
        .file("etc/apk/world", world)
        .file(
            "lib/apk/db/installed",
            format!("{}\n\n{database}", base.installed.trim_end()),
        );
    installed.iter().fold(layer, |layer, package| package.put(layer))
}

/// `world` of the real Alpine, with these packages.
pub async fn world(installed: &[Package]) -> String {
    let own = crate::alpine::base().await.world.trim_end();
    let names = installed.iter().map(|package| package.name.as_str());
    std::iter::once(own)
        .chain(names)
        .map(|name| format!("{name}\n"))
        .collect()
}

/// Serves packages below `path` with an index that the real apk makes and `key` signs; the line for `etc/apk/repositories`.
pub fn publish(repository: &Repository, key: &Key, path: &str, format: Format, packages: &[Package]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for package in packages {
        let file = folder.path().join(package.file_name());
        let bytes = if format == Format::V2 {
            package.v2(key)
        } else {
            package.v3(key)
        };
        fs::write(&file, &bytes).unwrap();
        repository.put(
            &format!("{path}/{}/{}", std::env::consts::ARCH, package.file_name()),
            bytes,
        );
        files.push(file);
    }
    let (name, keyword) = match format {
        Format::V2 => ("APKINDEX.tar.gz", ""),
        Format::V3 => ("Packages.adb", "v3 "),
    };
    let index = folder.path().join(name);
    let mut command = apk();
    match format {
        Format::V2 => command.arg("index"),
        Format::V3 => command.arg("mkndx").arg("--sign-key").arg(key.private()),
    };
    command.arg("--allow-untrusted").arg("--output").arg(&index);
    run(command.args(&files));
    let mut bytes = fs::read(&index).unwrap();
    if format == Format::V2 {
        bytes = [key.sign(&bytes), bytes].concat();
    }
    repository.put(&format!("{path}/{}/{name}", std::env::consts::ARCH), bytes);
    format!("{keyword}{}/{path}\n", repository.url())
}

impl Key {
    /// The member that signs what comes after it, as version 2 has it.
    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (signed, signature) = (folder.path().join("signed"), folder.path().join("signature"));
        fs::write(&signed, bytes).unwrap();
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha1", "-sign"]).arg(self.private());
        run(command.arg("-out").arg(&signature).arg(&signed));
        let mut tar = tar::Builder::new(Vec::new());
        add(
            &mut tar,
            &format!(".SIGN.RSA.{KEY}"),
            &fs::read(signature).unwrap(),
            0o644,
        );
        gzip(&cut(tar))
    }
}

/// A tar without its end, so that another may follow.
fn cut(tar: tar::Builder<Vec<u8>>) -> Vec<u8> {
    let mut bytes = tar.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) {
    let mut header = header(tar::EntryType::Regular, mode, content.len());
    tar.append_data(&mut header, path, content).unwrap();
}

/// A pax header with a name, without which apk takes it for the end.
fn extend(tar: &mut tar::Builder<Vec<u8>>, records: &[(&str, &[u8])]) {
    let mut text = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + rest.to_string().len();
        if rest + length.to_string().len() != length {
            length += 1;
        }
        text.extend(format!("{length} {key}=").into_bytes());
        text.extend(*value);
        text.push(b'\n');
    }
    let mut header = header(tar::EntryType::XHeader, 0o644, text.len());
    tar.append_data(&mut header, "PaxHeaders", &text[..]).unwrap();
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").unwrap();
    header.set_groupname("root").unwrap();
    header.set_mtime(1_704_067_200);
    header.set_size(size as u64);
    header
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("sha1sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    hex::decode(&output.stdout[..40]).unwrap()
}
