//! What packages need and exclude, without new packages and with them.

use super::{Case, backports, case, main, scene, with};

#[expect(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn dependencies() -> Vec<Case> {
    vec![
        case(
            "packages that need one another at their new versions",
            scene(
                main(&[("a 2", "Depends: b (= 2)"), ("b 2", "Depends: a (>= 2)")]),
                &[("a 1", "Depends: b (= 1)"), ("b 1", "Depends: a")],
            ),
            &["a:amd64 2", "b:amd64 2"],
            &["a:amd64 2", "b:amd64 2"],
        ),
        case(
            "a version that nobody offers is needed",
            scene(
                main(&[("a 2", "Depends: b (>= 3)"), ("b 2", "")]),
                &[("a 1", ""), ("b 1", "")],
            ),
            &["b:amd64 2"],
            &["b:amd64 2"],
        ),
        case(
            "what stays keeps others that need its new version, and those that need others",
            scene(
                main(&[
                    ("a 2", "Depends: b (>= 2)"),
                    ("b 2", "Depends: c (>= 2)"),
                    ("c 2", "Depends: gone"),
                    ("d 2", "Depends: a"),
                ]),
                &[("a 1", ""), ("b 1", ""), ("c 1", ""), ("d 1", "")],
            ),
            &["d:amd64 2"],
            &["d:amd64 2"],
        ),
        case(
            "an installed package needs the old version",
            scene(main(&[("a 2", "")]), &[("a 1", ""), ("b 1", "Depends: a (<< 2)")]),
            &[],
            &[],
        ),
        case(
            "breaks with a package that has no newer version, and with one that has",
            scene(
                main(&[("a 2", "Breaks: b (<< 2)"), ("c 2", "Breaks: d (<< 2)"), ("d 2", "")]),
                &[("a 1", ""), ("b 1", ""), ("c 1", ""), ("d 1", "")],
            ),
            &["c:amd64 2", "d:amd64 2"],
            &["c:amd64 2", "d:amd64 2"],
        ),
        case(
            "an installed package conflicts with the new version",
            scene(
                main(&[("a 2", ""), ("c 2", "")]),
                &[("a 1", ""), ("b 1", "Conflicts: a (>= 2)"), ("c 1", "")],
            ),
            &["c:amd64 2"],
            &["c:amd64 2"],
        ),
        case(
            "conflicts with what it provides itself",
            scene(
                main(&[
                    ("a 2", "Provides: v; Conflicts: v"),
                    ("b 2", "Provides: w (= 1); Conflicts: w"),
                ]),
                &[("a 1", ""), ("b 1", ""), ("c 1", "Provides: w")],
            ),
            &["a:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "one of several will do",
            scene(
                main(&[("a 2", "Depends: x | y (>= 1) | z"), ("b 2", "Depends: x | y (>= 2)")]),
                &[("a 1", ""), ("b 1", ""), ("y 1", "")],
            ),
            &["a:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "a provided name, with and without a version",
            scene(
                main(&[
                    ("a 2", "Depends: v"),
                    ("b 2", "Depends: v (>= 1)"),
                    ("c 2", "Depends: w (>= 2)"),
                    ("d 2", "Depends: w (>= 3)"),
                ]),
                &[
                    ("a 1", ""),
                    ("b 1", ""),
                    ("c 1", ""),
                    ("d 1", ""),
                    ("p 1", "Provides: v, w (= 2)"),
                ],
            ),
            &["a:amd64 2", "c:amd64 2"],
            &["a:amd64 2", "c:amd64 2"],
        ),
        case(
            "a new version that no longer provides what another needs",
            scene(
                main(&[("p 2", "Provides: other"), ("q 2", "Provides: w (= 2)")]),
                &[
                    ("p 1", "Provides: v"),
                    ("a 1", "Depends: v"),
                    ("q 1", "Provides: w (= 1)"),
                    ("b 1", "Depends: w (= 1)"),
                ],
            ),
            &[],
            &[],
        ),
        case(
            "what was broken before stays as it is",
            scene(
                main(&[("a 2", ""), ("b 2", "Depends: a (>= 2)")]),
                &[("a 1", "Recommends: gone"), ("b 1", "Suggests: gone")],
            ),
            &["a:amd64 2", "b:amd64 2"],
            &["a:amd64 2", "b:amd64 2"],
        ),
        case(
            "two that exclude one another at their new versions",
            scene(
                main(&[("a 2", "Conflicts: b (>= 2)"), ("b 2", "")]),
                &[("a 1", ""), ("b 1", "")],
            ),
            &["b:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "all relations of versions",
            scene(
                main(&[
                    ("a 2", "Depends: x (<< 2)"),
                    ("b 2", "Depends: x (<= 1)"),
                    ("c 2", "Depends: x (= 1)"),
                    ("d 2", "Depends: x (>= 2)"),
                    ("e 2", "Depends: x (>> 1)"),
                    ("f 2", "Depends: x (< 1)"),
                    ("g 2", "Depends: x(>=1),x"),
                ]),
                &[
                    ("a 1", ""),
                    ("b 1", ""),
                    ("c 1", ""),
                    ("d 1", ""),
                    ("e 1", ""),
                    ("f 1", ""),
                    ("g 1", ""),
                    ("x 1", ""),
                ],
            ),
            &["a:amd64 2", "b:amd64 2", "c:amd64 2", "f:amd64 2", "g:amd64 2"],
            &["a:amd64 2", "b:amd64 2", "c:amd64 2", "f:amd64 2", "g:amd64 2"],
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn new_packages() -> Vec<Case> {
    vec![
        case(
            "a new package is needed, and what it needs",
            scene(
                main(&[
                    ("a 2", "Depends: n"),
                    ("n 1", "Depends: m (>= 1)"),
                    ("m 1", ""),
                    ("b 2", ""),
                ]),
                &[("a 1", ""), ("b 1", "")],
            ),
            &["b:amd64 2"],
            &["a:amd64 2", "b:amd64 2", "m:amd64 1", "n:amd64 1"],
        ),
        case(
            "a new package is needed that cannot be installed",
            scene(
                main(&[
                    ("a 2", "Depends: n"),
                    ("n 1", "Depends: gone"),
                    ("b 2", "Depends: o"),
                    ("o 1", "Breaks: c"),
                ]),
                &[("a 1", ""), ("b 1", ""), ("c 1", "")],
            ),
            &[],
            &[],
        ),
        case(
            "a new package provides what is needed",
            scene(main(&[("a 2", "Depends: v"), ("n 1", "Provides: v")]), &[("a 1", "")]),
            &[],
            &["a:amd64 2", "n:amd64 1"],
        ),
        case(
            "a new package needs the new version of another",
            scene(
                main(&[("a 2", "Depends: n"), ("n 1", "Depends: b (>= 2)"), ("b 2", "")]),
                &[("a 1", ""), ("b 1", "")],
            ),
            &["b:amd64 2"],
            &["a:amd64 2", "b:amd64 2", "n:amd64 1"],
        ),
        case(
            "a new package of a kind that is not automatic",
            scene(
                with(
                    backports(&[("n 2", ""), ("m 1", "")]),
                    &[("a 2", "Depends: n (>= 2)"), ("b 2", "Depends: m"), ("n 1", "")],
                ),
                &[("a 1", ""), ("b 1", "")],
            ),
            &[],
            &["b:amd64 2", "m:amd64 1"],
        ),
        case(
            "a library that changes its name",
            scene(
                main(&[
                    ("tool 2", "Depends: lib2 (>= 2)"),
                    ("lib2 2", "Breaks: lib1 (<< 2) ; Replaces: lib1"),
                    ("lib1 2", ""),
                ]),
                &[("tool 1", "Depends: lib1"), ("lib1 1", "")],
            ),
            &["lib1:amd64 2"],
            &["lib1:amd64 2", "lib2:amd64 2", "tool:amd64 2"],
        ),
        case(
            "a new package conflicts with what is installed",
            scene(
                main(&[("a 2", "Depends: n"), ("n 1", "Conflicts: old")]),
                &[("a 1", ""), ("old 1", "")],
            ),
            &[],
            &[],
        ),
    ]
}
