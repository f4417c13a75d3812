//! Which release of its distribution an image is, as dnf tells `$releasever`: by the package that provides one of six names.

use serde::{Deserialize, Serialize};

use crate::rpm::Package;
use crate::rpm::bytes::Bytes;

/// The names, the one that counts most first.
const NAMES: [&str; 6] = [
    "system-release(releasever)",
    "system-release",
    "distribution-release(releasever)",
    "distribution-release",
    "redhat-release",
    "suse-release",
];

/// The only relation to a version that counts: that it is this one.
const EQUAL: u32 = 8;

/// The longest release that is taken, in bytes.
const MAX_LENGTH: usize = 64;

/// What a package says the distribution's release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// How much its word counts; zero is the most.
    pub rank: usize,
    /// The release, such as `9` or `2023.4.20240416`.
    pub version: String,
}

/// The release by the package whose word counts most, the first one of several; what `$releasever` is worth for dnf.
#[must_use]
pub fn release(packages: &[Package]) -> Option<&str> {
    let releases = packages.iter().filter_map(|package| package.release.as_ref());
    let best = releases.min_by_key(|release| release.rank);
    best.map(|release| release.version.as_str())
}

/// A name that a package provides, and the version that it has.
pub(crate) struct Provided {
    rank: usize,
    version: Option<String>,
}

/// What a package provides of our names; the places of names, versions and flags are those of arrays in the store.
pub(crate) fn provided(store: Bytes<'_>, [names, versions, flags]: [Option<(usize, usize)>; 3]) -> Option<Provided> {
    let rank = |name: &[u8]| NAMES.iter().position(|known| known.as_bytes() == name);
    let found = strings(store, names?).enumerate();
    let found = found.filter_map(|(index, name)| Some((rank(name)?, index)));
    let (rank, index) = found.min()?;
    let flag = flags
        .filter(|(_, count)| index < *count)
        .and_then(|(start, _)| store.u32(start.checked_add(index.checked_mul(4)?)?));
    let version = versions.and_then(|place| strings(store, place).nth(index));
    let version = version.filter(|version| flag == Some(EQUAL) && is_release(version));
    Some(Provided {
        rank,
        version: version.map(|version| String::from_utf8_lossy(version).into_owned()),
    })
}

impl Provided {
    /// What that makes of the package that provides it.
    pub(crate) fn release(self, package: &Package) -> Release {
        let named = NAMES.get(self.rank).is_some_and(|name| *name == package.name);
        let own = || package.version.upstream().to_owned();
        Release {
            rank: self.rank,
            version: self.version.filter(|_| !named).unwrap_or_else(own),
        }
    }
}

/// The texts of an array.
fn strings<'a>(store: Bytes<'a>, (start, count): (usize, usize)) -> impl Iterator<Item = &'a [u8]> {
    let rest = store.bytes.get(start..).unwrap_or_default();
    rest.split(|byte| *byte == 0).take(count)
}

fn is_release(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+~^-:".contains(byte);
    (1..=MAX_LENGTH).contains(&text.len()) && text.iter().all(plain)
}
