//! The keys that an image trusts for a repository.

use std::path::PathBuf;
use std::sync::Arc;

use patchport_oci::{Digest, Hasher, digest::Algorithm};

/// Files of keys with their names; equal ones have equal digests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    files: Arc<Vec<(String, Vec<u8>)>>,
    digest: Arc<std::sync::OnceLock<Digest>>,
}

impl Keyring {
    /// These files, in any order.
    pub fn new(mut files: Vec<(String, Vec<u8>)>) -> Self {
        files.sort();
        files.dedup();
        Self {
            files: Arc::new(files),
            digest: Arc::default(),
        }
    }

    /// The files at these paths, which the operator names.
    ///
    /// # Errors
    /// When one cannot be read, as text.
    pub async fn read(paths: &[PathBuf]) -> Result<Self, String> {
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = tokio::fs::read(path).await;
            let bytes = bytes.map_err(|error| format!("the key file {} cannot be read: {error}", path.display()))?;
            files.push((path.display().to_string(), bytes));
        }
        Ok(Self::new(files))
    }

    /// The files: name and content.
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    /// What names this keyring.
    pub fn digest(&self) -> &Digest {
        self.digest.get_or_init(|| {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            for (name, bytes) in self.files.iter() {
                for part in [name.as_bytes(), bytes] {
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
            }
            hasher.finish()
        })
    }

    /// These keys and those.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        if more.files.is_empty() {
            return self.clone();
        }
        Self::new(self.files.iter().chain(more.files.iter()).cloned().collect())
    }
}
