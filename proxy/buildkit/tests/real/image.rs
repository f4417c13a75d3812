//! Tiny images made on the spot: the machine's own shell with the libraries it needs, or a handful of files.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use patchport_buildkit::llb::{Platform, State};
use serde_json::json;

use crate::store::{Memory, digest};

pub(crate) struct Image {
    pub(crate) manifest: String,
    pub(crate) layer: String,
    pub(crate) config: String,
}

impl Image {
    /// `/bin/sh`, `/bin/sleep` and `/bin/cat`, and 8 MiB that do not compress, so that reading takes several calls.
    pub(crate) fn base(store: &Memory) -> Self {
        let mut files: Vec<(String, Vec<u8>)> = programs()
            .into_iter()
            .map(|path| {
                (
                    path.to_string_lossy().trim_start_matches('/').to_owned(),
                    std::fs::read(&path).unwrap(),
                )
            })
            .collect();
        files.push(("filler".to_owned(), noise(8 << 20)));
        Self::new(store, &files)
    }

    /// An image of one uncompressed layer with these files, all of them executable.
    pub(crate) fn new(store: &Memory, files: &[(String, Vec<u8>)]) -> Self {
        let layer_bytes = archive(files);
        let size = layer_bytes.len();
        let layer = store.put(layer_bytes);
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "config": { "Entrypoint": ["/bin/cat"], "Env": ["PATH=/bin", "KEPT=yes"], "Labels": { "kept": "yes" } },
            "rootfs": { "type": "layers", "diff_ids": [layer] },
            "history": [{ "created_by": "base" }],
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config.as_bytes()), "size": config.len() },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size }],
        });
        store.put(config.clone());
        Self {
            manifest: store.put(manifest.to_string()),
            layer,
            config,
        }
    }

    pub(crate) fn state(&self, name: &str) -> State {
        State::oci_layout("base", name, &self.manifest, &platform())
    }
}

pub(crate) fn platform() -> Platform {
    Platform::new("linux", architecture())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The programs, and whatever `ldd` says that they load, at the paths where they are looked for.
fn programs() -> BTreeSet<PathBuf> {
    let mut all: BTreeSet<_> = ["/bin/sh", "/bin/sleep", "/bin/cat"].map(PathBuf::from).into();
    let output = Command::new("ldd").args(&all).output().expect("ldd is missing");
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'));
    all.extend(paths.map(PathBuf::from));
    all
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The paths in an uncompressed layer.
pub(crate) fn paths(layer: &[u8]) -> Vec<String> {
    let mut tar = tar::Archive::new(layer);
    tar.entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// xorshift: the same bytes every time, without a pattern that a compressor finds.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(word).flatten().take(length).collect()
}
