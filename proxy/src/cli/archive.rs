//! Images in a tar: an OCI layout that was packed, or what `docker save` and `podman save` write. Both become a layout in a folder.
//!
//! A tar may come from anywhere: only plain files with the names of these formats are unpacked, and only below the folder.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::{Component, Path};

use anyhow::{Context as _, bail, ensure};
use patchport_oci::digest::Algorithm;
use patchport_oci::{Digest, Hasher, media_type};
use serde::Deserialize;
use serde_json::json;

/// More files than the images of any real archive have.
const MAX_FILES: usize = 20_000;
/// The largest `manifest.json` or configuration, in bytes.
const MAX_JSON: u64 = 8 * 1024 * 1024;

/// An image of `docker save` (Moby image spec 1.2, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Unpacks a tar of images into `folder`, as an OCI layout.
///
/// # Errors
/// When the file is no such tar; it names what is missing.
pub fn unpack(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut archive = tar::Archive::new(BufReader::new(opened));
    let entries = archive
        .entries()
        .with_context(|| format!("{} is no tar", file.display()))?;
    for (count, entry) in entries.enumerate() {
        ensure!(count < MAX_FILES, "{} has more than {MAX_FILES} files", file.display());
        let mut entry = entry.with_context(|| format!("{} is no whole tar of images", file.display()))?;
        let path = entry
            .path()
            .context("a file in the tar has no name that can be used")?
            .into_owned();
        if !entry.header().entry_type().is_file() || !is_ours(&path) {
            continue;
        }
        let target = folder.join(&path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let mut output = File::create(&target).with_context(|| format!("cannot write {}", target.display()))?;
        io::copy(&mut entry, &mut output).with_context(|| format!("cannot unpack {}", path.display()))?;
    }
    if folder.join("index.json").exists() {
        return Ok(());
    }
    if folder.join("manifest.json").exists() {
        return convert(folder);
    }
    bail!(
        "{} is neither an OCI layout nor what `docker save` writes",
        file.display()
    )
}

/// Whether a file may be part of an archive of images: it stays below the folder, and is not too deep.
fn is_ours(path: &Path) -> bool {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    let mut count = 0;
    let plain = parts
        .inspect(|_| count += 1)
        .all(|part| matches!(part, Component::Normal(_)));
    plain && (1..=3).contains(&count)
}

/// Makes an OCI layout of what `docker save` wrote.
fn convert(folder: &Path) -> anyhow::Result<()> {
    let saved: Vec<Saved> =
        serde_json::from_slice(&small(folder, "manifest.json")?).context("manifest.json is malformed")?;
    ensure!(!saved.is_empty(), "manifest.json names no image");
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
    let mut manifests = Vec::new();
    for image in saved {
        let config = small(folder, &image.config)?;
        let mut layers = Vec::new();
        for layer in &image.layers {
            let (digest, size) = adopt(folder, layer, &blobs)?;
            layers.push(json!({"mediaType": media_type::OCI_LAYER, "digest": digest, "size": size}));
        }
        let config_digest = Digest::of(&config);
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": media_type::OCI_CONFIG, "digest": config_digest, "size": config.len()},
            "layers": layers,
        }))?;
        let digest = Digest::of(&manifest);
        for (digest, bytes) in [(&config_digest, &config), (&digest, &manifest)] {
            let mut file = File::create(blobs.join(digest.hex()))?;
            file.write_all(bytes)?;
        }
        let name = image.repo_tags.iter().flatten().next().cloned();
        manifests.push(json!({
            "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": manifest.len(),
            "annotations": name.map(|name| json!({"org.opencontainers.image.ref.name": name})).unwrap_or(json!({})),
        }));
    }
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests}))?;
    fs::write(folder.join("index.json"), index).context("cannot write index.json")
}

/// A small file of the archive.
fn small(folder: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(
        is_ours(Path::new(name)),
        "the archive names a file that it cannot have: {name:?}"
    );
    let file = File::open(folder.join(name)).with_context(|| format!("the archive has no {name}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_JSON + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_JSON, "{name} is larger than {MAX_JSON} bytes");
    Ok(bytes)
}

/// Puts a layer where a layout has its blobs; its digest and size.
fn adopt(folder: &Path, name: &str, blobs: &Path) -> anyhow::Result<(Digest, u64)> {
    ensure!(
        is_ours(Path::new(name)),
        "the archive names a layer that it cannot have: {name:?}"
    );
    let path = folder.join(name);
    let mut file = File::open(&path).with_context(|| format!("the archive has no {name}"))?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut buffer, mut size) = (vec![0; 256 * 1024], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
    let digest = hasher.finish();
    let target = blobs.join(digest.hex());
    if !target.exists() {
        fs::hard_link(&path, &target).or_else(|_| fs::copy(&path, &target).map(drop))?;
    }
    Ok((digest, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_an_archive_may_have() {
        for (path, expected) in [
            ("index.json", true),
            ("./blobs/sha256/abc", true),
            ("abc/layer.tar", true),
            ("../x", false),
            ("/etc/passwd", false),
            ("a/../../x", false),
            ("a/b/c/d", false),
            ("", false),
        ] {
            assert_eq!(is_ours(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_docker_saves_becomes_a_layout() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image.tar");
        let mut tar = tar::Builder::new(File::create(&file).unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        add("c.json", config);
        add("l/layer.tar", b"layer");
        add(
            "manifest.json",
            br#"[{"Config":"c.json","RepoTags":["app:1"],"Layers":["l/layer.tar"]}]"#,
        );
        tar.finish().unwrap();
        let layout = folder.path().join("layout");
        fs::create_dir(&layout).unwrap();
        unpack(&file, &layout).unwrap();
        let images = crate::upstream::layout::Layout::open(&layout).unwrap().images();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].1.as_deref(), Some("app:1"));
        assert_eq!(
            fs::read(layout.join("blobs/sha256").join(Digest::of(b"layer").hex())).unwrap(),
            b"layer"
        );
        let text = unpack(&layout.join("c.json"), &layout).unwrap_err().to_string();
        assert!(text.contains("c.json"), "{text}");
    }
}
