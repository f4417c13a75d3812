//! When a release of a distribution is no longer maintained: by its own word, else by a table.
//!
//! The table has public dates of free support, the latest where a distribution gives several. A release that is not in it is never
//! called old.

use jiff::civil::{Date, date};

use crate::os_release::OsRelease;

/// Releases: the distribution's `ID`, what its `VERSION_ID` is or begins with before a dot, and the last day of support.
const ENDS: &[(&str, &str, Date)] = &[
    ("almalinux", "8", date(2029, 5, 31)),
    ("almalinux", "9", date(2032, 5, 31)),
    ("alpine", "3.15", date(2023, 11, 1)),
    ("alpine", "3.16", date(2024, 5, 23)),
    ("alpine", "3.17", date(2024, 11, 22)),
    ("alpine", "3.18", date(2025, 5, 9)),
    ("alpine", "3.19", date(2025, 11, 1)),
    ("alpine", "3.20", date(2026, 4, 1)),
    ("alpine", "3.21", date(2026, 11, 1)),
    ("alpine", "3.22", date(2027, 5, 1)),
    ("alpine", "3.23", date(2027, 11, 1)),
    ("amzn", "2", date(2026, 6, 30)),
    ("amzn", "2018.03", date(2023, 12, 31)),
    ("amzn", "2023", date(2029, 6, 30)),
    ("centos", "6", date(2020, 11, 30)),
    ("centos", "7", date(2024, 6, 30)),
    ("centos", "8", date(2024, 5, 31)),
    ("centos", "9", date(2027, 5, 31)),
    ("debian", "8", date(2020, 6, 30)),
    ("debian", "9", date(2022, 6, 30)),
    ("debian", "10", date(2024, 6, 30)),
    ("debian", "11", date(2026, 8, 31)),
    ("debian", "12", date(2028, 6, 30)),
    ("debian", "13", date(2030, 6, 30)),
    ("mariner", "1", date(2023, 7, 31)),
    ("mariner", "2", date(2025, 7, 31)),
    ("ol", "7", date(2024, 12, 31)),
    ("ol", "8", date(2029, 7, 31)),
    ("ol", "9", date(2032, 6, 30)),
    ("opensuse-leap", "15.4", date(2023, 12, 7)),
    ("opensuse-leap", "15.5", date(2024, 12, 31)),
    ("opensuse-leap", "15.6", date(2026, 4, 30)),
    ("rhel", "6", date(2020, 11, 30)),
    ("rhel", "7", date(2024, 6, 30)),
    ("rhel", "8", date(2029, 5, 31)),
    ("rhel", "9", date(2032, 5, 31)),
    ("rocky", "8", date(2029, 5, 31)),
    ("rocky", "9", date(2032, 5, 31)),
    ("ubuntu", "14.04", date(2019, 4, 30)),
    ("ubuntu", "16.04", date(2021, 4, 30)),
    ("ubuntu", "18.04", date(2023, 5, 31)),
    ("ubuntu", "20.04", date(2025, 5, 31)),
    ("ubuntu", "22.04", date(2027, 6, 30)),
    ("ubuntu", "23.10", date(2024, 7, 11)),
    ("ubuntu", "24.04", date(2029, 6, 30)),
    ("ubuntu", "24.10", date(2025, 7, 10)),
    ("ubuntu", "25.04", date(2026, 1, 15)),
];

/// The last day on which an image's distribution is maintained, where that is known.
#[must_use]
pub fn last_day(os: &OsRelease) -> Option<Date> {
    let own = os.support_end.as_deref().and_then(|day| day.parse().ok());
    own.or_else(|| {
        let version = os.version_id.as_deref()?;
        let is_of = |release: &str| {
            let rest = version.strip_prefix(release);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let release = ENDS.iter().find(|(id, release, _)| *id == os.id && is_of(release));
        release.map(|(_, _, day)| *day)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_own_word_counts_then_the_table() {
        let day = |text: &str| last_day(&OsRelease::parse(text.as_bytes()).unwrap());
        for (text, expected) in [
            ("ID=debian\nVERSION_ID=10\n", Some(date(2024, 6, 30))),
            ("ID=debian\nVERSION_ID=1\n", None),
            ("ID=debian\n", None),
            ("ID=alpine\nVERSION_ID=3.18.4\n", Some(date(2025, 5, 9))),
            ("ID=alpine\nVERSION_ID=3.1\n", None),
            (
                "ID=rocky\nVERSION_ID=9.3\nSUPPORT_END=2032-01-02\n",
                Some(date(2032, 1, 2)),
            ),
            ("ID=rocky\nVERSION_ID=9.3\nSUPPORT_END=soon\n", Some(date(2032, 5, 31))),
            ("ID=amzn\nVERSION_ID=2\n", Some(date(2026, 6, 30))),
            ("ID=amzn\nVERSION_ID=2023\n", Some(date(2029, 6, 30))),
            ("ID=unheard-of\nVERSION_ID=1\n", None),
        ] {
            assert_eq!(day(text), expected, "{text}");
        }
    }
}
