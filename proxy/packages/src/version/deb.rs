//! Debian's versions, compared as `dpkg --compare-versions` does (Debian Policy 5.6.12).
//! `debversion` compares; what stands here keeps hostile texts and two of its deviations away from it.

use std::cmp::Ordering;

use super::Error;

/// The largest epoch that dpkg knows.
const MAX_EPOCH: u32 = i32::MAX.unsigned_abs();

/// Checks a version.
///
/// # Errors
/// [`Error`] when dpkg would refuse it.
pub(super) fn check(text: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+:~_-".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err(Error::Character(text.to_owned()));
    }
    let (epoch, upstream, revision) = split(text);
    let digits = |epoch: &str| epoch.bytes().all(|byte| byte.is_ascii_digit());
    if epoch.is_some_and(|epoch| !digits(epoch) || epoch.parse().ok().is_none_or(|number: u32| number > MAX_EPOCH)) {
        return Err(Error::Epoch(text.to_owned()));
    }
    if upstream.is_empty() || revision.is_some_and(str::is_empty) {
        return Err(Error::Empty(text.to_owned()));
    }
    Ok(())
}

/// Compares two versions that were checked.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    canonical(one).cmp(&canonical(other))
}

fn canonical(text: &str) -> debversion::Version {
    let (epoch, upstream, revision) = split(text);
    debversion::Version {
        epoch: epoch.and_then(|epoch| epoch.parse().ok()),
        upstream_version: with_final_digit(upstream),
        debian_revision: revision.map(with_final_digit),
    }
}

/// Epoch, upstream's version and revision, as far as each is there.
pub(super) fn split(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (epoch, rest) = text
        .split_once(':')
        .map_or((None, text), |(epoch, rest)| (Some(epoch), rest));
    let (upstream, revision) = rest
        .rsplit_once('-')
        .map_or((rest, None), |(upstream, revision)| (upstream, Some(revision)));
    (epoch, upstream, revision)
}

/// Policy counts an empty run of digits as zero, so `1.a` equals `1.a0`; `debversion` 0.5 orders it before
/// zero. Only the last run can be empty, so one digit closes the gap.
fn with_final_digit(part: &str) -> String {
    let closed = part.ends_with(|last: char| last.is_ascii_digit());
    format!("{part}{}", if closed { "" } else { "0" })
}
