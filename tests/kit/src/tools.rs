//! Real clients: skopeo, podman, containerd with `ctr`, and the Rust crate `oci-client`. Each with state of its own
//! in a temporary directory, so that nothing of the machine's configuration takes part.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::image::Pulled;
use crate::process::{Log, Outcome, Process, outcome};

/// Copies an image with skopeo and gives what arrived. `reference` is `HOST:PORT/repository:tag` or `...@digest`.
pub async fn skopeo(reference: &str) -> Pulled {
    read(&format!("docker://{reference}")).await
}

/// The same from any place that skopeo knows, such as `oci:FOLDER:TAG`.
pub async fn read(place: &str) -> Pulled {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("skopeo");
    command.args(["copy", "--insecure-policy", "--src-tls-verify=false", place]);
    command.arg(format!("dir:{}", directory.path().display()));
    let copied = outcome(command).await;
    assert!(copied.success, "skopeo copies {place}: {}", copied.output);
    read_dir_layout(directory.path())
}

/// Reads what skopeo writes with `dir:`: `manifest.json` and one file per blob, named for its digest.
fn read_dir_layout(directory: &Path) -> Pulled {
    let manifest = fs::read(directory.join("manifest.json")).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let blob = |descriptor: &serde_json::Value| {
        let name = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
        fs::read(directory.join(name)).unwrap().into()
    };
    Pulled {
        media_type: parsed["mediaType"].as_str().unwrap_or_default().to_owned(),
        config: blob(&parsed["config"]),
        layers: parsed["layers"].as_array().unwrap().iter().map(blob).collect(),
        manifest: manifest.into(),
    }
}

/// Podman with its own storage and `registries.conf`.
pub struct Podman {
    directory: TempDir,
}

impl Podman {
    /// A podman that pulls `location` from `mirror` (`HOST:PORT/path`), as an operator would configure it.
    pub fn new(location: &str, mirror: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("patchport-podman-").tempdir().unwrap();
        let registries = format!(
            "[[registry]]\nprefix = \"{location}\"\nlocation = \"{location}\"\n\
             [[registry.mirror]]\nlocation = \"{mirror}\"\ninsecure = true\npull-from-mirror = \"all\"\n"
        );
        fs::write(directory.path().join("registries.conf"), registries).unwrap();
        Self { directory }
    }

    /// Runs podman.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        let path = |name: &str| self.directory.path().join(name);
        // How containers run on this machine is the testbed's knowledge (CONTAINERS_CONF); the storage is ours.
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(path("root"))
            .arg("--runroot")
            .arg(path("run"))
            .args(arguments);
        command.env("CONTAINERS_REGISTRIES_CONF", path("registries.conf"));
        outcome(command).await
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        unmount_below(self.directory.path());
    }
}

/// An own containerd, for `ctr`.
pub struct Containerd {
    directory: TempDir,
    process: Process,
}

impl Containerd {
    /// Starts one whose `hosts.toml` for `registry` names the mirror, and no other server.
    pub async fn start(registry: &str, mirror_url: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("patchport-ctd-").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let hosts = directory.path().join("certs.d").join(registry);
        fs::create_dir_all(&hosts).unwrap();
        let text =
            format!("server = \"{mirror_url}\"\n[host.\"{mirror_url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        fs::write(hosts.join("hosts.toml"), text).unwrap();
        let configuration = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{}\"\n",
            path("root"),
            path("state"),
            path("sock")
        );
        fs::write(directory.path().join("config.toml"), configuration).unwrap();
        let log = Log::default();
        let process = Process::start(
            "containerd",
            Command::new("containerd").args(["--config", &path("config.toml")]),
            &log,
        );
        let booted = |lines: &[String]| {
            lines
                .iter()
                .any(|line| line.contains("successfully booted"))
                .then_some(())
        };
        log.wait(0, "that containerd serves", Duration::from_secs(30), booted)
            .await;
        Self { directory, process }
    }

    /// Runs `ctr`; an `images pull` gets the directory of `hosts.toml`.
    pub async fn ctr(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.directory.path().join("sock"))
            .args(arguments);
        outcome(command).await
    }

    /// Pulls an image through the mirror.
    pub async fn pull(&self, reference: &str) -> Outcome {
        let hosts = self.directory.path().join("certs.d").display().to_string();
        self.ctr(&[
            "images",
            "pull",
            "--hosts-dir",
            &hosts,
            "--snapshotter",
            "native",
            reference,
        ])
        .await
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.process.kill9();
        unmount_below(self.directory.path());
    }
}

/// Removes every mount below a directory, the innermost first.
pub(crate) fn unmount_below(directory: &Path) {
    let below = directory.to_string_lossy().into_owned();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| point.starts_with(&below))
        .collect();
    for point in points.into_iter().rev() {
        let _ = Command::new("umount").args(["-l", point]).status();
    }
}

/// Pulls with the crate `oci-client`; gives the manifest's digest and the layers' digests, each checked by that crate.
pub async fn oci_client(reference: &str) -> (String, Vec<String>) {
    // Another test of this process may have chosen the same provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let configuration = oci_client::client::ClientConfig {
        protocol: oci_client::client::ClientProtocol::Http,
        ..Default::default()
    };
    let client = oci_client::Client::new(configuration);
    let reference: oci_client::Reference = reference.parse().unwrap();
    let auth = oci_client::secrets::RegistryAuth::Anonymous;
    let (manifest, digest) = client
        .pull_image_manifest(&reference, &auth)
        .await
        .unwrap_or_else(|error| panic!("oci-client pulls {reference}: {error}"));
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        let mut bytes = Vec::new();
        client
            .pull_blob(&reference, layer, &mut bytes)
            .await
            .unwrap_or_else(|error| panic!("oci-client pulls {}: {error}", layer.digest));
        layers.push(crate::digest(&bytes));
    }
    (digest, layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Image, Layer, validate};
    use crate::registry::Registry;

    async fn registry() -> (Registry, Image) {
        let registry = Registry::start().await;
        let image = Image::builder().layer(Layer::new().file("a", "b").gzip()).build();
        registry.push("team/app", Some("v1"), &image);
        (registry, image)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn skopeo_and_oci_client_pull() {
        let (registry, image) = registry().await;
        let copied = skopeo(&format!("{}/team/app:v1", registry.host())).await;
        validate(&copied);
        assert_eq!(copied.digest(), image.digest());
        let (digest, layers) = oci_client(&format!("{}/team/app:v1", registry.host())).await;
        assert_eq!((digest, layers), (image.digest(), vec![image.layers[0].digest()]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn podman_pulls_from_the_mirror_that_its_configuration_names() {
        let (registry, image) = registry().await;
        let podman = Podman::new("up.test", &registry.host());
        let pulled = podman.run(&["pull", "--quiet", "up.test/team/app:v1"]).await;
        assert!(pulled.success, "{}", pulled.output);
        let digest = podman
            .run(&["image", "inspect", "--format", "{{.Digest}}", "up.test/team/app:v1"])
            .await;
        assert_eq!(digest.output.trim(), image.digest());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn containerd_pulls_from_the_mirror_that_its_configuration_names() {
        let (registry, image) = registry().await;
        let containerd = Containerd::start("up.test", &registry.url()).await;
        let pulled = containerd.pull("up.test/team/app:v1").await;
        assert!(pulled.success, "{}", pulled.output);
        let listed = containerd.ctr(&["images", "ls"]).await;
        assert!(listed.output.contains(&image.digest()), "{}", listed.output);
        assert!(registry.requests().iter().any(|request| request.query == "ns=up.test"));
    }
}
