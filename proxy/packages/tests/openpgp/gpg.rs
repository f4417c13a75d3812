//! gpg with a home of its own that ends with the test, for keys and signatures as people make them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory of keys, and the agent that gpg starts for it.
pub(crate) struct Home(TempDir);

impl Home {
    /// An empty one. The path is short, for the agent's socket is in it and such paths are short.
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix_in("gpg", "/tmp").unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs gpg on input and returns what it prints.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", self.path())
            .args([
                "--batch",
                "--quiet",
                "--no-permission-warning",
                "--yes",
                "--no-tty",
                "--pinentry-mode=loopback",
                "--passphrase=",
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs gpg, of the Debian package gnupg: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().unwrap()
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {arguments:?}: {said}");
        output.stdout
    }

    /// Makes a key that has no user but `name` and returns its fingerprint.
    pub(crate) fn key(&self, name: &str, algorithm: &str, usage: &str, expires: &str) -> String {
        self.run(&["--quick-generate-key", name, algorithm, usage, expires], b"");
        self.fingerprints(name).swap_remove(0)
    }

    /// The fingerprints of a key and its subkeys.
    pub(crate) fn fingerprints(&self, name: &str) -> Vec<String> {
        let listed = String::from_utf8(self.run(&["--with-colons", "--list-keys", name], b"")).unwrap();
        let lines = listed.lines().filter_map(|line| line.strip_prefix("fpr:"));
        lines.map(|line| line.trim_matches(':').to_owned()).collect()
    }

    /// Keys as a file, binary.
    pub(crate) fn export(&self, names: &[&str]) -> Vec<u8> {
        self.run(&[&["--export"], names].concat(), b"")
    }

    /// A clear-signed message.
    pub(crate) fn clearsign(&self, names: &[&str], options: &[&str], text: &[u8]) -> Vec<u8> {
        let users = names.iter().flat_map(|name| ["--local-user", name]);
        let arguments: Vec<_> = options.iter().copied().chain(users).chain(["--clear-sign"]).collect();
        self.run(&arguments, text)
    }

    /// What gpg takes for the text of a message.
    pub(crate) fn text(&self, message: &[u8]) -> Vec<u8> {
        self.run(&["--decrypt"], message)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let agent = Command::new("gpgconf")
            .env("GNUPGHOME", self.path())
            .args(["--kill", "all"])
            .status();
        assert!(agent.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
