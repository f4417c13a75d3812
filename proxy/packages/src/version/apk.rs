//! Versions of apk-tools, compared as its version 3 does: `1.2.3b_rc1_p2~c0ffee-r4`.
//! Nothing on the registry fits: `apk-version` is apk's own C code behind a foreign-function interface.

use std::cmp::Ordering;

use super::{Error, Version};

/// Checks a version.
///
/// apk-tools 2 takes less, and some that 3 does not: it knows no `~hash` before 2.14, refuses numbers of 18 digits and more, and
/// takes digits after the letter.
///
/// # Errors
/// [`Error`] when apk-tools 3 would refuse it.
pub(super) fn check(text: &str) -> Result<(), Error> {
    if parts(text).any(|part| part == Part::Malformed) {
        return Err(Error::Form(text.to_owned()));
    }
    Ok(())
}

/// Compares two versions that were checked.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    parts(one).cmp(parts(other))
}

impl Version {
    /// Compares as apk's operator `~` does: a version that goes on where `prefix` ends counts as equal. Both are apk's.
    pub(crate) fn compare_with_prefix(&self, prefix: &Self) -> Ordering {
        let mut ahead = parts(&self.text);
        for part in parts(&prefix.text).take_while(|part| *part != Part::End) {
            let order = ahead.next().unwrap_or(Part::End).cmp(&part);
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// A part of a version. The variants stand in the order in which apk puts versions that agree up to there and go on
/// differently: a pre-release comes before the version that ends, everything else after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// `_alpha`, `_beta`, `_pre`, `_rc`, by their place among them.
    Before(usize),
    /// There is no more.
    End,
    /// `-r1`.
    Revision(u64),
    /// `~c0ffee`, of which apk compares the text.
    Hash(&'a str),
    /// The number of a suffix: the `1` of `_rc1`.
    Number(u64),
    /// `_cvs`, `_svn`, `_git`, `_hg`, `_p`, by their place among them.
    After(usize),
    /// The one letter after the numbers.
    Letter(u8),
    /// A number after a dot that begins with zero: a decimal fraction, of which apk compares the text.
    Fraction(&'a str),
    /// Any other number after a dot.
    Component(u64),
    /// The first number; a zero before it means nothing.
    First(u64),
    /// What no version has. The last part.
    Malformed,
}

/// In apk's order; those that come before a release, and those that come after it.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// The parts of a version up to [`Part::End`] or [`Part::Malformed`], one of which is always the last.
fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    let mut last = None;
    std::iter::from_fn(move || {
        if matches!(last, Some(Part::End | Part::Malformed)) {
            return None;
        }
        let next = next(last, &mut rest).unwrap_or(Part::Malformed);
        last = Some(next);
        last
    })
}

/// Takes the next part off `rest`; nothing when none may stand there after the part `last`.
fn next<'a>(last: Option<Part<'a>>, rest: &mut &'a str) -> Option<Part<'a>> {
    let Some(last) = last else {
        return digits(rest).map(|first| Part::First(number(first)));
    };
    let Some(begin) = rest.chars().next() else {
        return Some(Part::End);
    };
    let in_numbers = matches!(last, Part::First(_) | Part::Component(_) | Part::Fraction(_));
    let in_suffixes = in_numbers
        || matches!(
            last,
            Part::Letter(_) | Part::Before(_) | Part::After(_) | Part::Number(_)
        );
    match begin {
        '0'..='9' if matches!(last, Part::Before(_) | Part::After(_)) => {
            digits(rest).map(|text| Part::Number(number(text)))
        }
        '.' if in_numbers => {
            *rest = rest.strip_prefix('.')?;
            let text = digits(rest)?;
            Some(if text.starts_with('0') {
                Part::Fraction(text)
            } else {
                Part::Component(number(text))
            })
        }
        'a'..='z' if in_numbers => {
            *rest = rest.strip_prefix(begin)?;
            u8::try_from(begin).ok().map(Part::Letter)
        }
        '_' if in_suffixes => {
            *rest = rest.strip_prefix('_')?;
            suffix(run(rest, |byte| byte.is_ascii_lowercase()))
        }
        '~' if in_suffixes => {
            *rest = rest.strip_prefix('~')?;
            let hash = run(rest, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            (!hash.is_empty()).then_some(Part::Hash(hash))
        }
        '-' if in_suffixes || matches!(last, Part::Hash(_)) => {
            *rest = rest.strip_prefix("-r")?;
            digits(rest).map(|text| Part::Revision(number(text)))
        }
        _ => None,
    }
}

fn suffix(name: &str) -> Option<Part<'static>> {
    let place = |names: &[&str]| names.iter().position(|known| *known == name);
    place(&BEFORE)
        .map(Part::Before)
        .or_else(|| place(&AFTER).map(Part::After))
}

/// Takes the bytes off `rest` that come first and fit.
fn run<'a>(rest: &mut &'a str, fits: fn(&u8) -> bool) -> &'a str {
    let length = rest.bytes().take_while(fits).count();
    let (taken, left) = rest.split_at_checked(length).unwrap_or((*rest, ""));
    *rest = left;
    taken
}

fn digits<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let digits = run(rest, u8::is_ascii_digit);
    (!digits.is_empty()).then_some(digits)
}

/// The value of digits, modulo 2^64 as in apk: a date with a time has 14 digits, so it wraps for nobody but an attacker.
fn number(digits: &str) -> u64 {
    let value = |byte: u8| u64::from(byte.wrapping_sub(b'0'));
    digits
        .bytes()
        .fold(0, |number: u64, byte| number.wrapping_mul(10).wrapping_add(value(byte)))
}
