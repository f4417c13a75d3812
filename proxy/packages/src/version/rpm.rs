//! rpm's versions, `[epoch:]version[-release]`, compared as rpm itself does (rpm-version(7), `rpmvercmp`).
//! `rpm-version` compares; what stands here refuses what rpm's headers cannot hold.

use std::cmp::Ordering;

use super::Error;
use super::deb::split;

/// The largest epoch that is taken; rpm's own field has one more bit, which nobody uses.
const MAX_EPOCH: u32 = i32::MAX.unsigned_abs();

/// Checks a version. The release may be missing, as in the versions of dependencies and advisories.
///
/// # Errors
/// [`Error`] when rpm would not build a package with it.
pub(super) fn check(text: &str) -> Result<(), Error> {
    let (epoch, version, release) = split(text);
    let allowed = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+~^".contains(&byte))
    };
    // A dash that is left is in the version, a colon in either.
    if !allowed(version) || !release.is_none_or(allowed) {
        return Err(Error::Character(text.to_owned()));
    }
    let digits = |epoch: &str| epoch.bytes().all(|byte| byte.is_ascii_digit());
    if epoch.is_some_and(|epoch| !digits(epoch) || epoch.parse().ok().is_none_or(|number: u32| number > MAX_EPOCH)) {
        return Err(Error::Epoch(text.to_owned()));
    }
    if version.is_empty() || release.is_some_and(str::is_empty) {
        return Err(Error::Empty(text.to_owned()));
    }
    Ok(())
}

/// Compares two versions that were checked: epoch, version, release. A missing epoch is zero; a missing release is before
/// any other, as rpm orders whole versions (a dependency without a release matches all of them; that is another question).
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    rpm_version::rpm_evr_compare(one, other)
}
