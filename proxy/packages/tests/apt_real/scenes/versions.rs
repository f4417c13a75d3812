//! What is newer, and where it comes from.

use super::{Case, case, installed, main, offers, scene, security, with};
use crate::kit::{Repository, Scene};

#[expect(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn versions() -> Vec<Case> {
    vec![
        case(
            "a newer version, and packages that are current, newer, or offered by nobody",
            scene(
                main(&[("a 2", ""), ("b 1", ""), ("c 1", "")]),
                &[("a 1", ""), ("b 1", ""), ("c 2", ""), ("d 1", "")],
            ),
            &["a:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "an epoch counts more than a number, a tilde less than nothing",
            scene(
                main(&[("a 1:1", ""), ("b 1~rc1", ""), ("c 1.0", "")]),
                &[("a 9", ""), ("b 1", ""), ("c 1", "")],
            ),
            &["a:amd64 1:1", "c:amd64 1.0"],
            &["a:amd64 1:1", "c:amd64 1.0"],
        ),
        case(
            "the same version, built anew with other dependencies",
            scene(main(&[("a 1", "Depends: b"), ("b 1", "")]), &[("a 1", ""), ("b 1", "")]),
            &["a:amd64 1"],
            &["a:amd64 1"],
        ),
        case(
            "the same version twice, of which one is installed",
            scene(
                with(
                    security(&[("a 1", "Installed-Size: 20")]),
                    &[("a 1", "Installed-Size: 10")],
                ),
                &[("a 1", "Installed-Size: 10")],
            ),
            &[],
            &[],
        ),
        case(
            "several versions in one index",
            scene(main(&[("a 2", ""), ("a 4", ""), ("a 3", "")]), &[("a 1", "")]),
            &["a:amd64 4"],
            &["a:amd64 4"],
        ),
        case(
            "a security suite",
            scene(
                with(
                    security(&[("a 1+deb12u1", ""), ("b 3", "")]),
                    &[("a 1", ""), ("b 2", "")],
                ),
                &[("a 1", ""), ("b 1", "")],
            ),
            &["a:amd64 1+deb12u1", "b:amd64 3"],
            &["a:amd64 1+deb12u1", "b:amd64 3"],
        ),
        case(
            "a flat repository",
            scene(
                with(Repository::new("./", "Flat", &offers(&[("a 2", "")])), &[("a 1", "")]),
                &[("a 1", "")],
            ),
            &["a:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "what is not completely installed",
            Scene::new(
                main(&[("a 2", ""), ("b 2", ""), ("c 2", "")]),
                &(installed(&[("a 1", "")])
                    + &installed(&[("b 1", "")]).replace("install ok installed", "deinstall ok config-files")
                    + &installed(&[("c 1", "")]).replace("install ok installed", "deinstall ok installed")),
            ),
            &["a:amd64 2", "c:amd64 2"],
            &["a:amd64 2", "c:amd64 2"],
        ),
    ]
}
