//! Python's `METADATA` and `PKG-INFO`: headers of a message (Python packaging, "Core metadata specifications").

use super::{Broken, Told, word};

pub(super) fn read(bytes: &[u8]) -> Result<Told, Broken> {
    let name = header(bytes, "name").ok_or(Broken::Missing("name"))?;
    let version = header(bytes, "version").ok_or(Broken::Missing("version"))?;
    Ok(vec![(word("name", &name)?, word("version", &version)?)])
}

/// The first header of that name. Lines that begin with white space go on with the header before.
fn header(bytes: &[u8], name: &str) -> Option<String> {
    bytes.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (key, value) = line.split_at_checked(colon)?;
        let found = key.eq_ignore_ascii_case(name.as_bytes());
        found.then(|| String::from_utf8_lossy(value.get(1..).unwrap_or_default()).into_owned())
    })
}
