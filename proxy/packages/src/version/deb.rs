//! Debian's versions, compared as `dpkg --compare-versions` does (Debian Policy 5.6.12).
//! Without an allocation: ten thousand images are judged anew in a second, and most of that is comparing. The crate `debversion`
//! makes four strings of each comparison, and numbers of digits however many there are.

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
    let (one, other) = (split(one), split(other));
    let epoch = |epoch: Option<&str>| epoch.map_or(0, |epoch| epoch.parse().unwrap_or(u32::MAX));
    epoch(one.0)
        .cmp(&epoch(other.0))
        .then_with(|| compare_parts(one.1, other.1))
        .then_with(|| compare_parts(one.2.unwrap_or_default(), other.2.unwrap_or_default()))
}

/// Compares upstream's versions, or revisions: by turns what is no number, then a number, of which an empty one is zero.
fn compare_parts(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !(one.is_empty() && other.is_empty()) {
        let (one_words, other_words) = (words(&mut one), words(&mut other));
        let length = one_words.len().max(other_words.len());
        let differ = (0..length).map(|at| rank(one_words.get(at)).cmp(&rank(other_words.get(at))));
        let (one_number, other_number) = (number(&mut one), number(&mut other));
        // Without their leading zeros the longer number is the larger one.
        let ordering = differ
            .into_iter()
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
            .then_with(|| one_number.len().cmp(&other_number.len()))
            .then_with(|| one_number.cmp(other_number));
        if ordering.is_ne() {
            return ordering;
        }
    }
    Ordering::Equal
}

/// Takes what is no digit from the front.
fn words<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    take(text, |byte| !byte.is_ascii_digit())
}

/// Takes digits from the front; without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    take(text, |byte| *byte == b'0');
    take(text, u8::is_ascii_digit)
}

fn take<'a>(text: &mut &'a [u8], is_part: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let (part, rest) = text.split_at(end);
    *text = rest;
    part
}

/// The order of what is no digit: a tilde before the end of the part, that before letters, those before the rest.
fn rank(byte: Option<&u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        None => 1,
        Some(letter) if letter.is_ascii_alphabetic() => 2 + u16::from(*letter),
        Some(other) => 2 + 256 + u16::from(*other),
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
