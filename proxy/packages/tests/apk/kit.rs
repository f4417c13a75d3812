//! The real apk: that of the Alpine which `tests/tools/alpine.sh` unpacks, run by its own loader, without chroot.

use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use patchport_packages::apk::{self, Configuration, Index, Keys, Repository};
use patchport_packages::layer::{self, Files, Limits, Wanted};
use tempfile::TempDir;

/// The unpacked Alpine.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told where tools are by the environment"
)]
pub(crate) fn alpine() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.testbed/tools");
    let tools = std::env::var_os("PATCHPORT_TOOLS_DIR").map_or(own, PathBuf::from);
    let root = tools.join("alpine/root");
    let root = root.canonicalize();
    root.unwrap_or_else(|error| panic!("no Alpine in {}: {error}; run tests/tools/install", tools.display()))
}

/// The real apk with arguments.
pub(crate) fn apk<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let root = alpine();
    let loader = format!("lib/ld-musl-{}.so.1", std::env::consts::ARCH);
    let mut libraries = root.join("lib").into_os_string();
    libraries.push(":");
    libraries.push(root.join("usr/lib"));
    let mut command = Command::new(root.join(loader));
    command.arg("--library-path").arg(libraries).arg(root.join("sbin/apk"));
    command.args(arguments);
    command
}

/// What a command says when it succeeds without a warning.
pub(crate) fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let is_well = status.success() && !stderr.contains("WARNING");
    assert!(is_well, "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// Numbers that are the same in every run (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One of several.
    pub(crate) fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).unwrap()]
    }
}

/// A key pair: what signs, and what is trusted.
pub(crate) struct KeyPair {
    folder: TempDir,
}

impl KeyPair {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = Self { folder };
        let bits = "rsa_keygen_bits:2048";
        said(
            Command::new("openssl")
                .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", bits, "-out"])
                .arg(pair.private()),
        );
        said(
            Command::new("openssl")
                .args(["pkey", "-pubout", "-in"])
                .arg(pair.private())
                .arg("-out")
                .arg(pair.path()),
        );
        pair
    }

    /// The same in all tests, for making one takes a while.
    pub(crate) fn trusted() -> &'static Self {
        static TRUSTED: OnceLock<KeyPair> = OnceLock::new();
        TRUSTED.get_or_init(Self::new)
    }

    pub(crate) fn private(&self) -> PathBuf {
        self.folder.path().join("key.rsa")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("key.rsa.pub")
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Signs, with openssl.
    fn sign(&self, digest: &str, bytes: &[u8]) -> Vec<u8> {
        let mut openssl = Command::new("openssl");
        let openssl = openssl.args(["dgst", digest, "-sign"]).arg(self.private());
        let mut child = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap().stdout
    }
}

/// The name that signatures have for the trusted key.
pub(crate) const KEY: &str = "test@example.org-1.rsa.pub";

/// A package in a repository: its name, version, and more lines of its entry.
pub(crate) type Offer<'a> = (&'a str, &'a str, &'a str);

/// The text of an index.
pub(crate) fn index_text(offers: &[Offer<'_>]) -> String {
    let mut text = String::new();
    for (number, (name, version, more)) in offers.iter().enumerate() {
        let architecture = if more.contains("A:") { "" } else { "A:x86_64\n" };
        let checksum = checksum(name, version);
        writeln!(
            text,
            "C:{checksum}\nP:{name}\nV:{version}\n{architecture}S:{number}\nI:1\nT:t\nL:MIT\n{more}"
        )
        .unwrap();
    }
    text
}

/// A checksum that only this package has: SHA-1 has 20 bytes, 27 digits of base64.
pub(crate) fn checksum(name: &str, version: &str) -> String {
    let seed = |seed: u64, byte: u8| seed.wrapping_mul(31).wrapping_add(byte.into());
    let mut random = Random(format!("{name}-{version}").bytes().fold(0, seed));
    let digits: String = (0..26)
        .map(|_| random.one_of(&["a", "b", "c", "d", "e", "f", "0", "1", "2", "3", "4", "5"]))
        .collect();
    format!("Q1{digits}A=")
}

/// A gzip member with a tar of files. Without an end, as abuild-tar cuts it, unless it is the last.
pub(crate) fn member(files: &[(&str, &[u8])], is_last: bool) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        // apk takes no empty numbers.
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    let mut bytes = tar.into_inner().unwrap();
    if !is_last {
        bytes.truncate(bytes.len() - 1024);
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&bytes).unwrap();
    gzip.finish().unwrap()
}

/// An `APKINDEX.tar.gz` with signatures, each as algorithm, key and its name.
pub(crate) fn signed(text: &str, signatures: &[(&str, &KeyPair, &str)]) -> Vec<u8> {
    let index = member(&[("DESCRIPTION", b"test 1"), ("APKINDEX", text.as_bytes())], true);
    let mut bytes = Vec::new();
    for (algorithm, key, name) in signatures {
        let digest = match *algorithm {
            "RSA256" => "-sha256",
            "RSA512" => "-sha512",
            _ => "-sha1",
        };
        let signature = key.sign(digest, &index);
        bytes.extend(member(&[(&format!(".SIGN.{algorithm}.{name}"), &signature)], false));
    }
    bytes.extend(index);
    bytes
}

/// An index of apk 3 with any values in its block, signed as apk does it.
pub(crate) fn signed3(values: &[u8], key: &KeyPair) -> Vec<u8> {
    let mut openssl = Command::new("openssl");
    let openssl = openssl
        .args(["rsa", "-pubin", "-RSAPublicKey_out", "-outform", "DER", "-in"])
        .arg(key.path());
    let public = openssl.output().unwrap().stdout;
    let sha512 = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA512, bytes);
    let head = [&[0, 4], &sha512(&public).as_ref()[..16]].concat();
    let signature = key.sign("-sha512", &[b"indx", &*head, sha512(values).as_ref()].concat());
    let mut bytes = b"ADB.indx".to_vec();
    for (kind, content) in [(0, values), (1, &*[head, signature].concat())] {
        let size = u32::try_from(content.len() + 4).unwrap();
        bytes.extend((kind << 30 | size).to_le_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// A root file system with apk's settings, which trusts [`KeyPair::trusted`].
pub(crate) struct Root(TempDir);

impl Root {
    /// One with a database, and without repositories. `installed` has name, version and more lines.
    pub(crate) fn new(installed: &[Offer<'_>], world: &str) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        root.write("lib/apk/db/installed", index_text(installed).as_bytes());
        root.write("etc/apk/world", world.as_bytes());
        root.write("etc/apk/arch", b"x86_64\n");
        root.write("etc/apk/repositories", b"");
        root.write(&format!("etc/apk/keys/{KEY}"), &KeyPair::trusted().public());
        root
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Makes a repository in a folder, and gives its address.
    pub(crate) fn offer(&self, folder: &str, offers: &[Offer<'_>]) -> String {
        let bytes = signed(&index_text(offers), &[("RSA", KeyPair::trusted(), KEY)]);
        self.write(&format!("{folder}/x86_64/APKINDEX.tar.gz"), &bytes);
        self.path().join(folder).to_str().unwrap().to_owned()
    }

    /// What the real apk says when it works on this root. As this user, so that nothing needs to be root.
    pub(crate) fn apk(&self, arguments: &[&str]) -> String {
        let root = ["--root", self.path().to_str().unwrap(), "--no-logfile", "--no-cache"];
        said(&mut apk(root.iter().chain(arguments)))
    }

    /// The same where apk has something to warn of.
    pub(crate) fn apk_with_warnings(&self, arguments: &[&str]) -> String {
        let root = ["--root", self.path().to_str().unwrap(), "--no-logfile", "--no-cache"];
        let output = apk(root.iter().chain(arguments)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The files as a layer has them.
    pub(crate) fn files(&self) -> Files {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all(".", self.path()).unwrap();
        let bytes = tar.into_inner().unwrap();
        let wanted = Wanted::new(apk::FILES, apk::DIRECTORIES);
        let files = layer::read(&*bytes, layer::Compression::None, &wanted, &Limits::default()).unwrap();
        layer::merge([&files])
    }

    /// The configuration, and its repositories with their indexes, read from their folders.
    pub(crate) fn read(&self) -> (Configuration, Vec<(Repository, Index)>) {
        let files = self.files();
        let configuration = Configuration::read(&files).unwrap();
        let keys = apk::keys(&files).unwrap();
        let keys = Keys::new(keys.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        let indexes = configuration.repositories.iter().map(|repository| {
            let url = repository.index_url("x86_64");
            let bytes = fs::read(&url).unwrap();
            let index = Index::read(&url, &bytes, &keys, apk::INDEX_LIMIT).unwrap();
            (repository.clone(), index)
        });
        let indexes = indexes.collect();
        (configuration, indexes)
    }
}
