//! What `etc/pacman.conf` keeps pacman from upgrading: the patterns of `IgnorePkg` (pacman.conf(5)). Files that it includes are not
//! read, and neither are groups, which only pacman's lists of repositories know.

/// Where pacman is told.
pub const CONFIGURATION: &str = "etc/pacman.conf";

/// More patterns are not read.
const MAX: usize = 1000;

/// The patterns of packages that are ignored, in all lines of the section `[options]`.
#[must_use]
pub fn ignored(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let (mut is_options, mut patterns) = (false, Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_options = section == "options";
        } else if is_options
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "IgnorePkg"
        {
            patterns.extend(value.split_whitespace().map(str::to_owned));
        }
    }
    patterns.truncate(MAX);
    patterns
}

/// Whether a name fits a pattern of the shell's with `*` and `?`; one with a set of letters fits what begins as it does.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let pattern = match pattern.split_once('[') {
        Some((start, _)) => format!("{start}*"),
        None => pattern.to_owned(),
    };
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Which lengths of the name the pattern so far fits.
    let mut reached = vec![false; name.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for symbol in pattern {
        let mut next = vec![false; name.len() + 1];
        let mut any = false;
        for (at, next) in next.iter_mut().enumerate() {
            let here = |at: usize| reached.get(at).copied().unwrap_or_default();
            any |= here(at);
            *next = match symbol {
                '*' => any,
                _ => at > 0 && here(at - 1) && (symbol == '?' || name.get(at - 1) == Some(&symbol)),
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{fits, ignored};

    #[test]
    fn only_the_options_count() {
        let text = b"# IgnorePkg = no\n[options]\nIgnorePkg = linux  glibc*\n IgnorePkg=icu\n[core]\nIgnorePkg = no\n";
        assert_eq!(ignored(text), ["linux", "glibc*", "icu"]);
    }

    #[test]
    fn patterns() {
        let cases = [
            ("linux", "linux", true),
            ("linux", "linux-lts", false),
            ("linux*", "linux-lts", true),
            ("l?b*", "lib32", true),
            ("*", "", true),
            ("?", "", false),
            ("ic[ux]", "icu", true),
            ("*-lts", "linux-lts", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
