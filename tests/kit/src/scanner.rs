//! Other readers of images: syft, and trivy with a database of the test's own (`tests/tools/install judges` has them).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::image::{Image, Pulled, descriptor};
use crate::process::{outcome, run};

/// Writes an image as an OCI layout (OCI image layout specification) with this name in it.
pub fn write_layout(image: &Image, folder: &Path) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| fs::write(blobs.join(crate::digest(bytes).trim_start_matches("sha256:")), bytes).unwrap();
    put(&image.manifest);
    put(&image.config);
    for layer in &image.layers {
        put(&layer.bytes);
    }
    let mut entry = descriptor(&image.media_type, &image.manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "kit" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// The same for an image that was pulled.
pub fn write_pulled(pulled: &Pulled, folder: &Path) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| fs::write(blobs.join(crate::digest(bytes).trim_start_matches("sha256:")), bytes).unwrap();
    put(&pulled.manifest);
    put(&pulled.config);
    pulled.layers.iter().for_each(|layer| put(layer));
    let mut entry = descriptor(&pulled.media_type, &pulled.manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "kit" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// The packages of distributions that syft finds in an OCI layout, as `name version architecture`.
pub async fn syft(layout: &Path) -> BTreeSet<String> {
    let mut command = Command::new(program("syft"));
    command.args([
        "scan",
        "--quiet",
        "--override-default-catalogers",
        "os",
        "--output",
        "json",
    ]);
    command.arg(format!("oci-dir:{}", layout.display()));
    command
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
        .env("SYFT_FILE_METADATA_SELECTION", "none");
    command.stderr(Stdio::inherit());
    let said = outcome(command).await;
    assert!(said.success, "syft: {}", said.output);
    let report: Value =
        serde_json::from_str(&said.output).unwrap_or_else(|error| panic!("syft: {error}: {}", said.output));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = report["artifacts"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let metadata = &package["metadata"];
            let architecture = [&metadata["architecture"], &metadata["arch"]].map(text).concat();
            format!(
                "{} {} {architecture}",
                text(&package["name"]),
                text(&package["version"])
            )
        })
        .collect()
}

/// The packages of distributions that syft finds in an image that was pulled, as `name version architecture`.
pub async fn syft_of(pulled: &Pulled) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    write_pulled(pulled, folder.path());
    syft(folder.path()).await
}

/// Makes a vulnerability database for trivy from a description (see `tests/tools/trivydb`) and pushes it to a registry; what
/// `trivy_db` has to be.
pub fn push_trivy_database(registry: &str, repository: &str, description: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    write_database(folder.path(), description);
    let to = format!("{registry}/{repository}:2");
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
        .arg(format!("oci:{}", folder.path().join("oci").display()))
        .arg(format!("docker://{to}")));
    to
}

/// A program that `tests/tools/install judges` brings: on the PATH, or in its folder.
pub fn program(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.testbed/tools");
    let tools = std::env::var_os("PATCHPORT_TOOLS_DIR")
        .map_or(own, PathBuf::from)
        .join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::iter::once(tools).chain(std::env::split_paths(&path));
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    found.unwrap_or_else(|| panic!("no {name}: run tests/tools/install"))
}

/// What trivy reports of an image by a database of this description, as JSON.
pub async fn trivy_report(image: &Image, description: &Value) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_database(&folder.path().join("cache/db"), description);
    write_layout(image, &folder.path().join("layout"));
    let mut command = Command::new(program("trivy"));
    command.args([
        "image",
        "--quiet",
        "--format",
        "json",
        "--scanners",
        "vuln",
        "--skip-db-update",
        "--skip-java-db-update",
    ]);
    command.args([
        "--offline-scan",
        "--cache-dir",
        &path("cache"),
        "--output",
        &path("report"),
        "--input",
        &path("layout"),
    ]);
    command.current_dir(folder.path());
    let said = outcome(command).await;
    assert!(said.success, "trivy: {}", said.output);
    fs::read(path("report")).unwrap()
}

fn write_database(folder: &Path, description: &Value) {
    let mut command = Command::new(program("trivydb"));
    let mut child = command.arg(folder).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(description.to_string().as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "trivydb fails");
}
