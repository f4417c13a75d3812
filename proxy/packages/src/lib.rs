//! patchport-packages
