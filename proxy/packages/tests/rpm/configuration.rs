//! Repository configuration: what we read of it is what dnf reads.

use std::process::Command;

use patchport_packages::inventory::{Installed, Source};
use patchport_packages::rpm::{Configuration, Repository};
use patchport_packages::{Family, Version};
use proptest::prelude::ProptestConfig;
use proptest::proptest;

use crate::kit;

/// Prints what dnf makes of the configuration below a directory, a line a repository.
const DNF: &str = r#"
import dnf, sys, os
root = sys.argv[1]
base = dnf.Base()
conf = base.conf
conf.installroot = root
conf.substitutions.clear()
conf.substitutions.update({"releasever": "9", "arch": "x86_64", "basearch": "x86_64"})
conf.config_file_path = root + "/etc/dnf/dnf.conf"
conf.reposdir = [root + "/etc/yum.repos.d"]
conf.varsdir = [root + "/etc/yum/vars", root + "/etc/dnf/vars"]
conf.read(conf.config_file_path)
conf.substitutions.update_from_etc("/", varsdir=conf.varsdir)
base.read_all_repos()
print(sorted(conf.excludepkgs), sorted(conf.includepkgs))
for repo in sorted(base.repos.all(), key=lambda repo: repo.id):
    print(repo.id, repo.name, bool(repo.enabled), list(repo.baseurl), repo.mirrorlist or "", repo.metalink or "",
        bool(repo.gpgcheck), bool(repo.repo_gpgcheck), list(repo.gpgkey), repo.priority, sorted(repo.excludepkgs),
        sorted(repo.includepkgs), bool(repo.module_hotfixes), bool(repo.sslverify), repo.proxy or "", sep="|")
"#;

const FILES: [(&str, &str); 8] = [
    (
        "etc/dnf/dnf.conf",
        "# a comment\n[main]\ngpgcheck=1\nbest = False\nexclude=a b*,c\nexcludepkgs=d\n   e f\nsslverify=off\nproxy=http://p:3128\n\
        [in-main]\nbaseurl=http://m/$nosuch/${basearch}/$arch\nproxy=_none_\n",
    ),
    (
        "etc/yum.repos.d/b.repo",
        "[baseos]\nname=BaseOS $releasever - $basearch\nmirrorlist=https://m.example/?arch=$basearch&repo=BaseOS-$releasever$rltype\n\
        #baseurl=http://never/\ngpgcheck=1\nenabled=1\ncountme=1\ngpgkey=file:///etc/pki/A\n  file:///etc/pki/B\n\
        \n; other\n[off-$releasever]\nname = spaces around  \nenabled = no\nmetalink=https://l/?repo=x-$releasever_x\n\
        baseurl=http://a/$contentdir/,http://b/\n http://c/\npriority=7\nsslverify=1\nrepo_gpgcheck=yes\ngpgcheck=false\n",
    ),
    (
        "etc/yum.repos.d/a.repo",
        "[first]\nname=A=B\nbaseurl=http://first/\nmodule_hotfixes=true\nincludepkgs=x,y\nexclude=kernel*\nexclude=z\nbaseurl=http://second/\n[empty]\n",
    ),
    (
        "etc/yum.repos.d/c.repo",
        "[first]\nname=twice\nbaseurl=http://third/\n[last]\nbaseurl=http://last\n",
    ),
    ("etc/yum.repos.d/ignored.txt", "not read"),
    ("etc/dnf/vars/contentdir", "pub/rocky\nsecond line\n"),
    ("etc/yum/vars/contentdir", "older"),
    ("etc/dnf/vars/rltype", "-X"),
];

fn rocky() -> Configuration {
    Configuration::read(
        &kit::image(&FILES),
        &kit::os("rocky", "9.4", "rhel centos fedora"),
        None,
        "x86_64",
    )
    .unwrap()
}

/// A list as Python prints it.
fn python(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| format!("'{word}'")).collect();
    format!("[{}]", words.join(", "))
}

fn sorted(list: &[String]) -> String {
    let mut list = list.to_vec();
    list.sort();
    python(&list)
}

fn line(repository: &Repository) -> String {
    let is = |flag: bool| if flag { "True" } else { "False" };
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        repository.id.clone(),
        repository.name.clone(),
        is(repository.enabled).to_owned(),
        python(&repository.base_urls),
        or_nothing(&repository.mirror_list),
        or_nothing(&repository.metalink),
        is(repository.gpg_check).to_owned(),
        is(repository.repository_gpg_check).to_owned(),
        python(&repository.gpg_keys),
        repository.priority.to_string(),
        sorted(&repository.excludes),
        sorted(&repository.includes),
        is(repository.module_hotfixes).to_owned(),
        is(repository.tls_verify).to_owned(),
        or_nothing(&repository.proxy),
    ]
    .join("|")
}

#[test]
fn repositories_are_those_that_dnf_reads() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let script = Command::new("/usr/bin/python3")
        .args(["-c", DNF])
        .arg(folder.path())
        .output();
    let script = script.expect("this test needs python3-dnf: tests/tools/install bed");
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    let expected = String::from_utf8(script.stdout).unwrap();
    let configuration = rocky();
    let mut lines: Vec<String> = configuration.repositories.iter().map(line).collect();
    lines.sort();
    lines.insert(
        0,
        format!(
            "{} {}",
            sorted(&configuration.excludes),
            sorted(&configuration.includes)
        ),
    );
    assert_eq!(lines, expected.lines().collect::<Vec<_>>());
    let stored = serde_json::to_string(&configuration).unwrap();
    assert_eq!(serde_json::from_str::<Configuration>(&stored).unwrap(), configuration);
}

#[test]
fn releases_by_distribution() {
    let table = [
        ("rocky", "9.4", "rhel centos fedora", "9"),
        ("rhel", "8.10", "fedora", "8"),
        ("ol", "8.9", "fedora", "8"),
        ("centos", "9", "rhel fedora", "9"),
        ("fedora", "40", "", "40"),
        ("amzn", "2023", "fedora", "2023"),
        ("sles", "15.5", "suse", "15.5"),
        ("azurelinux", "3.0", "", "3.0"),
        ("photon", "5.0", "", "5.0"),
        ("openEuler", "22.03", "", "22.03"),
    ];
    let files = [(
        "etc/yum.repos.d/r.repo",
        "[r-$releasever]\nbaseurl=http://h/$basearch/$releasever_major/\n",
    )];
    for (id, version, like, expected) in table {
        let read = |files: &[(&str, &str)]| {
            let found = Configuration::read(&kit::image(files), &kit::os(id, version, like), None, "i686").unwrap();
            found.repositories[0].clone()
        };
        let repository = read(&files);
        assert_eq!(repository.id, format!("r-{expected}"), "{id}");
        let major = expected.split('.').next().unwrap();
        assert_eq!(repository.base_urls, [format!("http://h/i386/{major}/")], "{id}");
        let pinned = read(&[files[0], ("etc/dnf/vars/releasever", "2023.4\n")]);
        assert_eq!(pinned.id, "r-2023.4");
    }
}

#[test]
fn zypper_and_yum_have_their_defaults() {
    let files = [
        (
            "etc/zypp/repos.d/o.repo",
            "[oss]\nname=x\nbaseurl=http://z/\nautorefresh=1\n",
        ),
        ("etc/yum.conf", "[main]\ngpgcheck=0\n[y]\nbaseurl=http://y/\n"),
    ];
    let found = Configuration::read(&kit::image(&files), &kit::os("sles", "15", "suse"), None, "x86_64").unwrap();
    let checks: Vec<_> = found
        .enabled()
        .map(|repository| (repository.id.as_str(), repository.gpg_check))
        .collect();
    assert_eq!(checks, [("y", false), ("oss", true)]);
}

#[test]
fn locks_hold_what_is_installed() {
    let files = [
        (
            "etc/dnf/plugins/versionlock.list",
            "# Added lock on Mon\nbash-0:5.1.8-6.el9.*\n!curl-0:7.76.1-1.el9.*\n\nglib*\n",
        ),
        ("etc/yum/pluginconf.d/versionlock.list", "1:openssl-libs-3.0.7-1.*\n"),
        (
            "etc/zypp/locks",
            "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kernel-*\n\ntype: package\nmatch_type: substring\nsolvable_name: sub\n",
        ),
    ];
    let found = Configuration::read(&kit::image(&files), &kit::os("x", "1", ""), None, "x86_64").unwrap();
    let version = Version::parse(Family::Rpm, "5.1.8-6.el9").unwrap();
    let names = [
        "bash",
        "bash-completion",
        "curl",
        "libcurl",
        "glibc",
        "openssl-libs",
        "openssl",
        "kernel-core",
        "xsubx",
    ];
    let installed = names.map(|name| Installed {
        name: name.to_owned(),
        architecture: "x86_64".to_owned(),
        version: version.clone(),
        source: Source {
            name: name.to_owned(),
            version: version.clone(),
        },
        origin: None,
    });
    let held = found.held(&installed);
    let held: Vec<&str> = held.iter().map(|held| held.name.as_str()).collect();
    assert_eq!(held, ["bash", "curl", "glibc", "openssl-libs", "kernel-core", "xsubx"]);
}

#[test]
fn malformed_files_are_told() {
    let many = format!("[r]\nexclude={}\n", "a ".repeat(1001));
    let long = format!("[r]\nexclude={}\n", "a".repeat(257));
    let repositories: String = (0..1001).map(|number| format!("[{number}]\n")).collect();
    let table = [
        ("etc/yum.repos.d/a.repo", "name=x\n", "line 1 stands in no section"),
        (
            "etc/yum.repos.d/a.repo",
            "[a]\nname\n",
            "line 2 is neither a section nor an option",
        ),
        (
            "etc/yum.repos.d/a.repo",
            "[a\n",
            "line 1 is neither a section nor an option",
        ),
        (
            "etc/yum.repos.d/a.repo",
            "[a]\n continued\n",
            "line 2 is neither a section nor an option",
        ),
        (
            "etc/yum.repos.d/a.repo",
            &many,
            "etc/yum.repos.d/a.repo: more than 1000 patterns",
        ),
        (
            "etc/yum.repos.d/a.repo",
            &long,
            "etc/yum.repos.d/a.repo: a pattern is longer than 256 bytes",
        ),
        (
            "etc/yum.repos.d/a.repo",
            &repositories,
            "etc/yum.repos.d/a.repo: more than 1000 repositories",
        ),
        (
            "etc/dnf/dnf.conf",
            "[main]\nreposdir=/srv\n",
            "etc/dnf/dnf.conf: the repositories are in \"/srv\", which is not looked at",
        ),
        (
            "etc/zypp/locks",
            "match_type: regex\nsolvable_name: .*\n",
            "etc/zypp/locks:2: a lock that is not understood here",
        ),
    ];
    for (path, text, expected) in table {
        let error =
            Configuration::read(&kit::image(&[(path, text)]), &kit::os("x", "1", ""), None, "x86_64").unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.unwrap_or_else(|| error.to_string()), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text(text in "[\\[\\]a-c=$\\{\\} \n#;]{0,200}", value in "[a-z$\\{\\}]{0,20}") {
        let files = [
            ("etc/yum.repos.d/a.repo", text.as_str()),
            ("etc/dnf/vars/a", value.as_str()),
            ("etc/dnf/plugins/versionlock.list", text.as_str()),
            ("etc/zypp/locks", text.as_str()),
        ];
        if let Ok(found) = Configuration::read(&kit::image(&files), &kit::os("x", "1", ""), None, "x86_64") {
            let _ = found.held(&[]);
        }
    }
}
