//! patchport-oci
