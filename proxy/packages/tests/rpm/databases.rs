//! rpm's databases: what we read of them is what rpm reads.

use std::path::PathBuf;
use std::process::Command;

use patchport_packages::rpm::{self, Package};
use tempfile::TempDir;

use crate::kit::{self, Made};

/// Packages of all sorts, many enough for trees of several levels.
fn packages(folder: &TempDir) -> Vec<PathBuf> {
    let mut made = vec![
        Made::new("epoch", "3:1.2~rc1-4.el9"),
        Made::new("post", "1.0^git20240101-1"),
        Made::new("libstdc++", "14.1.1_2+x-0"),
        Made {
            modularity: "nodejs:18:9040020240101:rhel9".to_owned(),
            ..Made::new("modular", "1:18.1-1.module+el9")
        },
    ];
    // Headers just below and above what fits a page of any size, and one that spans many.
    for lines in [20, 40, 60, 80, 100, 200, 400, 800, 30_000] {
        let name = format!("big{lines}");
        let version = format!("{lines}-1");
        made.push(Made {
            lines,
            ..Made::new(&name, &version)
        });
    }
    made.extend((0..120).map(|index| Made::new(&format!("small{index}"), &format!("0.{index}-{index}"))));
    let other = [Made::new("epoch", "3:1.2~rc1-4.el9"), Made::new("both", "1-1")];
    let mut built = kit::build(folder.path(), "a-source", "x86_64", &made);
    built.extend(kit::build(folder.path(), "other", "noarch", &other[1..]));
    built.extend(kit::build(folder.path(), "multilib", "i686", &other));
    built
}

/// A package as `kit::query` prints it.
fn line(package: &Package) -> String {
    let version = &package.version;
    let (epoch, rest) = version.as_str().split_once(':').unwrap_or(("0", version.as_str()));
    let source = package.source.version.as_str();
    let source = source.split_once(':').map_or(source, |(_, rest)| rest);
    let none = || "(none)".to_owned();
    format!(
        "{}|{}|{epoch}|{rest}|{}-{source}.src.rpm|{}|{}",
        package.name,
        package.architecture,
        package.source.name,
        package.vendor.clone().unwrap_or_else(none),
        package.modularity.clone().unwrap_or_else(none),
    )
}

fn lines(file: &str, bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = rpm::read_database(file, bytes).unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn each_kind_is_read_as_rpm_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("sqlite");
    kit::install(&database, &packages(&folder));
    let all = kit::query(&database, "sqlite");
    assert_eq!(all.len(), 136);
    assert_eq!(
        lines("rpmdb.sqlite", &std::fs::read(database.join("rpmdb.sqlite")).unwrap()),
        all
    );
    // What is erased leaves its pages in the file.
    kit::erase(&database, &["small1", "big30000", "post", "small119", "big100"]);
    let expected = kit::query(&database, "sqlite");
    assert_eq!(expected.len(), 131);
    assert_eq!(
        lines("rpmdb.sqlite", &std::fs::read(database.join("rpmdb.sqlite")).unwrap()),
        expected
    );
    let headers = kit::headers(&database);
    assert_eq!(lines("Packages.db", &kit::ndb(&headers)), expected);
    for (page_size, order) in [(512, 1234), (4096, 1234), (65_536, 1234), (4096, 4321)] {
        let folder = folder.path().join(format!("berkeley-{page_size}-{order}"));
        let bytes = kit::berkeley(&folder, &headers, page_size, order);
        assert_eq!(lines("Packages", &bytes), expected, "{page_size} {order}");
        if order == 1234 {
            assert_eq!(kit::query(&folder, "bdb_ro"), expected, "{page_size}");
        }
    }
}

#[test]
fn a_manifest_is_read() {
    let text = "filesystem\t1.1-19.azl3\t1716830527\t1713391822\tMicrosoft Corporation\t(none)\t0\tx86_64\t0\tfilesystem-1.1-19.azl3.src.rpm\n\
        gpg-pubkey\t3135ce90-5e6fda74\t1\t1\t(none)\t(none)\t0\t(none)\t0\t(none)\n\
        openssl-libs\t3.3.0-2.azl3\t1\t1\tMicrosoft Corporation\t1\t7\tx86_64\t1\topenssl-3.3.0-2.azl3.src.rpm\n\
        odd\t1-1\t1\t1\t(none)\t(none)\t7\tnoarch\t(none)\t(none)\n";
    let packages = rpm::read_manifest("m", text.as_bytes()).unwrap();
    let [filesystem, openssl, odd] = &packages[..] else {
        unreachable!("{packages:?}")
    };
    assert_eq!(
        (filesystem.version.as_str(), filesystem.vendor.as_deref()),
        ("1.1-19.azl3", Some("Microsoft Corporation"))
    );
    assert_eq!(openssl.version.as_str(), "1:3.3.0-2.azl3");
    assert_eq!(
        (openssl.source.name.as_str(), openssl.source.version.as_str()),
        ("openssl", "1:3.3.0-2.azl3")
    );
    assert_eq!((odd.source.name.as_str(), odd.vendor.as_deref()), ("odd", None));
    let table = [
        ("a\t1-1\n", "m: package 1: its line has less than ten fields"),
        (
            "\na b\t1-1\t1\t1\tv\t0\t0\tnoarch\t0\ts\n",
            "m: package 2: the name is \"a b\"",
        ),
        (
            "a\t1-1\t1\t1\tv\t0\t0\tno/arch\t0\ts\n",
            "m: package 1: the architecture is \"no/arch\"",
        ),
        (
            "a\t1-1\t1\t1\tv\t0\t0\tnoarch\t-1\ts\n",
            "m: package 1: the epoch is \"-1\"",
        ),
        (
            "a\t1;1\t1\t1\tv\t0\t0\tnoarch\t0\ts\n",
            "m: package 1 has no version that rpm takes",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(
            rpm::read_manifest("m", text.as_bytes()).unwrap_err().to_string(),
            expected
        );
    }
}

#[test]
fn the_release_is_the_one_that_dnf_tells() {
    let provide = |preamble: &str| Made {
        preamble: preamble.to_owned(),
        ..Made::new("some-release", "2:9.4-1.el9")
    };
    let named = Made::new("redhat-release", "7.9-1");
    let both = "Provides: a = 1\nProvides: system-release = 5\nProvides: system-release(releasever) = 2023.4";
    let table = [
        (
            vec![
                provide("Provides: system-release(releasever) = 9"),
                Made::new("z", "1-1"),
            ],
            Some("9"),
        ),
        (vec![provide(both)], Some("2023.4")),
        (vec![provide("Provides: system-release = 40-3")], Some("40-3")),
        (vec![provide("Provides: system-release")], Some("9.4")),
        (vec![provide("Provides: distribution-release >= 3")], Some("9.4")),
        (vec![provide("Provides: suse-release = 15"), named.clone()], Some("7.9")),
        (vec![named], Some("7.9")),
        (vec![Made::new("z", "1-1")], None),
    ];
    let script = "import dnf.rpm, sys; print(dnf.rpm.detect_releasever(sys.argv[1]))";
    for (number, (made, release)) in table.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let database = kit::database(&root);
        kit::install(&database, &kit::build(folder.path(), "s", "noarch", &made));
        let packages = rpm::read_database("d", &std::fs::read(database.join("rpmdb.sqlite")).unwrap()).unwrap();
        assert_eq!(rpm::release(&packages), release, "{number}");
        let dnf = kit::run(Command::new("/usr/bin/python3").args(["-c", script]).arg(root));
        let dnf = String::from_utf8(dnf.stdout).unwrap();
        assert_eq!(dnf.trim(), release.unwrap_or("None"), "{number}");
    }
}
