//! `package.json` of an installed package.

use serde_json::Value;

use super::{Broken, Told, word};
use crate::layer::NodePackage;

/// Nothing when it has no name or no version: then it only says how to load the files beside it.
pub(super) fn read(bytes: &[u8]) -> Result<Told, Broken> {
    let package: NodePackage = serde_json::from_slice(bytes).map_err(|_| Broken::Json)?;
    let (Some(Value::String(name)), Some(Value::String(version))) = (package.name, package.version) else {
        return Ok(Vec::new());
    };
    Ok(vec![(word("name", &name)?, word("version", &version)?)])
}
