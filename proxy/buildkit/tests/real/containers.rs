//! A BuildKit in a container: the programs that reach into one, played by scripts that check their arguments and then connect to
//! a real daemon with the real `buildctl dial-stdio`.

use std::path::Path;

use patchport_buildkit::{AutoOptions, Client, ConnectError, Endpoint};
use tempfile::TempDir;

use crate::connecting::{auto, bare, connect_error, script};
use crate::daemon::{Buildkitd, program};

/// A folder with one program, which reaches the daemon when it is called exactly so, and says what it was called with otherwise.
fn runner(daemon: &Buildkitd, name: &str, arguments: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let buildctl = program().with_file_name("buildctl");
    let body = format!(
        "case \"$*\" in \
           '{arguments}') exec {} --addr unix://{} dial-stdio;; \
           ps*) echo other; echo buildx_buildkit_test0;; \
           *) echo \"No such container: $*\" >&2; exit 1;; \
         esac",
        buildctl.display(),
        daemon.socket().display()
    );
    script(dir.path(), name, &body);
    dir
}

fn on(path: &Path, address: &str) -> Client {
    Client::new(Endpoint {
        address: address.parse().unwrap(),
        tls: None,
        auto: AutoOptions {
            path: Some(path.into()),
            ..bare()
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_container_is_reached_by_its_own_program() {
    let mut daemon = Buildkitd::new();
    daemon.start();
    daemon.answers(&Client::new(daemon.endpoint())).await;
    let table = [
        ("docker", "docker-container://b0", "exec -i b0 buildctl dial-stdio"),
        (
            "docker",
            "docker-container://b0?context=far",
            "--context=far exec -i b0 buildctl dial-stdio",
        ),
        ("podman", "podman-container://b0", "exec -i b0 buildctl dial-stdio"),
        (
            "nerdctl",
            "nerdctl-container://b0?namespace=k8s.io",
            "--namespace=k8s.io exec -i b0 buildctl dial-stdio",
        ),
        ("kubectl", "kubepod://b0", "exec -i b0 -- buildctl dial-stdio"),
        (
            "kubectl",
            "kubepod://deployment/b0?context=me@far&namespace=ci&container=buildkitd",
            "--context=me@far --namespace=ci exec -i --container=buildkitd deployment/b0 -- buildctl dial-stdio",
        ),
    ];
    for (program, address, arguments) in table {
        let dir = runner(&daemon, program, arguments);
        let workers = on(dir.path(), address).workers().await;
        assert!(workers.is_ok(), "{address}: {workers:?}");
        let other = address.replace("b0", "absent");
        let error = connect_error(on(dir.path(), &other).info().await.unwrap_err());
        assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error:?}");
        assert!(error.to_string().contains("No such container: "), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_finds_a_container_of_docker_and_of_podman() {
    let mut daemon = Buildkitd::new();
    daemon.start();
    daemon.answers(&Client::new(daemon.endpoint())).await;
    for name in ["docker", "podman"] {
        let dir = runner(&daemon, name, "exec -i buildx_buildkit_test0 buildctl dial-stdio");
        let found = Client::new(auto(AutoOptions {
            path: Some(dir.path().into()),
            ..bare()
        }));
        found
            .workers()
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_missing_is_named() {
    let empty = tempfile::tempdir().unwrap();
    for (address, name) in [("kubepod://b0", "kubectl"), ("nerdctl-container://b0", "nerdctl")] {
        let error = connect_error(on(empty.path(), address).info().await.unwrap_err());
        let ConnectError::NoConnection { source, .. } = &error else {
            panic!("{error:?}")
        };
        let expected = format!("there is no program {name} on the PATH");
        assert_eq!(source.to_string(), expected);
    }
}
