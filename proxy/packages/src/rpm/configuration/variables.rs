//! The variables of repositories: `$releasever`, `$basearch`, `$arch` and those that files define, in the order of dnf.

use std::collections::BTreeMap;

use crate::layer::Files;
use crate::os_release::OsRelease;
use crate::rpm::configuration::{Error, list_files};

/// Where files define variables, each named for one; what comes later counts.
pub(crate) const DIRECTORIES: [&str; 3] = ["etc/zypp/vars.d", "etc/yum/vars", "etc/dnf/vars"];

/// The longest text that variables may make, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// Variables with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads the variables of an image. `release` is what the installed packages tell (see [`release`](crate::rpm::release()));
    /// where they tell nothing, os-release does: the whole `VERSION_ID`, or what stands before its dot where releases are
    /// numbered like Red Hat's.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be reached.
    pub fn read(files: &Files, os: &OsRelease, release: Option<&str>, architecture: &str) -> Result<Self, Error> {
        let mut variables = BTreeMap::new();
        let release = release.map_or_else(|| of_os(os), ToOwned::to_owned);
        let (major, minor) = release.split_once('.').unwrap_or((&release, ""));
        for (name, value) in [
            ("releasever_major", major),
            ("releasever_minor", minor),
            ("releasever", &release),
            ("arch", architecture),
            ("basearch", base(architecture)),
        ] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        for directory in DIRECTORIES {
            for (file, bytes) in list_files(files, directory)? {
                let name = file.rsplit('/').next().unwrap_or_default();
                let value = String::from_utf8_lossy(bytes);
                if name.bytes().all(is_of_name) && value.len() <= MAX_TEXT {
                    let value = value.lines().next().unwrap_or_default().trim();
                    variables.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        Ok(Self(variables))
    }

    /// The value of a variable.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A text with `$name` and `${name}` replaced; what is not defined stays, and so does what would be too long.
    #[must_use]
    pub fn substitute(&self, text: &str) -> String {
        let mut made = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            made.push_str(before);
            let (name, behind) = reference(after);
            match self.value(name).filter(|value| made.len() + value.len() <= MAX_TEXT) {
                Some(value) => {
                    made.push_str(value);
                    rest = behind;
                }
                None => {
                    made.push('$');
                    rest = after;
                }
            }
        }
        made + rest
    }
}

/// The name that stands behind a dollar, empty when there is none, and what follows it.
fn reference(text: &str) -> (&str, &str) {
    if let Some((name, behind)) = text.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        return (name, behind);
    }
    let end = text.bytes().position(|byte| !is_of_name(byte)).unwrap_or(text.len());
    text.split_at(end)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn of_os(os: &OsRelease) -> String {
    let version = os.version_id.clone().unwrap_or_default();
    let is_like = |id: &str| os.id == id || os.id_like.iter().any(|like| like == id);
    match version.split_once('.') {
        Some((major, _)) if is_like("rhel") || is_like("centos") || os.id == "ol" => major.to_owned(),
        _ => version,
    }
}

/// The architecture for which repositories are made, which the machine's own is a variant of.
pub(crate) fn base(architecture: &str) -> &str {
    match architecture {
        "i386" | "i486" | "i586" | "i686" | "athlon" | "geode" => "i386",
        "x86_64" | "amd64" | "ia32e" | "x86_64_v2" | "x86_64_v3" | "x86_64_v4" => "x86_64",
        "armv7hl" | "armv7hnl" | "armv8hl" => "armhfp",
        "armv5tel" | "armv6l" | "armv7l" => "arm",
        other => other,
    }
}
