//! Versions of pacman, compared as `vercmp` of libalpm does: `[epoch:]version[-release]`, in runs of digits and of letters.
//! It is rpm's way of long ago: no tilde and no caret, but the number of separators counts.

use std::cmp::Ordering;

use super::Error;

/// Checks a version. libalpm takes any text; what cannot be the name of a folder in its database is refused here.
///
/// # Errors
/// [`Error`] for an empty version or release, and for anything but visible ASCII, and for slashes.
pub(super) fn check(text: &str) -> Result<(), Error> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        return Err(Error::Character(text.to_owned()));
    }
    let (_, version, release) = split(text);
    if version.is_empty() || release.is_some_and(str::is_empty) {
        return Err(Error::Empty(text.to_owned()));
    }
    Ok(())
}

/// Compares two versions that were checked. A release counts only where both have one.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (split(one), split(other));
    let releases = || {
        one.2
            .zip(other.2)
            .map_or(Ordering::Equal, |(one, other)| compare_runs(one, other))
    };
    compare_runs(one.0, other.0)
        .then_with(|| compare_runs(one.1, other.1))
        .then_with(releases)
}

/// Epoch (`0` where there is none), version and release. An epoch has nothing but digits.
fn split(text: &str) -> (&str, &str, Option<&str>) {
    let epoch = text.split_once(':');
    let epoch = epoch.filter(|(epoch, _)| epoch.bytes().all(|byte| byte.is_ascii_digit()));
    let (epoch, rest) = epoch.unwrap_or(("0", text));
    let epoch = if epoch.is_empty() { "0" } else { epoch };
    match rest.rsplit_once('-') {
        Some((version, release)) => (epoch, version, Some(release)),
        None => (epoch, rest, None),
    }
}

/// Compares run by run: digits by their number, letters by their text.
fn compare_runs(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    // What is the same is equal, even where the rest would not say so.
    while one != other {
        if one.is_empty() || other.is_empty() {
            return compare_rests(one, other);
        }
        let (gap, after) = take(one, |byte| !byte.is_ascii_alphanumeric());
        let (other_gap, other_after) = take(other, |byte| !byte.is_ascii_alphanumeric());
        if after.is_empty() || other_after.is_empty() {
            return compare_rests(after, other_after);
        }
        if gap.len() != other_gap.len() {
            return gap.len().cmp(&other_gap.len());
        }
        let is_number = after.starts_with(|first: char| first.is_ascii_digit());
        let kind: fn(&u8) -> bool = if is_number {
            u8::is_ascii_digit
        } else {
            u8::is_ascii_alphabetic
        };
        let ((run, rest), (other_run, other_rest)) = (take(after, kind), take(other_after, kind));
        let order = match (is_number, other_run.is_empty()) {
            // A number is newer than letters.
            (true, true) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, false) => compare_numbers(run, other_run),
            (false, false) => run.cmp(other_run),
        };
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

/// What is left when at least one has ended: letters make a version older (`1.0rc` before `1.0`), anything else newer.
fn compare_rests(one: &str, other: &str) -> Ordering {
    let is_alphabetic = |text: &str| text.starts_with(|first: char| first.is_ascii_alphabetic());
    match (one.is_empty(), other.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) if !is_alphabetic(other) => Ordering::Less,
        _ if is_alphabetic(one) => Ordering::Less,
        _ => Ordering::Greater,
    }
}

fn compare_numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// Splits a text after the bytes that come first and fit.
fn take(text: &str, fits: fn(&u8) -> bool) -> (&str, &str) {
    let length = text.bytes().take_while(fits).count();
    text.split_at_checked(length).unwrap_or((text, ""))
}
