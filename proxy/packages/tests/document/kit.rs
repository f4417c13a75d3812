//! One small image, with something of everything that documents tell.

use patchport_packages::document::{Format, Subject, View};
use patchport_packages::findings::{Finding, Findings, Kind, Severity, Status};
use patchport_packages::inventory::{Held, Installed, Inventory, Manager, Source};
use patchport_packages::language::{Ecosystem, Package};
use patchport_packages::{Family, OsRelease, Version};
use serde_json::Value;

pub(super) fn version(family: Family, text: &str) -> Version {
    Version::parse(family, text).unwrap()
}

pub(super) fn installed(family: Family, name: &str, architecture: &str, text: &str, source: (&str, &str)) -> Installed {
    Installed {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        version: version(family, text),
        source: Source {
            name: source.0.to_owned(),
            version: version(family, source.1),
        },
        origin: None,
    }
}

pub(super) fn finding(
    package: &str,
    installed: &str,
    fixed: Option<&str>,
    status: Status,
    severity: Severity,
) -> Finding {
    Finding {
        package: package.to_owned(),
        architecture: "amd64".to_owned(),
        installed: version(Family::Deb, installed),
        fixed: fixed.map(|fixed| version(Family::Deb, fixed)),
        status,
        kind: Kind::Security,
        severity,
        advisories: Vec::new(),
        origin: None,
        leaves: None,
    }
}

pub(super) fn language(ecosystem: Ecosystem, name: &str, version: &str, path: &str) -> Package {
    Package {
        ecosystem,
        name: name.to_owned(),
        version: version.to_owned(),
        path: path.to_owned(),
    }
}

/// All that a view has, owned.
pub(super) struct Image {
    pub(super) inventory: Inventory,
    pub(super) languages: Vec<Package>,
    pub(super) findings: Findings,
    pub(super) notes: Vec<String>,
}

impl Image {
    pub(super) fn new() -> Self {
        let os =
            b"ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        let deb = |name, text, source| installed(Family::Deb, name, "amd64", text, source);
        let packages = vec![
            deb("libc6", "2.36-9+deb12u10", ("glibc", "2.36-9+deb12u10")),
            deb("passwd", "1:4.13+dfsg1-1+b1", ("shadow", "1:4.13+dfsg1-1")),
            deb("zlib1g", "1:1.2.13.dfsg-1", ("zlib1g", "1:1.2.13.dfsg-1")),
        ];
        let held = vec![Held {
            name: "zlib1g".to_owned(),
            architecture: "amd64".to_owned(),
        }];
        let libc = Finding {
            advisories: vec!["CVE-2026-0001".into(), "DSA-1-1".into()],
            origin: Some("Debian-Security bookworm-security main".into()),
            ..finding(
                "libc6",
                "2.36-9+deb12u10",
                Some("2.36-9+deb12u11"),
                Status::Fixable,
                Severity::High,
            )
        };
        let passwd = Finding {
            advisories: vec!["CVE-2026-0001".into()],
            ..finding("passwd", "1:4.13+dfsg1-1+b1", None, Status::NoFix, Severity::Low)
        };
        let reason = Status::KeptBack("it is on hold".to_owned());
        let zlib = Finding {
            kind: Kind::Ordinary,
            ..finding("zlib1g", "1:1.2.13.dfsg-1", Some("1:1.3"), reason, Severity::Unknown)
        };
        Self {
            inventory: Inventory {
                os: OsRelease::parse(os).unwrap(),
                manager: Manager::Dpkg,
                packages,
                held,
                repositories: patchport_packages::inventory::Repositories::default(),
                tools: vec![],
            },
            languages: vec![
                language(Ecosystem::Golang, "stdlib", "1.24.1", "usr/bin/tool"),
                language(
                    Ecosystem::Npm,
                    "@babel/core",
                    "7.0.0",
                    "a/node_modules/@babel/core/package.json",
                ),
                language(
                    Ecosystem::Npm,
                    "@babel/core",
                    "7.0.0",
                    "b/node_modules/@babel/core/package.json",
                ),
            ],
            findings: Findings::new(vec![libc, passwd, zlib], vec!["the scanner was slow".to_owned()]),
            notes: vec!["x is not read".to_owned()],
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            subject: Subject {
                name: "docker.io/library/debian:12",
                digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                platform: "linux/amd64",
            },
            inventory: &self.inventory,
            languages: &self.languages,
            findings: Some(&self.findings),
            notes: &self.notes,
            tool_version: "0.1.0",
            created: None,
        }
    }
}

pub(super) fn document(view: &View<'_>, format: Format) -> Value {
    serde_json::from_str(&view.render(format).unwrap()).unwrap()
}
