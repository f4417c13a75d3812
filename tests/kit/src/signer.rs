//! A key of OpenPGP and what it signs, made by the real gpg in a home of its own that ends with the test.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Signs as one person.
pub struct Signer {
    home: TempDir,
}

impl Signer {
    /// A new key.
    pub fn new(name: &str) -> Self {
        // The agent's socket is in it, and paths of sockets are short.
        let signer = Self {
            home: TempDir::with_prefix_in("pgp", "/tmp").unwrap(),
        };
        signer.gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"], "");
        signer
    }

    /// The public key, binary.
    pub fn public(&self) -> Vec<u8> {
        self.gpg(&["--export"], "")
    }

    /// The public key as text.
    pub fn armored(&self) -> String {
        String::from_utf8(self.gpg(&["--armor", "--export"], "")).unwrap()
    }

    /// The text with a signature around it.
    pub fn clear_sign(&self, text: &str) -> String {
        String::from_utf8(self.gpg(&["--clear-sign"], text)).unwrap()
    }

    /// A signature to stand beside the text.
    pub fn detach_sign(&self, text: &str) -> Vec<u8> {
        self.gpg(&["--armor", "--detach-sign"], text)
    }

    /// A binary signature to stand beside a file.
    pub fn sign_file(&self, bytes: &[u8]) -> Vec<u8> {
        self.gpg_bytes(&["--detach-sign"], bytes)
    }

    fn gpg(&self, arguments: &[&str], input: &str) -> Vec<u8> {
        self.gpg_bytes(arguments, input.as_bytes())
    }

    fn gpg_bytes(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path()).args([
            "--batch",
            "--quiet",
            "--no-tty",
            "--pinentry-mode=loopback",
            "--passphrase=",
        ]);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("gpg does not start: {error}; run tests/tools/install"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "gpg {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // The agent would end by itself when it misses its home, some time later.
        let mut command = Command::new("gpgconf");
        let _ = command
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}
