//! The list of packages that distroless images of Mariner and Azure Linux have in place of a database: one package a line,
//! the fields of `rpm -qa` with a query format that the images' makers chose, separated by tabs.

use crate::rpm::database::{MAX_PACKAGES, Wrong};
use crate::rpm::header::Parts;
use crate::rpm::{Error, Head, Package};
use crate::version::Version;

/// Where it is.
pub const MANIFEST: &str = "var/lib/rpmmanifest/container-manifest-2";

/// The names of the same packages, as `rpm -qa` prints them.
pub const NAMES: &str = "var/lib/rpmmanifest/container-manifest-1";

/// What `rpm --queryformat` prints for a tag that a package has not.
const NONE: &str = "(none)";

/// Reads a manifest: name, version and release, time of installation, time of building, vendor, epoch, size, architecture,
/// epoch as a number, source package. `file` names it in errors.
///
/// # Errors
/// [`Error`] when a line has other fields, or a package what none can have; the number of the package is that of its line.
pub fn read_manifest(file: &str, bytes: &[u8]) -> Result<Vec<Package>, Error> {
    let mut packages = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        if line.is_empty() || line.starts_with("gpg-pubkey\t") {
            continue;
        }
        packages.push(package(&line).map_err(|wrong| wrong.at(file, index + 1))?);
        if packages.len() > MAX_PACKAGES {
            return Err(Error::TooMany { file: file.to_owned() });
        }
    }
    Ok(packages)
}

/// The line of a package of which only its file is known; `installed` is when its predecessor was installed.
#[must_use]
pub fn manifest_line(head: &Head, installed: &str) -> String {
    let Package {
        name,
        architecture,
        version,
        vendor,
        ..
    } = &head.package;
    let (epoch, rest) = split(version);
    let told = |text: &str| {
        if text.is_empty() {
            NONE.to_owned()
        } else {
            text.to_owned()
        }
    };
    // Nothing is installed before it was built.
    let installed = installed.parse().unwrap_or(0).max(head.built);
    [
        name.clone(),
        rest.to_owned(),
        installed.to_string(),
        head.built.to_string(),
        told(vendor.as_deref().unwrap_or_default()),
        told(epoch),
        head.size.to_string(),
        architecture.clone(),
        if epoch.is_empty() {
            "0".to_owned()
        } else {
            epoch.to_owned()
        },
        told(&head.source_rpm),
    ]
    .join("\t")
}

/// `name-version-release.architecture`.
#[must_use]
pub fn full_name(package: &Package) -> String {
    format!(
        "{}-{}.{}",
        package.name,
        split(&package.version).1,
        package.architecture
    )
}

/// Epoch, which may be empty, and the rest of a version.
fn split(version: &Version) -> (&str, &str) {
    version.as_str().split_once(':').unwrap_or(("", version.as_str()))
}

fn package(line: &str) -> Result<Package, Wrong> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().ok_or(Wrong::Text("its line has less than ten fields"));
    let (name, version_release) = (next()?, next()?);
    let (_installed, _built, vendor, _epoch) = (next()?, next()?, next()?, next()?);
    let (_size, architecture, epoch, source_rpm) = (next()?, next()?, next()?, next()?);
    let told = |text: &str| (text != NONE && !text.is_empty()).then(|| text.to_owned());
    let epoch = match told(epoch) {
        Some(text) => text.parse().map_err(|_| Wrong::Value("epoch", text))?,
        None => 0,
    };
    let parts = Parts {
        name: name.to_owned(),
        epoch,
        version_release: version_release.to_owned(),
        architecture: architecture.to_owned(),
        source_rpm: told(source_rpm),
        vendor: told(vendor),
        modularity: None,
    };
    parts.package()
}
