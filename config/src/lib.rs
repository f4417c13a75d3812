//! patchport-config
