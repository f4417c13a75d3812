//! Versions: 20,000 pairs as `apk version` compares them, and as many texts as `apk version -c` checks them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use patchport_packages::{Family, Version};
use proptest::prelude::any;
use proptest::{prop_assert_eq, proptest};

use crate::kit::{self, Random, Root};

const PAIRS: usize = 20_000;

fn parse(text: &str) -> Option<Version> {
    Version::parse(Family::Apk, text).ok()
}

const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "2",
    "9",
    "10",
    "00",
    "01",
    "010",
    "09",
    "20240101",
    "18446744073709551616",
    "99999999999999999999999",
];
const SUFFIXES: [&str; 12] = [
    "_alpha", "_beta", "_pre", "_rc", "_cvs", "_svn", "_git", "_hg", "_p", "_p", "_rc", "_alpha",
];

/// A version that is right, of few different parts so that two often share a beginning.
fn generate(random: &mut Random) -> String {
    let mut text = random.one_of(&NUMBERS).to_owned();
    for _ in 0..random.below(4) {
        text = format!("{text}.{}", random.one_of(&NUMBERS));
    }
    if random.below(4) == 0 {
        text.push_str(random.one_of(&["a", "b", "p", "z"]));
    }
    for _ in 0..random.below(3) {
        text.push_str(random.one_of(&SUFFIXES));
        if random.below(2) == 0 {
            text.push_str(random.one_of(&NUMBERS));
        }
    }
    if random.below(6) == 0 {
        text = format!("{text}~{}", random.one_of(&["c0ffee", "c0", "d", "0", "00"]));
    }
    if random.below(2) == 0 {
        text = format!("{text}-r{}", random.one_of(&NUMBERS));
    }
    text
}

/// The version with one part taken out, put in or changed: often right, often not.
fn mutate(random: &mut Random, text: &str) -> String {
    let at = usize::try_from(random.below(text.len() as u64 + 1)).unwrap();
    let (before, after) = text.split_at(at);
    let change = random.one_of(&[
        "", ".", "0", "1", ".1", "_p", "_pre1", "~a", "-r1", "-r", "-", "_", "~", "a", "A", "_x", "+", ":", " ", "b2",
        "g",
    ]);
    let skip = usize::try_from(random.below(2)).unwrap().min(after.len());
    format!("{before}{change}{}", &after[skip..])
}

fn pair(random: &mut Random) -> (String, String) {
    let one = generate(random);
    let other = match random.below(4) {
        0 => generate(random),
        _ => (0..20)
            .map(|_| mutate(random, &one))
            .find(|text| parse(text).is_some())
            .unwrap_or_else(|| one.clone()),
    };
    if random.below(2) == 0 {
        (one, other)
    } else {
        (other, one)
    }
}

fn ours(one: &str, other: &str) -> Ordering {
    parse(one).unwrap().cmp(&parse(other).unwrap())
}

/// The places of the pairs whose first version the real apk finds older than the second: an image that has the first in
/// packages `p0`, `p1` and so on, and a repository that has the second.
fn older(pairs: &[(String, String)]) -> BTreeSet<usize> {
    let names: Vec<String> = (0..pairs.len()).map(|number| format!("p{number}")).collect();
    let offers = |version: fn(&(String, String)) -> &str| -> Vec<_> {
        names
            .iter()
            .zip(pairs)
            .map(|(name, pair)| (name.as_str(), version(pair), ""))
            .collect()
    };
    let root = Root::new(&offers(|pair| &pair.0), "");
    let url = root.offer("main", &offers(|pair| &pair.1));
    root.write("etc/apk/repositories", url.as_bytes());
    let said = root.apk(&["version", "--limit", "<"]);
    let numbers = said
        .lines()
        .filter_map(|line| line.strip_prefix('p')?.split_once('-')?.0.parse().ok());
    numbers.collect()
}

#[test]
fn versions_are_compared_as_by_apk() {
    let mut random = Random(1);
    let pairs: Vec<_> = (0..PAIRS).map(|_| pair(&mut random)).collect();
    let swapped: Vec<_> = pairs.iter().map(|(one, other)| (other.clone(), one.clone())).collect();
    let (less, greater) = (older(&pairs), older(&swapped));
    for (number, (one, other)) in pairs.iter().enumerate() {
        let theirs = match (less.contains(&number), greater.contains(&number)) {
            (true, _) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => Ordering::Equal,
        };
        assert_eq!(ours(one, other), theirs, "{one} {other}");
    }
    assert!(less.len() > PAIRS / 4 && greater.len() > PAIRS / 4);
}

/// The same, asked one by one, which takes some milliseconds each.
#[test]
fn some_versions_are_compared_as_by_apk_asked_for_them() {
    let mut random = Random(3);
    for _ in 0..500 {
        let (one, other) = pair(&mut random);
        let said = kit::said(&mut kit::apk(["version", "-t", &one, &other]));
        let theirs = match said.trim() {
            "<" => Ordering::Less,
            ">" => Ordering::Greater,
            _ => Ordering::Equal,
        };
        assert_eq!(ours(&one, &other), theirs, "{one} {other}");
    }
}

#[test]
fn versions_are_checked_as_by_apk() {
    let mut random = Random(2);
    let texts: Vec<String> = (0..PAIRS)
        .map(|_| {
            let mut text = generate(&mut random);
            for _ in 0..random.below(3) {
                text = mutate(&mut random, &text);
            }
            text
        })
        // An option to apk, not a version.
        .filter(|text| !text.is_empty() && !text.starts_with('-'))
        .collect();
    let mut refused = 0;
    for batch in texts.chunks(1000) {
        let mut command = kit::apk(["version", "-c", "--"]);
        let output = command.args(batch).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let wrong: Vec<&str> = batch
            .iter()
            .map(String::as_str)
            .filter(|text| parse(text).is_none())
            .collect();
        let said: Vec<&str> = output.lines().collect();
        let differ = said.iter().zip(&wrong).find(|(said, wrong)| said != wrong);
        assert!(said.len() == wrong.len() && differ.is_none(), "{differ:?}");
        refused += wrong.len();
    }
    assert!(
        (PAIRS / 10..PAIRS).contains(&refused),
        "{refused} of {PAIRS} are no versions"
    );
}

#[test]
fn parts_of_a_version() {
    let version = parse("1.2.3b_rc1~c0ffee-r4").unwrap();
    assert_eq!(
        (version.epoch(), version.upstream(), version.release()),
        (0, "1.2.3b_rc1~c0ffee", Some("4"))
    );
    let version = parse("1.2").unwrap();
    assert_eq!((version.upstream(), version.release()), ("1.2", None));
    let error = Version::parse(Family::Apk, "1.2-4").unwrap_err();
    assert_eq!(
        error.to_string(),
        "version \"1.2-4\" is not of the form that its package manager takes"
    );
}

proptest! {
    #[test]
    fn any_text_is_compared_or_refused(one in any::<String>(), other in "[0-9a-z._~r-]{1,30}") {
        let (one, other) = (parse(&one), parse(&other));
        if let (Some(one), Some(other)) = (one.or_else(|| parse("1")), other) {
            prop_assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
            prop_assert_eq!(other.cmp(&other), Ordering::Equal);
        }
    }
}
