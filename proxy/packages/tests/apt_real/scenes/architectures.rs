//! Several architectures, and packages for all.

use super::{Case, case, main, offers, scene};
use crate::kit::Repository;

#[expect(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn architectures() -> Vec<Case> {
    let two = |amd64: &[(&str, &str)], i386: &[(&str, &str)]| {
        vec![Repository::new("bookworm", "Debian", &offers(amd64)).index("i386", &offers(i386))]
    };
    vec![
        case(
            "newer in another architecture only",
            scene(
                two(&[("a 1", "")], &[("a:i386 2", ""), ("b:i386 2", "")]),
                &[("a 1", ""), ("b 1", "")],
            )
            .foreign("i386"),
            &[],
            &[],
        ),
        case(
            "from all to an architecture, and back",
            scene(main(&[("a 2", ""), ("b:all 2", "")]), &[("a:all 1", ""), ("b 1", "")]),
            &["a:amd64 2", "b:all 2"],
            &["a:amd64 2", "b:all 2"],
        ),
        case(
            "packages of both architectures, in step where they are the same",
            scene(
                two(
                    &[("a 2", "Multi-Arch: same"), ("b 2", "Multi-Arch: same"), ("c 2", "")],
                    &[
                        ("a:i386 2", "Multi-Arch: same"),
                        ("b:i386 1", "Multi-Arch: same"),
                        ("c:i386 1", ""),
                    ],
                ),
                &[
                    ("a 1", "Multi-Arch: same"),
                    ("a:i386 1", "Multi-Arch: same"),
                    ("b 1", "Multi-Arch: same"),
                    ("b:i386 1", "Multi-Arch: same"),
                    ("c 1", ""),
                ],
            )
            .foreign("i386"),
            &["a:amd64 2", "a:i386 2", "c:amd64 2"],
            &["a:amd64 2", "a:i386 2", "c:amd64 2"],
        ),
        case(
            "who may serve another architecture",
            scene(
                two(
                    &[
                        ("tool 1", ""),
                        ("foreign 2", "Multi-Arch: foreign"),
                        ("allowed 2", "Multi-Arch: allowed"),
                    ],
                    &[
                        ("a:i386 2", "Depends: tool"),
                        ("b:i386 2", "Depends: foreign (>= 2)"),
                        ("c:i386 2", "Depends: allowed (>= 2)"),
                        ("d:i386 2", "Depends: allowed:any (>= 2)"),
                        ("e:i386 2", "Depends: data"),
                    ],
                ),
                &[
                    ("tool 1", ""),
                    ("foreign 1", "Multi-Arch: foreign"),
                    ("allowed 1", "Multi-Arch: allowed"),
                    ("data:all 1", ""),
                    ("a:i386 1", ""),
                    ("b:i386 1", ""),
                    ("c:i386 1", ""),
                    ("d:i386 1", ""),
                    ("e:i386 1", ""),
                ],
            )
            .foreign("i386"),
            &["allowed:amd64 2", "b:i386 2", "d:i386 2", "foreign:amd64 2"],
            &["allowed:amd64 2", "b:i386 2", "d:i386 2", "foreign:amd64 2"],
        ),
        case(
            "a pin is about the native architecture unless it says",
            scene(
                two(&[("a 2", ""), ("b 2", "")], &[("a:i386 2", ""), ("b:i386 2", "")]),
                &[("a 1", ""), ("b:i386 1", "")],
            )
            .foreign("i386")
            .file(
                "etc/apt/preferences",
                "Package: a b\nPin: version 2\nPin-Priority: -1\n",
            ),
            &["b:i386 2"],
            &["b:i386 2"],
        ),
        case(
            "a pin for any architecture",
            scene(
                two(&[("a 2", ""), ("b 2", "")], &[("a:i386 2", ""), ("b:i386 2", "")]),
                &[("a 1", ""), ("b:i386 1", "")],
            )
            .foreign("i386")
            .file(
                "etc/apt/preferences",
                "Package: a:any b:i386\nPin: version 2\nPin-Priority: -1\n",
            ),
            &[],
            &[],
        ),
    ]
}
