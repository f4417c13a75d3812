//! Every way to a BuildKit, and what is said when there is none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use patchport_buildkit::{Address, AutoOptions, Client, ClientError, ConnectError, DockerOptions, Endpoint, Tls};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::daemon::{Buildkitd, endpoint, program, unmount_below};

/// The state of a daemon that the client starts, and the process that it wrote down.
struct Own(TempDir);

impl Own {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn endpoint(&self) -> Endpoint {
        // No docker there; the child itself inherits the test's own path, on which it finds runc.
        let directory = program().parent().unwrap().to_owned();
        auto(AutoOptions {
            state_dir: self.0.path().to_owned(),
            path: Some(directory.into()),
            ..bare()
        })
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.0.path().join("buildkitd.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        unmount_below(self.0.path());
    }
}

/// Nothing of the machine's own.
pub(crate) fn bare() -> AutoOptions {
    AutoOptions {
        sockets: Vec::new(),
        docker: no_docker(Path::new("/nonexistent")),
        ..AutoOptions::default()
    }
}

fn no_docker(dir: &Path) -> DockerOptions {
    DockerOptions {
        sockets: vec![dir.join("docker.sock")],
        ..DockerOptions::default()
    }
}

pub(crate) fn auto(options: AutoOptions) -> Endpoint {
    Endpoint {
        address: Address::Auto,
        tls: None,
        auto: options,
    }
}

pub(crate) fn connect_error(error: ClientError) -> ConnectError {
    match error {
        ClientError::Unreachable(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_starts_a_daemon_once_starts_it_again_and_ends_it() {
    let own = Own::new();
    let client = Client::new(own.endpoint());
    // A caller that gives up early does not take the starting daemon along.
    tokio::time::timeout(Duration::from_millis(30), client.info())
        .await
        .ok();
    let before = own.pid();
    let all = futures_util::future::join_all((0..8).map(|_| client.info())).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let log = std::fs::read_to_string(own.0.path().join("buildkitd.log")).unwrap();
    assert_eq!(log.matches("running server").count(), 1, "{log}");

    let first = own.pid().unwrap();
    assert_eq!(before.unwrap_or(first), first);
    kill_process(first, Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while own.pid() == Some(first) {
        // The client learns of the death a moment after it.
        client.workers().await.ok();
        assert!(Instant::now() < deadline, "it was not started again");
    }
    client.workers().await.unwrap();

    let second = own.pid().unwrap();
    client.shutdown().await;
    assert!(test_kill_process(second).is_err(), "it outlived the shutdown");
    assert_eq!(own.pid(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_takes_over_a_daemon_that_was_left_behind() {
    let own = Own::new();
    let mut left = Buildkitd::rooted(own.0.path());
    left.start();
    left.answers(&Client::new(left.endpoint())).await;
    std::fs::write(own.0.path().join("buildkitd.pid"), left.pid().to_string()).unwrap();

    let client = Client::new(own.endpoint());
    client.info().await.unwrap();
    assert!(!own.0.path().join("buildkitd.log").exists(), "a second one was started");
    // It is the test's child, so it stays visible as a zombie until the test waits for it.
    let shutdown = tokio::spawn(async move { client.shutdown().await });
    left.wait();
    shutdown.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_prefers_the_exported_address_then_the_sockets() {
    let mut daemon = Buildkitd::new();
    daemon.start();
    daemon.answers(&Client::new(daemon.endpoint())).await;
    let host = format!("unix://{}", daemon.socket().display());
    let table = [
        (
            "exported",
            AutoOptions {
                buildkit_host: Some(host),
                ..bare()
            },
        ),
        (
            "socket",
            AutoOptions {
                sockets: vec![daemon.socket()],
                ..bare()
            },
        ),
        (
            "wrongly exported",
            AutoOptions {
                buildkit_host: Some("nonsense".to_owned()),
                sockets: vec![daemon.socket()],
                ..bare()
            },
        ),
    ];
    for (name, options) in table {
        let found = Client::new(auto(options)).info().await;
        assert!(found.is_ok(), "{name}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_says_every_place_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "buildkitd", "echo no space left >&2; exit 3");
    script(dir.path(), "docker", "echo daemon not running >&2; exit 1");
    script(
        dir.path(),
        "podman",
        "[ $1 = ps ] || { echo no buildctl in it >&2; exit 1; }; echo other; echo buildkitd",
    );
    let options = AutoOptions {
        buildkit_host: Some("ssh://host".to_owned()),
        sockets: vec![dir.path().join("none.sock")],
        state_dir: dir.path().join("state"),
        path: Some(dir.path().into()),
        docker: no_docker(dir.path()),
    };
    let error = connect_error(Client::new(auto(options)).info().await.unwrap_err());
    let ConnectError::NothingFound { tried } = &error else {
        panic!("{error:?}")
    };
    let expected = [
        "ssh://host",
        "none.sock (no such socket)",
        "exit status: 3 before it answered; its log ends: no space left",
        "daemon not running",
        "no buildctl in it",
        "is Docker installed, and does it run?",
    ];
    assert_eq!(tried.len(), expected.len(), "{tried:#?}");
    for (place, part) in tried.iter().zip(expected) {
        assert!(place.contains(part), "{place} lacks {part}");
    }
    let nothing = connect_error(Client::new(auto(bare())).info().await.unwrap_err()).to_string();
    assert!(
        nothing.contains("BUILDKIT_HOST (not set)") && nothing.contains("docker on PATH (no such program)"),
        "{nothing}"
    );
    assert!(
        nothing.contains("If you have none, run one in a container"),
        "{nothing}"
    );
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.to_owned(),
        port,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_works_in_the_clear() {
    let mut daemon = Buildkitd::new().with(&["--addr", "tcp://127.0.0.1:0"]);
    daemon.start();
    let address = tcp("127.0.0.1", daemon.port().await);
    daemon.answers(&Client::new(endpoint(address, None))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_works_with_certificates_on_both_sides_only() {
    let (right, wrong) = (Certificates::new(), Certificates::new());
    let mut daemon = right.daemon();
    daemon.start();
    let port = daemon.port().await;
    let ours = right.tls("client");
    for host in ["127.0.0.1", "localhost"] {
        daemon
            .answers(&Client::new(endpoint(tcp(host, port), Some(ours.clone()))))
            .await;
    }
    let table = [
        ("no TLS", None),
        (
            "a client of another CA",
            Some(Tls {
                ca: ours.ca.clone(),
                ..wrong.tls("client")
            }),
        ),
        (
            "a server of another CA",
            Some(Tls {
                ca: wrong.tls("client").ca,
                ..ours.clone()
            }),
        ),
        (
            "no such file",
            Some(Tls {
                key: PathBuf::from("/nonexistent"),
                ..ours
            }),
        ),
    ];
    for (name, tls) in table {
        let begun = Instant::now();
        let refused = Client::new(endpoint(tcp("127.0.0.1", port), tls)).info().await;
        assert!(refused.is_err(), "{name}");
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_answer_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("silent.sock");
    let _listener = tokio::net::UnixListener::bind(&silent).unwrap();
    let begun = Instant::now();
    let error = connect_error(
        Client::new(endpoint(Address::Unix(silent), None))
            .info()
            .await
            .unwrap_err(),
    );
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());

    let missing = endpoint(Address::Unix(dir.path().join("missing.sock")), None);
    let error = connect_error(Client::new(missing).info().await.unwrap_err());
    assert!(matches!(error, ConnectError::NoConnection { .. }), "{error:?}");
}

pub(crate) fn script(dir: &Path, name: &str, body: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A certificate authority with a server (localhost, 127.0.0.1) and a client, made by the machine's openssl.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let certificates = Self(tempfile::tempdir().unwrap());
        certificates.openssl(&["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"]);
        for (name, extension) in [
            ("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            ("client", "extendedKeyUsage=clientAuth"),
        ] {
            let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
            certificates.openssl(&[
                "-x509",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-keyout",
                &key,
                "-out",
                &pem,
                "-subj",
                &subject,
                "-addext",
                extension,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ]);
        }
        certificates
    }

    /// A daemon that listens on TCP with the server's certificate and asks clients for theirs.
    fn daemon(&self) -> Buildkitd {
        let (ca, cert, key) = (self.path("ca.pem"), self.path("server.pem"), self.path("server.key"));
        let files = ["--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
        Buildkitd::new().with(&[&files[..], &["--addr", "tcp://127.0.0.1:0"]].concat())
    }

    fn openssl(&self, arguments: &[&str]) {
        let common = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ];
        let output = Command::new("openssl")
            .args(common)
            .args(arguments)
            .current_dir(self.0.path())
            .output();
        let output = output.expect("openssl is missing");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn tls(&self, name: &str) -> Tls {
        let file = |name: String| PathBuf::from(self.path(&name));
        Tls {
            ca: file("ca.pem".into()),
            cert: file(format!("{name}.pem")),
            key: file(format!("{name}.key")),
        }
    }
}
