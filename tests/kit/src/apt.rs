//! An apt repository on loopback with packages of the test's own making: names, versions, scripts and conffiles as
//! a test wants them, built with `dpkg-deb`. No network, and no package that changes while a test runs.

mod suite;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub use suite::{Suite, date};

use crate::process::run;
use crate::registry::Gate;

/// A Debian package for all architectures.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Paths (without a leading `/`) and contents.
    pub files: Vec<(String, String)>,
    /// Which of the files are conffiles, by path.
    pub conffiles: Vec<String>,
    /// Maintainer scripts: `postinst` and the like, and their shell text.
    pub scripts: Vec<(String, String)>,
    /// More lines of the control file, each with its newline.
    pub control: String,
}

impl Package {
    /// A package with one file, `usr/share/NAME/version`, that tells its version.
    pub fn new(name: &str, version: &str) -> Self {
        let files = vec![(format!("usr/share/{name}/version"), format!("{version}\n"))];
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            files,
            ..Self::default()
        }
    }

    /// Adds a file.
    pub fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }

    /// Adds a conffile.
    pub fn conffile(mut self, path: &str, content: &str) -> Self {
        self.conffiles.push(path.to_owned());
        self.file(path, content)
    }

    /// Adds a maintainer script with this text after `#!/bin/sh` and `set -e`.
    pub fn script(mut self, name: &str, text: &str) -> Self {
        self.scripts
            .push((name.to_owned(), format!("#!/bin/sh\nset -e\n{text}\n")));
        self
    }

    /// The fields that both the control file and the package database carry.
    pub(crate) fn fields(&self, version: &str) -> String {
        format!(
            "Maintainer: kit <kit@example.invalid>\nArchitecture: all\nVersion: {}\n{}Description: made by the kit\n",
            version, self.control
        )
    }

    fn build(&self, directory: &Path) -> Vec<u8> {
        let tree = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str, mode: u32| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write(
            "DEBIAN/control",
            &format!("Package: {}\n{}", self.name, self.fields(&self.version)),
            0o644,
        );
        for (path, content) in &self.files {
            write(path, content, 0o644);
        }
        for (name, text) in &self.scripts {
            write(&format!("DEBIAN/{name}"), text, 0o755);
        }
        if !self.conffiles.is_empty() {
            let list = self
                .conffiles
                .iter()
                .fold(String::new(), |list, path| list + "/" + path + "\n");
            write("DEBIAN/conffiles", &list, 0o644);
        }
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = directory.join("built.deb");
        run(Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", "1704067200")
            .args(["--root-owner-group", "-Zgzip", "-b"])
            .arg(tree.path())
            .arg(&file));
        fs::read(file).unwrap()
    }
}

#[derive(Default)]
struct Content {
    files: Vec<(String, Bytes)>,
    index: String,
    requests: Vec<String>,
    holds: Vec<(String, Gate)>,
    is_away: bool,
    /// Bytes of the files that were asked for.
    sent: u64,
}

/// The repository, flat, unsigned (`[trusted=yes]`); gone when dropped. It serves what a [`Suite`], or the repository of another
/// package manager, puts into it, too.
pub struct Repository {
    address: std::net::SocketAddr,
    content: Arc<Mutex<Content>>,
    serving: AbortHandle,
}

impl Repository {
    /// Starts an empty repository on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().unwrap();
        let content = Arc::<Mutex<Content>>::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&content))).abort_handle();
        let repository = Self {
            address,
            content,
            serving,
        };
        repository.index("");
        repository
    }

    /// The line for `sources.list`.
    pub fn source(&self) -> String {
        format!("deb [trusted=yes] http://{}/ ./\n", self.address)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves a file, in place of the one that was there.
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        let mut content = self.content.lock().unwrap();
        content.files.retain(|(name, _)| name != path);
        content.files.push((path.to_owned(), bytes.into()));
    }

    /// A file that it serves.
    pub fn get(&self, path: &str) -> Bytes {
        let content = self.content.lock().unwrap();
        let file = content.files.iter().find(|(name, _)| name == path);
        file.unwrap_or_else(|| panic!("{path} is not there")).1.clone()
    }

    /// What finds its files for somebody else who serves them.
    pub(crate) fn reader(&self) -> impl Fn(&str) -> Option<Bytes> + Clone + Send + Sync + 'static + use<> {
        let content = Arc::clone(&self.content);
        move |path| {
            let content = content.lock().unwrap();
            let file = content.files.iter().find(|(name, _)| name == path);
            file.map(|(_, bytes)| bytes.clone())
        }
    }

    /// Serves no file any more whose path contains `part`.
    pub fn remove(&self, part: &str) {
        self.content
            .lock()
            .unwrap()
            .files
            .retain(|(name, _)| !name.contains(part));
    }

    /// Answers everything with 503, or works again.
    pub fn set_away(&self, is_away: bool) {
        self.content.lock().unwrap().is_away = is_away;
    }

    /// Builds a package and offers it.
    pub fn publish(&self, package: &Package) {
        self.publish_as(package, &package.version);
    }

    /// Builds a package and offers it under a version that need not be its own.
    pub fn publish_as(&self, package: &Package, version: &str) {
        let directory = tempfile::tempdir().unwrap();
        let deb = package.build(directory.path());
        let name = format!("{}_{}_all.deb", package.name, version.replace(':', "%3a"));
        let digest = crate::digest(&deb);
        let stanza = format!(
            "Package: {}\n{}Filename: ./{name}\nSize: {}\nSHA256: {}\n\n",
            package.name,
            package.fields(version),
            deb.len(),
            digest.trim_start_matches("sha256:")
        );
        self.content.lock().unwrap().files.push((name, deb.into()));
        self.index(&stanza);
    }

    /// Adds to `Packages` and writes `Release` anew.
    fn index(&self, stanza: &str) {
        let mut content = self.content.lock().unwrap();
        content.index.push_str(stanza);
        let packages = content.index.clone();
        let mut release = String::from(
            "Origin: kit\nLabel: kit\nSuite: stable\nCodename: kit\nArchitectures: all amd64 arm64\nSHA256:\n",
        );
        let digest = crate::digest(packages.as_bytes());
        let _ = writeln!(
            release,
            " {} {} Packages",
            digest.trim_start_matches("sha256:"),
            packages.len()
        );
        content
            .files
            .retain(|(name, _)| name != "Packages" && name != "Release");
        content.files.push(("Packages".to_owned(), packages.into()));
        content.files.push(("Release".to_owned(), release.into()));
    }

    /// Keeps every request whose path contains `part` waiting until the gate opens. apt gives up after 30 s. A package may be
    /// in a cache of the builder; `Release` is asked for in every solve.
    pub fn hold(&self, part: &str, gate: &Gate) {
        self.content.lock().unwrap().holds.push((part.to_owned(), gate.clone()));
    }

    /// How many bytes of files it has sent.
    pub fn sent(&self) -> u64 {
        self.content.lock().unwrap().sent
    }

    /// How many requests had a path that contains `part`.
    pub fn count(&self, part: &str) -> usize {
        self.content
            .lock()
            .unwrap()
            .requests
            .iter()
            .filter(|path| path.contains(part))
            .count()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, content: Arc<Mutex<Content>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let content = Arc::clone(&content);
        let service =
            service_fn(move |request: http::Request<hyper::body::Incoming>| answer(Arc::clone(&content), request));
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    content: Arc<Mutex<Content>>,
    request: http::Request<hyper::body::Incoming>,
) -> http::Result<http::Response<Full<Bytes>>> {
    let path = request
        .uri()
        .path()
        .trim_start_matches('/')
        .trim_start_matches("./")
        .to_owned();
    let (body, gates, is_away) = {
        let mut content = content.lock().unwrap();
        let body = content
            .files
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, bytes)| bytes.clone());
        let gates: Vec<Gate> = content
            .holds
            .iter()
            .filter(|(part, _)| path.contains(part))
            .map(|(_, gate)| gate.clone())
            .collect();
        content.requests.push(path);
        if !content.is_away {
            content.sent += body.as_ref().map_or(0, |body| body.len() as u64);
        }
        (body, gates, content.is_away)
    };
    for gate in gates {
        gate.pass().await;
    }
    let status = match &body {
        _ if is_away => 503,
        Some(_) => 200,
        None => 404,
    };
    let body = body.filter(|_| !is_away);
    http::Response::builder()
        .status(status)
        .body(Full::new(body.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[tokio::test]
    async fn a_published_package_is_offered_with_its_digest() {
        let repository = Repository::start().await;
        repository.publish(
            &Package::new("kit-hello", "1.0")
                .conffile("etc/kit-hello.conf", "a=1\n")
                .script("postinst", "true"),
        );
        let client = Client::new(repository.address.to_string());
        let packages = client.get("/./Packages").await.text();
        let deb = client.get("/./kit-hello_1.0_all.deb").await;
        assert!(
            deb.status == 200 && packages.contains(deb.digest.trim_start_matches("sha256:")),
            "{packages}"
        );
        assert_eq!(repository.count(".deb"), 1);
    }
}
