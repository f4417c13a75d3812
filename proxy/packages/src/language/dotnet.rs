//! .NET's `*.deps.json`: the libraries of an application, of which those of type `package` come from NuGet.

use serde_json::Value;

use super::{Broken, Told, word};
use crate::layer::DotnetDeps;

pub(super) fn read(bytes: &[u8]) -> Result<Told, Broken> {
    let deps: DotnetDeps = serde_json::from_slice(bytes).map_err(|_| Broken::Json)?;
    let packages = deps
        .libraries
        .iter()
        .filter(|(_, library)| matches!(&library.kind, Some(Value::String(kind)) if kind == "package"));
    packages
        .map(|(library, _)| {
            let (name, version) = library.split_once('/').ok_or(Broken::Missing("version"))?;
            Ok((word("name", name)?, word("version", version)?))
        })
        .collect()
}
