//! rpm's versions against the real rpm, on thousands of made pairs.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::process::Command;

use patchport_packages::{Family, Version};

const PAIRS: usize = 20_000;

fn rpm(text: &str) -> Version {
    Version::parse(Family::Rpm, text).unwrap()
}

/// A deterministic source of choices (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn of(&mut self, words: &[&'static str]) -> &'static str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }

    fn part(&mut self) -> String {
        let words = [
            "0",
            "1",
            "2",
            "9",
            "10",
            "00",
            "01",
            "007",
            "100",
            "a",
            "b",
            "A",
            "Z",
            "rc",
            "rc1",
            "el9",
            "el9_2",
            "fc40",
            "git",
            "git20240101",
            "99999999999999999999999999",
            "20240229123456",
            "1a",
            "a1",
            "alpha",
            "beta2",
            "module",
            "x86",
        ];
        let between = [
            ".", ".", ".", ".", "_", "+", "~", "^", "~~", "^^", "..", "._", "", "~^", "^~",
        ];
        let mut part = self.of(&["", "", "", "", "", "", "~", "^", ".", "_"]).to_owned();
        part.push_str(self.of(&words));
        for _ in 0..self.below(4) {
            part.push_str(self.of(&between));
            part.push_str(self.of(&words));
        }
        part.push_str(self.of(&["", "", "", "", "", "", "~", "^", ".", "+"]));
        part
    }

    fn version(&mut self) -> String {
        let epoch = self.of(&["", "", "", "", "0:", "1:", "2:", "10:", "01:"]);
        let release = if self.below(8) == 0 {
            String::new()
        } else {
            format!("-{}", self.part())
        };
        format!("{epoch}{}{release}", self.part())
    }

    /// Like `version`, with little changed, for otherwise nearly all pairs differ in their first digit.
    fn near(&mut self, version: &str) -> String {
        let (words, at) = (
            ["", "0", "1", "a", ".", "~", "^", "+"],
            self.below(version.len() as u64 + 1),
        );
        let (before, after) = version.split_at(usize::try_from(at).unwrap());
        let dropped = after.get(usize::try_from(self.below(2)).unwrap()..).unwrap_or_default();
        format!("{before}{}{dropped}", self.of(&words))
    }
}

fn pairs() -> Vec<(String, String)> {
    let mut dice = Dice(20_260_101);
    let mut pairs = Vec::new();
    while pairs.len() < PAIRS {
        let one = dice.version();
        let other = if dice.below(3) == 0 {
            dice.version()
        } else {
            dice.near(&one)
        };
        if Version::parse(Family::Rpm, &other).is_ok() {
            pairs.push((one, other));
        }
    }
    pairs
}

/// What rpm says of each pair, all in one process.
fn real(pairs: &[(String, String)]) -> Vec<Ordering> {
    let mut script = String::new();
    for (one, other) in pairs {
        writeln!(script, "io.stdout:write(rpm.vercmp('{one}', '{other}'), '\\n')").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compare.lua");
    std::fs::write(&file, script).unwrap();
    let output = Command::new("rpm")
        .args(["--eval", &format!("%{{lua:dofile('{}')}}", file.display())])
        .output();
    let output = output.expect("this test needs rpm: tests/tools/install bed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let words = String::from_utf8(output.stdout).unwrap();
    words
        .split_whitespace()
        .map(|word| word.parse::<i8>().unwrap().cmp(&0))
        .collect()
}

#[test]
fn order_as_rpm_does() {
    let pairs = pairs();
    let mut seen = [0_usize; 3];
    let expected = real(&pairs);
    assert_eq!(expected.len(), pairs.len());
    for ((one, other), expected) in pairs.iter().zip(expected) {
        assert_eq!(rpm(one).cmp(&rpm(other)), expected, "{one} {other}");
        assert_eq!(rpm(other).cmp(&rpm(one)), expected.reverse(), "{other} {one}");
        seen[usize::try_from(expected as i8 + 1).unwrap()] += 1;
    }
    assert!(
        seen.iter().all(|count| *count > PAIRS / 50),
        "one-sided pairs: {seen:?}"
    );
}

#[test]
fn what_is_a_version() {
    let table = [
        ("1", true),
        ("1.0-1.el9", true),
        ("0:1.0-1", true),
        ("2147483647:1^git1~rc2-1", true),
        ("1.0_2+3-4", true),
        ("2147483648:1-1", false),
        ("-1:1-1", false),
        (":1-1", false),
        ("a:1-1", false),
        ("1:2:3-1", false),
        ("1-2-3", false),
        ("1-", false),
        ("-1", false),
        ("1.0-1%{dist}", false),
        ("1.0 -1", false),
        ("1.0\n-1", false),
        ("1.0-é", false),
        ("", false),
    ];
    for (text, good) in table {
        assert_eq!(Version::parse(Family::Rpm, text).is_ok(), good, "{text:?}");
    }
    let version = rpm("3:1.2~rc1-4.el9");
    assert_eq!(
        (version.epoch(), version.upstream(), version.release()),
        (3, "1.2~rc1", Some("4.el9"))
    );
    assert_eq!(rpm("0:1-1"), rpm("1-1"));
    assert!(rpm("1") < rpm("1-1") && rpm("1~rc1-9") < rpm("1-1") && rpm("1-1") < rpm("1^git-1"));
}
