//! Writes a patched image to a folder or a file: an OCI layout, the same in a tar, or what `docker save` writes.
//!
//! What is there under the same name is replaced when all of the new is written, not before.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use patchport_oci::digest::Algorithm;
use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Hasher, Manifest, media_type};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::tree::{Tree, blobs};

/// The annotation that names an image in a layout (OCI image spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The largest `index.json` that is added to, in bytes.
const MAX_INDEX: u64 = 4 * 1024 * 1024;
/// The largest layer that is unpacked, in bytes.
const MAX_LAYER: u64 = 64 << 30;

/// Writes an image into a layout, beside those that are there.
///
/// # Errors
/// When something cannot be had or written.
pub(super) async fn write(tree: &Tree<'_>, folder: &Path, name: &str) -> anyhow::Result<()> {
    let manifests = tree.manifests().await?;
    add(tree, folder, name, &manifests, &tree.root).await
}

/// Writes one manifest of an image into a layout.
async fn write_one(tree: &Tree<'_>, folder: &Path, name: &str, manifest: &Manifest) -> anyhow::Result<()> {
    add(tree, folder, name, std::slice::from_ref(manifest), manifest).await
}

async fn add(
    tree: &Tree<'_>,
    folder: &Path,
    name: &str,
    manifests: &[Manifest],
    root: &Manifest,
) -> anyhow::Result<()> {
    let mut index = existing(folder)?;
    for manifest in manifests {
        for blob in blobs(manifest) {
            let file = file_of(folder, &blob.digest)?;
            let is_there = file.metadata().is_ok_and(|found| found.len() == blob.size);
            if !is_there {
                let part = part(&file)?;
                tree.copy(&blob, part.path()).await?;
                keep(part, &file)?;
            }
        }
        replace(&file_of(folder, &manifest.digest)?, &manifest.bytes)?;
    }
    let entry = json!({
        "mediaType": root.media_type, "digest": root.digest, "size": root.bytes.len(), "annotations": { REF_NAME: name },
    });
    let is_same = |other: &Value| other.pointer("/annotations").and_then(|all| all.get(REF_NAME)) == Some(&json!(name));
    let list = index.get_mut("manifests").and_then(Value::as_array_mut);
    let list = list.with_context(|| format!("the index.json of {} has no manifests", folder.display()))?;
    list.retain(|other| !is_same(other));
    list.push(entry);
    replace(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    replace(&folder.join("index.json"), index.to_string().as_bytes())
}

/// The index of a layout that is there, else an empty one. A folder with anything else in it is left alone.
fn existing(folder: &Path) -> anyhow::Result<Value> {
    let file = folder.join("index.json");
    match File::open(&file) {
        Ok(opened) => {
            let mut bytes = Vec::new();
            opened.take(MAX_INDEX + 1).read_to_end(&mut bytes)?;
            ensure!(
                bytes.len() as u64 <= MAX_INDEX,
                "{} is larger than {MAX_INDEX} bytes",
                file.display()
            );
            serde_json::from_slice(&bytes).with_context(|| format!("{} is no index", file.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_used = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
            ensure!(
                !is_used,
                "{} is a folder with something else in it than an OCI layout",
                folder.display()
            );
            Ok(json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] }))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Where a layout has a blob; its folder is there afterwards.
fn file_of(folder: &Path, digest: &Digest) -> anyhow::Result<PathBuf> {
    let parent = folder.join("blobs").join(digest.algorithm().name());
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    Ok(parent.join(digest.hex()))
}

/// A file beside another, for what will become it.
fn part(file: &Path) -> anyhow::Result<NamedTempFile> {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".patchport-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(parent)
        .with_context(|| format!("cannot write into {}", parent.display()))
}

fn keep(part: NamedTempFile, file: &Path) -> anyhow::Result<()> {
    part.persist(file)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(())
}

fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = part(file)?;
    part.write_all(bytes)
        .with_context(|| format!("cannot write {}", file.display()))?;
    keep(part, file)
}

/// Writes an image as an OCI layout in a tar; `only` one of its manifests, if not all.
///
/// # Errors
/// When something cannot be had or written.
pub(super) async fn oci_archive(
    tree: &Tree<'_>,
    file: &Path,
    name: &str,
    only: Option<&Manifest>,
) -> anyhow::Result<()> {
    let folder = scratch(tree)?;
    match only {
        Some(manifest) => write_one(tree, folder.path(), name, manifest).await?,
        None => write(tree, folder.path(), name).await?,
    }
    let (target, file) = (part(file)?, file.to_owned());
    let packed = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let mut tar = tar::Builder::new(BufWriter::new(target.as_file()));
        let mut files = vec![PathBuf::from("oci-layout"), PathBuf::from("index.json")];
        for algorithm in entries(&folder.path().join("blobs"))? {
            let blobs = entries(&folder.path().join("blobs").join(&algorithm))?;
            files.extend(
                blobs
                    .into_iter()
                    .map(|blob| Path::new("blobs").join(&algorithm).join(blob)),
            );
        }
        for path in files {
            let mut content = File::open(folder.path().join(&path))?;
            let size = content.metadata()?.len();
            append(&mut tar, &path, size, &mut content)?;
        }
        tar.into_inner()?.flush()?;
        keep(target, &file)
    });
    packed.await?.context("cannot write the archive")
}

/// The names in a folder, sorted: the same image gives the same archive.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(PathBuf::from(entry?.file_name()));
    }
    names.sort();
    Ok(names)
}

fn append(tar: &mut tar::Builder<impl io::Write>, path: &Path, size: u64, content: &mut impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content)
}

#[derive(Deserialize)]
struct Configuration {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// Writes one image as `docker save` does, its layers as plain tars: every Docker loads it.
///
/// # Errors
/// When something cannot be had or written.
pub(super) async fn docker_archive(
    tree: &Tree<'_>,
    manifest: &Manifest,
    file: &Path,
    name: Option<&str>,
) -> anyhow::Result<()> {
    let Content::Image { config, layers } = &manifest.content else {
        anyhow::bail!("{} is no image", manifest.digest);
    };
    let folder = scratch(tree)?;
    let path = folder.path().join("config");
    tree.copy(config, &path).await?;
    let configuration = fs::read(&path)?;
    let parsed: Configuration =
        serde_json::from_slice(&configuration).context("the image's configuration is malformed")?;
    let diff_ids = parsed.rootfs.diff_ids;
    ensure!(
        diff_ids.len() == layers.len(),
        "the image has {} layers, and its configuration knows {}",
        layers.len(),
        diff_ids.len()
    );
    let mut plain = HashMap::new();
    for (layer, diff_id) in layers.iter().zip(&diff_ids) {
        let packed = folder.path().join("packed");
        tree.copy(layer, &packed).await?;
        let (target, expected) = (folder.path().join(diff_id.hex()), diff_id.clone());
        let unpacked = target.clone();
        let size = tokio::task::spawn_blocking(move || unpack(&packed, &target, &expected)).await??;
        plain.insert(diff_id.clone(), (unpacked, size));
    }
    let config_name = format!("{}.json", config.digest.hex());
    let layer_name = |diff_id: &Digest| format!("{}.tar", diff_id.hex());
    let listed = json!([{
        "Config": config_name,
        "RepoTags": name.into_iter().collect::<Vec<_>>(),
        "Layers": diff_ids.iter().map(layer_name).collect::<Vec<_>>(),
    }]);
    let (target, file) = (part(file)?, file.to_owned());
    let packed = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let mut tar = tar::Builder::new(BufWriter::new(target.as_file()));
        append(
            &mut tar,
            Path::new(&config_name),
            configuration.len() as u64,
            &mut configuration.as_slice(),
        )?;
        let mut sorted: Vec<_> = plain.iter().collect();
        sorted.sort_by_key(|(diff_id, _)| diff_id.hex().to_owned());
        for (diff_id, (path, size)) in sorted {
            append(&mut tar, Path::new(&layer_name(diff_id)), *size, &mut File::open(path)?)?;
        }
        let listed = listed.to_string();
        append(
            &mut tar,
            Path::new("manifest.json"),
            listed.len() as u64,
            &mut listed.as_bytes(),
        )?;
        tar.into_inner()?.flush()?;
        keep(target, &file)
    });
    packed.await?.context("cannot write the archive")
}

/// Decompresses a layer into a file; its size. What is not the layer that the configuration knows is refused.
fn unpack(packed: &Path, target: &Path, expected: &Digest) -> anyhow::Result<u64> {
    let mut opened = BufReader::new(File::open(packed)?);
    let mut magic = Vec::new();
    opened.by_ref().take(4).read_to_end(&mut magic)?;
    opened.rewind()?;
    let mut plain: Box<dyn Read> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(opened)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::with_buffer(opened)?),
        _ => Box::new(opened),
    };
    let mut output = BufWriter::new(File::create(target)?);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut buffer, mut size) = (vec![0; 256 * 1024], 0);
    loop {
        let read = plain.read(&mut buffer)?;
        let chunk = buffer.get(..read).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        hasher.update(chunk);
        output.write_all(chunk)?;
        size += chunk.len() as u64;
        ensure!(size <= MAX_LAYER, "a layer unpacks to more than {MAX_LAYER} bytes");
    }
    output.flush()?;
    let found = hasher.finish();
    ensure!(
        found == *expected,
        "a layer unpacks to {found}, but the configuration has {expected}"
    );
    Ok(size)
}

fn scratch(tree: &Tree<'_>) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("packing-")
        .tempdir_in(tree.bench.folder.path());
    folder.context("cannot make a folder for temporary files")
}
