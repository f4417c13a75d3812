//! patchport-kit
