//! The order of tags: by the version that they begin with, semantic or not.

use std::cmp::Ordering;

/// The numbers that a tag begins with, and what comes after them.
pub(super) fn version(tag: &str) -> (Vec<u64>, &str) {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let (mut numbers, mut rest) = (Vec::new(), text);
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let Ok(number) = number.parse() else { break };
        numbers.push(number);
        rest = after;
        match after.strip_prefix('.') {
            Some(more) if more.starts_with(|char: char| char.is_ascii_digit()) => rest = more,
            _ => break,
        }
    }
    (numbers, rest)
}

/// By version, the highest first; of one version, the one without a suffix first.
pub(super) fn newest_first(a: &str, b: &str) -> Ordering {
    let ((a_numbers, a_rest), (b_numbers, b_rest)) = (version(a), version(b));
    b_numbers
        .cmp(&a_numbers)
        .then_with(|| b_rest.is_empty().cmp(&a_rest.is_empty()))
        .then_with(|| natural(b_rest, a_rest))
        .then_with(|| a.cmp(b))
}

/// Compares texts so that numbers in them count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let order = if first.is_ascii_digit() && second.is_ascii_digit() {
            let ((left, a_rest), (right, b_rest)) = (a.split_at(digits(a)), b.split_at(digits(b)));
            (a, b) = (a_rest, b_rest);
            let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            left.len().cmp(&right.len()).then_with(|| left.cmp(right))
        } else {
            a = a.get(first.len_utf8()..).unwrap_or_default();
            b = b.get(second.len_utf8()..).unwrap_or_default();
            first.cmp(&second)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_ordered_as_people_would() {
        let mut sorted = vec!["1.2-alpine3.9", "1.2-alpine3.18", "1.2", "v2", "1.12", "1.2.1"];
        sorted.sort_by(|a, b| newest_first(a, b));
        assert_eq!(
            sorted,
            ["v2", "1.12", "1.2.1", "1.2", "1.2-alpine3.18", "1.2-alpine3.9"]
        );
    }
}
