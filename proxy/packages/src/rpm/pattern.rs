//! Patterns of packages as dnf's options have them: a name, perhaps with version, release and architecture, with `*`, `?`
//! and `[...]` anywhere. Matched as fnmatch(3) does. An image may have many packages and many patterns that are made to take
//! long; there is a limit on all of that together.

use std::cell::Cell;

use crate::version::Version;

/// The longest pattern, in bytes, as long as a name may be; whoever reads patterns refuses longer ones.
pub(crate) const MAX_LENGTH: usize = 256;

/// The most steps that the patterns of one list take, about a second; an honest list needs a thousandth.
const MAX_STEPS: u64 = 200_000_000;

/// Some patterns. When they took too many steps, everything matches: what cannot be told is taken for excluded or held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    all: Vec<String>,
    steps: Cell<u64>,
}

impl Patterns {
    pub(crate) fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self {
            all: patterns.into_iter().collect(),
            steps: Cell::new(0),
        }
    }

    /// Whether a package is meant, in any of the forms that dnf takes for one.
    pub(crate) fn matches(&self, name: &str, architecture: &str, version: &Version) -> bool {
        if self.all.is_empty() {
            return false;
        }
        let (upstream, release) = (version.upstream(), version.release().unwrap_or_default());
        let epoch = version.epoch();
        let forms = [
            name.to_owned(),
            format!("{name}-{upstream}"),
            format!("{name}-{upstream}-{release}"),
            format!("{name}-{epoch}:{upstream}-{release}"),
        ];
        let with_architecture = forms.each_ref().map(|form| format!("{form}.{architecture}"));
        let mut all = forms.iter().chain(&with_architecture);
        let mut steps = self.steps.get();
        let found = all.any(|form| {
            let mut patterns = self.all.iter();
            patterns.any(|pattern| steps > MAX_STEPS || is_match(pattern.as_bytes(), form.as_bytes(), &mut steps))
        });
        self.steps.set(steps);
        found
    }
}

/// Whether a pattern matches all of a text. Adds the steps that it took.
fn is_match(pattern: &[u8], text: &[u8], steps: &mut u64) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Behind the last star: the pattern, and the text that it has not taken.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        // A set is read as a whole.
        *steps += if pattern.first() == Some(&b'[') {
            pattern.len() as u64
        } else {
            1
        };
        if let Some((b'*', rest)) = pattern.split_first() {
            (pattern, star) = (rest, Some((rest, text)));
            continue;
        }
        let Some((byte, behind)) = text.split_first() else {
            return pattern.is_empty();
        };
        if let Some(rest) = one(pattern, *byte) {
            (pattern, text) = (rest, behind);
        } else if let Some((after, [_, left @ ..])) = star {
            // The star takes one byte more.
            (pattern, text, star) = (after, left, Some((after, left)));
        } else {
            return false;
        }
    }
}

/// What is left of a pattern whose first element, which is no star, matches a byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [b'[', class @ ..] => match set(class, byte) {
            Some((is_in, rest)) => is_in.then_some(rest),
            None => (byte == b'[').then_some(class),
        },
        [own, rest @ ..] => (*own == byte).then_some(rest),
        [] => None,
    }
}

/// Whether a byte is in the set whose bracket was opened, and what is behind it; nothing when it is not closed.
fn set(class: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match class {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let (mut found, mut first) = (false, true);
    loop {
        let (low, after) = rest.split_first()?;
        if *low == b']' && !first {
            return Some((found != negated, after));
        }
        first = false;
        match after {
            // A range without end is what the C library takes for nothing, unlike a set without end.
            [b'-'] => return Some((false, &[])),
            [b'-', high, after @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                rest = after;
            }
            _ => {
                found |= *low == byte;
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::{Patterns, is_match};
    use crate::version::{Family, Version};

    /// Answers each line, a pattern and a text, with what the C library says.
    const SCRIPT: &str = "import ctypes, sys\nlibc = ctypes.CDLL(None)\nfor line in sys.stdin.buffer:\n  \
        print(int(libc.fnmatch(*line.rstrip(b'\\n').split(b' '), 0) == 0))";

    #[test]
    fn as_the_c_library() {
        let mut state = 7_u64;
        let mut text = |letters: &[u8]| {
            let mut next = |below: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(state >> 33).unwrap() % below
            };
            let length = next(9);
            (0..length)
                .map(|_| char::from(letters[next(letters.len())]))
                .collect::<String>()
        };
        let cases: Vec<(String, String)> = (0..20_000).map(|_| (text(b"ab-**?[]!^"), text(b"aabb-[]!"))).collect();
        let mut python = Command::new("python3");
        let python = python.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().expect("this test needs python3");
        let lines: String = cases
            .iter()
            .map(|(pattern, text)| format!("{pattern} {text}\n"))
            .collect();
        let mut input = python.stdin.take().unwrap();
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = python.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let expected = String::from_utf8(output.stdout).unwrap();
        let expected: Vec<bool> = expected.lines().map(|line| line == "1").collect();
        assert_eq!(expected.len(), cases.len());
        assert!(expected.iter().filter(|is| **is).count() > 500);
        for ((pattern, text), expected) in cases.iter().zip(expected) {
            assert_eq!(
                is_match(pattern.as_bytes(), text.as_bytes(), &mut 0),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn all_of_it_has_a_limit() {
        let began = Instant::now();
        let version = Version::parse(Family::Rpm, &format!("{}-1", "a".repeat(200))).unwrap();
        let name = "a".repeat(256);
        let slow = Patterns::new((0..1000).map(|_| format!("{}b", "*a".repeat(127))));
        let matches = (0..20_000).filter(|_| slow.matches(&name, "noarch", &version)).count();
        assert!(matches > 19_000 && matches < 20_000, "{matches}");
        let honest = Patterns::new((0..30).map(|number| format!("kernel-*{number}")));
        assert!((0..20_000).all(|_| !honest.matches(&name, "noarch", &version)));
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
