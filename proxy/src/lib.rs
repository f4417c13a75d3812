//! patchport
