//! patchport-buildkit
