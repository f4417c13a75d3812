//! Holds, pins, default releases, phased updates.

use super::{Case, backports, case, experimental, main, offers, scene, security, with};
use crate::kit::Repository;

#[expect(clippy::too_many_lines, reason = "one table of cases")]
pub(super) fn policy() -> Vec<Case> {
    vec![
        case(
            "a package on hold",
            scene(main(&[("a 2", ""), ("b 2", "")]), &[("a 1", "HOLD"), ("b 1", "")]),
            &["b:amd64 2"],
            &["b:amd64 2"],
        ),
        case(
            "what depends on the old version of a package on hold stays, too",
            scene(main(&[("a 2", ""), ("b 2", "Depends: a (= 2)")]), &[("a 1", "HOLD"), ("b 1", "Depends: a (= 1)")]),
            &[],
            &[],
        ),
        case(
            "holds that are ignored",
            scene(main(&[("a 2", "")]), &[("a 1", "HOLD")]).file("etc/apt/apt.conf.d/x", "APT::Ignore-Hold \"1\";\n"),
            &["a:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "backports upgrade what came from them, experimental nothing",
            scene(
                vec![
                    backports(&[("a 3~bpo", ""), ("b 3~bpo", ""), ("c 3~bpo", "")]),
                    experimental(&[("a 9", ""), ("d 9", "")]),
                    Repository::new("bookworm", "Debian", &offers(&[("a 1", ""), ("b 1", ""), ("d 1", "")])),
                ],
                &[("a 1", ""), ("b 2~bpo", ""), ("c 2", ""), ("d 2", "")],
            ),
            &["b:amd64 3~bpo", "c:amd64 3~bpo"],
            &["b:amd64 3~bpo", "c:amd64 3~bpo"],
        ),
        case(
            "a pin by name and version",
            scene(main(&[("a 3", ""), ("a 2", ""), ("b 2", "")]), &[("a 1", ""), ("b 1", "")])
                .file("etc/apt/preferences.d/x.pref", "Package: a\nPin: version 2*\nPin-Priority: 600\n"),
            &["a:amd64 2", "b:amd64 2"],
            &["a:amd64 2", "b:amd64 2"],
        ),
        case(
            "a version that is pinned down, and one that is pinned to what is installed",
            scene(main(&[("a 2", ""), ("b 2", ""), ("b 1", ""), ("c 2", "")]), &[("a 1", ""), ("b 1", ""), ("c 1", "")]).file(
                "etc/apt/preferences",
                "Package: a\nPin: release *\nPin-Priority: -1\n\nPackage: b\nPin: version 1\nPin-Priority: 999\n",
            ),
            &["c:amd64 2"],
            &["c:amd64 2"],
        ),
        case(
            "pins by label, codename, suite, component and origin of a release",
            scene(
                with(security(&[("a 3", ""), ("b 3", ""), ("c 3", ""), ("d 3", "")]), &[("a 2", ""), ("b 2", ""), ("c 2", ""), ("d 2", "")]),
                &[("a 1", ""), ("b 1", ""), ("c 1", ""), ("d 1", "")],
            )
            .file(
                "etc/apt/preferences",
                "Package: a\nPin: release l=Debian\nPin-Priority: 700\n\n\
                Package: b\nPin: release n=bookworm, a=bookworm\nPin-Priority: 700\n\n\
                Package: c\nPin: release o=kit, c=main, v=12, n=*-security\nPin-Priority: 400\n\n\
                Package: d\nPin: release o=other\nPin-Priority: 700\n",
            ),
            &["a:amd64 2", "b:amd64 2", "c:amd64 2", "d:amd64 3"],
            &["a:amd64 2", "b:amd64 2", "c:amd64 2", "d:amd64 3"],
        ),
        case(
            "pins by glob, and the first that matches counts",
            scene(main(&[("liba 2", ""), ("libb 2", ""), ("c 2", "")]), &[("liba 1", ""), ("libb 1", ""), ("c 1", "")]).file(
                "etc/apt/preferences",
                "Package: liba\nPin: version 2\nPin-Priority: 500\n\nPackage: lib* [c]\nPin: version *\nPin-Priority: -5\n",
            ),
            &["liba:amd64 2"],
            &["liba:amd64 2"],
        ),
        case(
            "pins by source package",
            scene(
                main(&[("a 2", "Source: s"), ("b 2", "Source: s (3)"), ("s 2", ""), ("t 2", "")]),
                &[("a 1", "Source: s"), ("b 1", "Source: s (1)"), ("s 1", ""), ("t 1", "")],
            )
            .file("etc/apt/preferences", "Package: src:s\nPin: release l=Debian\nPin-Priority: -1\n"),
            &["t:amd64 2"],
            &["t:amd64 2"],
        ),
        case(
            "pins for all packages: the first counts for a release, a named one counts more",
            scene(with(security(&[("a 3", ""), ("b 3", "")]), &[("a 2", ""), ("b 2", "")]), &[("a 1", ""), ("b 1", "")]).file(
                "etc/apt/preferences",
                "Package: *\nPin: release l=Debian-Security\nPin-Priority: 50\n\n\
                Package: *\nPin: release n=bookworm-security\nPin-Priority: 990\n\n\
                Package: b\nPin: release l=Debian-Security\nPin-Priority: 600\n",
            ),
            &["a:amd64 2", "b:amd64 3"],
            &["a:amd64 2", "b:amd64 3"],
        ),
        case(
            "a pin that counts for what is installed, too",
            scene(main(&[("a 2", ""), ("b 2", "")]), &[("a 1", ""), ("b 1", "")]).file(
                "etc/apt/preferences",
                "Package: *\nPin: release *\nPin-Priority: 90\n\nPackage: b\nPin: release a=now\nPin-Priority: 95\n",
            ),
            &["a:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "a repository that is never used",
            scene(with(security(&[("a 3", ""), ("b 3", "")]), &[("a 2", "")]), &[("a 1", ""), ("b 1", "")]).file(
                "etc/apt/preferences",
                "Package: *\nPin: release l=Debian-Security\nPin-Priority: never\n\nPackage: b\nPin: version 3\nPin-Priority: 900\n",
            ),
            &["a:amd64 2"],
            &["a:amd64 2"],
        ),
        case(
            "a pin over 1000 is a downgrade",
            scene(main(&[("a 1", ""), ("b 1", "")]), &[("a 2", ""), ("b 2", "")])
                .file("etc/apt/preferences", "Package: a\nPin: version 1\nPin-Priority: 1001\n\nPackage: b\nPin: version 1\nPin-Priority: 999\n"),
            &["a:amd64 1"],
            &["a:amd64 1"],
        ),
        case(
            "a default release",
            scene(with(security(&[("a 3", ""), ("b 3", "")]), &[("a 2", "")]), &[("a 1", ""), ("b 1", "")])
                .file("etc/apt/apt.conf", "APT { Default-Release \"bookworm\"; };\n"),
            &["a:amd64 2", "b:amd64 3"],
            &["a:amd64 2", "b:amd64 3"],
        ),
        case(
            "a host that is pinned",
            scene(with(security(&[("a 3", "")]), &[("a 2", "")]), &[("a 1", "")])
                .file("etc/apt/preferences", "Package: *\nPin: origin \"127.0.0.1\"\nPin-Priority: 90\n"),
            &[],
            &[],
        ),
        case(
            "phased updates where the machine has no name",
            scene(main(&[("a 2", "Phased-Update-Percentage: 0"), ("b 2", "Phased-Update-Percentage: 100")]), &[("a 1", ""), ("b 1", "")]),
            &["a:amd64 2", "b:amd64 2"],
            &["a:amd64 2", "b:amd64 2"],
        ),
        case(
            "phased updates that are never taken",
            scene(main(&[("a 2", "Phased-Update-Percentage: 50"), ("b 2", "Phased-Update-Percentage: 100")]), &[("a 1", ""), ("b 1", "")])
                .file("etc/apt/apt.conf", "APT::Get::Never-Include-Phased-Updates \"true\";\n"),
            &["b:amd64 2"],
            &["b:amd64 2"],
        ),
    ]
}
