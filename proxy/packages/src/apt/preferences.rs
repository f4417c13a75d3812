//! Pins, apt_preferences(5): which versions of which packages have which priority.
//! A pin that is not understood is an error: to leave one out could upgrade what somebody wanted to stay.

use serde::{Deserialize, Serialize};

use super::Error;
use super::stanza::{self, Stanza};

/// `Pin-Priority: never`.
pub(super) const NEVER: i16 = i16::MIN;

/// More pins than any image has.
const MAX_PINS: usize = 10_000;

/// One record of preferences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Names or globs of binary packages, `src:` in front for source packages, each perhaps with `:ARCHITECTURE`;
    /// empty: all packages (`Package: *`), which is less than any name.
    pub packages: Vec<String>,
    /// Which versions are meant.
    pub of: Pinned,
    /// Their priority.
    pub priority: i16,
}

/// Which versions a pin means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pinned {
    /// Versions that match a glob.
    Version(String),
    /// What comes from a host; a glob.
    Host(String),
    /// What a release with all these properties offers.
    Release(Vec<(Property, String)>),
}

/// A property of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// `a=`: its `Suite`.
    Archive,
    /// `n=`: its `Codename`.
    Codename,
    /// `o=`: its `Origin`.
    Origin,
    /// `l=`: its `Label`.
    Label,
    /// `v=`: its `Version`.
    Version,
    /// `c=`: the component.
    Component,
    /// `b=`: the architecture.
    Architecture,
    /// A single word: `Suite`, `Codename` or `Version`, as for a default release.
    Any,
}

/// Reads a file of preferences.
pub(super) fn read(file: &str, text: &[u8], pins: &mut Vec<Pin>) -> Result<(), Error> {
    for stanza in stanza::read(file, text)? {
        // A record of comments only.
        if stanza
            .fields
            .iter()
            .all(|field| field.name.eq_ignore_ascii_case("Explanation"))
        {
            continue;
        }
        pins.extend(pin(&stanza).map_err(|what| Error::syntax(file, stanza.line, what))?);
        if pins.len() > MAX_PINS {
            return Err(Error::too_many("pins", MAX_PINS as u64));
        }
    }
    Ok(())
}

/// A record; nothing when apt passes over it.
fn pin(stanza: &Stanza) -> Result<Option<Pin>, String> {
    let packages = stanza
        .value("Package")
        .filter(|value| !value.is_empty())
        .ok_or("no Package")?;
    let Some(of) = stanza.value("Pin") else {
        return Ok(None);
    };
    let priority = stanza.value("Pin-Priority").ok_or("no Pin-Priority")?;
    let packages: Vec<String> = match packages {
        "*" => Vec::new(),
        names => names.split_ascii_whitespace().map(ToOwned::to_owned).collect(),
    };
    if packages
        .iter()
        .any(|name| is_expression(name.strip_prefix("src:").unwrap_or(name)))
    {
        return Err("a regular expression as Package".to_owned());
    }
    let priority = match priority {
        "never" => NEVER,
        number => number.parse().map_err(|_| "Pin-Priority is no number of 16 bits")?,
    };
    if priority == 0 {
        return Err("Pin-Priority is zero".to_owned());
    }
    let of = pinned(of)?;
    // apt does not take a version for all packages, and says so.
    let passed_over = packages.is_empty() && matches!(of, Pinned::Version(_));
    Ok((!passed_over).then_some(Pin { packages, of, priority }))
}

fn pinned(text: &str) -> Result<Pinned, String> {
    let (kind, data) = text.split_once([' ', '\t']).ok_or("Pin has one word only")?;
    let data = data.trim();
    let unquoted = data.trim_matches('"').to_owned();
    if is_expression(&unquoted) {
        return Err("a regular expression in Pin".to_owned());
    }
    match kind.to_ascii_lowercase().as_str() {
        "version" => Ok(Pinned::Version(unquoted)),
        "origin" => Ok(Pinned::Host(unquoted)),
        "release" => release(data).map(Pinned::Release),
        _ => Err("Pin is neither version, origin nor release".to_owned()),
    }
}

/// `a=stable, c=main`, or the one word of a default release.
pub(super) fn release(text: &str) -> Result<Vec<(Property, String)>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.ends_with('='));
    let property = |part: &str| {
        let Some((name, value)) = part.split_once('=') else {
            return Ok((Property::Any, part.to_owned()));
        };
        let property = match name.trim() {
            "a" => Property::Archive,
            "n" => Property::Codename,
            "o" => Property::Origin,
            "l" => Property::Label,
            "v" => Property::Version,
            "c" => Property::Component,
            "b" => Property::Architecture,
            _ => return Err("a property of releases that is not known".to_owned()),
        };
        let value = value.trim().trim_matches('"');
        if is_expression(value) {
            return Err("a regular expression in Pin".to_owned());
        }
        Ok((property, value.to_owned()))
    };
    parts.map(property).collect()
}

/// Whether apt takes this for a regular expression.
fn is_expression(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && text.ends_with('/')
}

/// Whether a text matches a glob of apt (fnmatch(3), whatever the case of ASCII letters): `*`, `?`, `[set]`.
pub(super) fn matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t) = (0, 0);
    // Where the last star was, and where what it eats ends.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, t));
            g += 1;
        } else if let Some(after) = matches_one(glob, g, *byte) {
            (g, t) = (after, t + 1);
        } else if let Some((at, end)) = star {
            star = Some((at, end + 1));
            (g, t) = (at + 1, end + 1);
        } else {
            return false;
        }
    }
    glob.get(g..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// Where the glob goes on when its part at `at` matches `byte`.
fn matches_one(glob: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *glob.get(at)? {
        b'?' => Some(at + 1),
        b'[' => {
            let set = glob.get(at + 1..)?;
            let negated = matches!(set.first(), Some(b'!' | b'^'));
            let from = usize::from(negated);
            let Some(end) = (from + 1..set.len()).find(|index| set.get(*index) == Some(&b']')) else {
                return (byte == b'[').then_some(at + 1);
            };
            let inside = in_set(set.get(from..end).unwrap_or_default(), byte);
            (inside != negated).then_some(at + 1 + end + 1)
        }
        b'\\' if glob.get(at + 1) == Some(&byte) => Some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let ranges = set
        .windows(3)
        .any(|three| matches!(three, [from, b'-', to] if (*from..=*to).contains(&byte)));
    ranges || set.contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let cases = [
            ("*", "", true),
            ("*", "any", true),
            ("lib*", "libc6", true),
            ("lib*", "bash", false),
            ("5.1*", "5.10-1", true),
            ("debian*", "Debian-Security", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[ab", "[ab", true),
            ("*a*b", "xaybb", true),
            ("*a*b", "xayb-", false),
        ];
        for (glob, text, expected) in cases {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn records() {
        let mut pins = Vec::new();
        let text = "Explanation: why\nPackage: *\nPin: release a=stable, n=bookworm,c=main\nPin-Priority: -10\n\n# no\n\n\
                    Explanation: alone\n\nPackage: bash src:glibc\nPin: version 5.1*\nPin-Priority: 1001\n\n\
                    Package: x*\nPin: origin \"deb.example.org\"\nPin-Priority: 900\n";
        read("p", text.as_bytes(), &mut pins).unwrap();
        let release = [
            (Property::Archive, "stable"),
            (Property::Codename, "bookworm"),
            (Property::Component, "main"),
        ];
        let release = release.map(|(property, value)| (property, value.to_owned())).to_vec();
        let pin = |packages: &[&str], of, priority| Pin {
            packages: packages.iter().map(ToString::to_string).collect(),
            of,
            priority,
        };
        let expected = [
            pin(&[], Pinned::Release(release), -10),
            pin(&["bash", "src:glibc"], Pinned::Version("5.1*".to_owned()), 1001),
            pin(&["x*"], Pinned::Host("deb.example.org".to_owned()), 900),
        ];
        assert_eq!(pins, expected);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let cases = [
            "Package: /x/\nPin: version 1\nPin-Priority: 1",
            "Package: x\nPin: version /1/\nPin-Priority: 1",
            "Package: x\nPin: release z=1\nPin-Priority: 1",
            "Package: x\nPin: height 1\nPin-Priority: 1",
            "Package: x\nPin: version 1\nPin-Priority: high",
            "Package: x\nPin: version 1",
            "Package: x\nPin: version 1\nPin-Priority: 0",
        ];
        for case in cases {
            assert!(read("p", case.as_bytes(), &mut Vec::new()).is_err(), "{case}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(glob in r"[\]a*?!^\\\[ü\-]{0,20}", text in r"[\]a*\\\[ü\-]{0,20}") {
            matches(&glob, &text);
            let _ = read("p", glob.as_bytes(), &mut Vec::new());
        }
    }
}
