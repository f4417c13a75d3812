//! The files of repositories: what createrepo_c makes of real packages, and what an attacker would make of them.

use std::io::{BufReader, Read};
use std::process::Command;
use std::time::{Duration, Instant};

use patchport_packages::rpm::metadata::{Checksum, Metalink, Repomd, mirror_list};
use patchport_packages::rpm::{Index, Visible};
use proptest::prelude::ProptestConfig;
use proptest::proptest;

use crate::bed::index;
use crate::kit::{self, Made};

const SHA256: &str = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef";

#[test]
fn an_index_has_what_the_packages_say() {
    let folder = tempfile::tempdir().unwrap();
    let made = [
        Made::new("one", "2:1.0~rc1-1"),
        Made {
            preamble: "Requires: a\nProvides: x = 1".to_owned(),
            lines: 5000,
            ..Made::new("two", "1-1")
        },
    ];
    let built = kit::build(folder.path(), "the-source", "x86_64", &made);
    let repository = folder.path().join("repository");
    std::fs::create_dir(&repository).unwrap();
    for package in &built {
        std::fs::copy(package, repository.join(package.file_name().unwrap())).unwrap();
    }
    kit::run(Command::new("createrepo_c").arg("-q").arg(&repository));
    let index = index(&repository);
    assert_eq!(index.len(), 2);
    let one = index.candidate("one", "x86_64", &Visible::default()).unwrap();
    assert_eq!(
        (one.version.as_str(), one.path),
        ("2:1.0~rc1-1", "one-1.0~rc1-1.x86_64.rpm")
    );
    assert_eq!(one.source_rpm, "the-source-1-7.el9.src.rpm");
    let file = repository.join(one.path);
    assert_eq!(one.size, file.metadata().unwrap().len());
    let output = kit::run(Command::new("sha256sum").arg(&file));
    let sum = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        format!("sha256:{}", sum.split(' ').next().unwrap()),
        one.checksum.unwrap().to_string()
    );
    assert!(index.candidate("one", "aarch64", &Visible::default()).is_none());
    assert!(index.candidate("on", "x86_64", &Visible::default()).is_none());
}

fn repomd(data: &str) -> String {
    format!("<?xml version=\"1.0\"?><repomd xmlns=\"n\" xmlns:rpm=\"m\"><revision>7</revision>{data}</repomd>")
}

fn data(kind: &str, checksum: &str, href: &str) -> String {
    format!(
        "<data type=\"{kind}\"><checksum type=\"{checksum}\">{SHA256}</checksum><location href=\"{href}\"/>\
         <open-checksum type=\"sha256\">{SHA256}</open-checksum><size>5</size><open-size>6</open-size></data>"
    )
}

#[test]
fn repomd_binds_its_files() {
    let text = repomd(
        &(data("primary", "sha256", "repodata/p.xml.gz")
            + &data("filelists", "sha", "f")
            + &data("modules", "sha256", "m")),
    );
    let found = Repomd::parse("r", text.as_bytes()).unwrap();
    let primary = found.primary().unwrap();
    assert_eq!(
        (primary.path.as_str(), primary.size, primary.open_size),
        ("repodata/p.xml.gz", Some(5), Some(6))
    );
    assert_eq!(primary.checksum, Checksum::of("sha256", SHA256).unwrap());
    assert_eq!(
        primary.checksum.to_string(),
        format!("sha256:{}", SHA256.to_lowercase())
    );
    assert_eq!(
        (found.revision.as_deref(), found.updateinfo(), found.modules().is_some()),
        (Some("7"), None, true)
    );
    let stored = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Repomd>(&stored).unwrap(), found);
}

#[test]
fn indexes_that_cannot_be() {
    let good = data("primary", "sha256", "p");
    let table = [
        (repomd(""), "it names no package list"),
        (
            repomd(&data("primary", "sha", "p")),
            "a file has no checksum that proves something (SHA-256 or SHA-512)",
        ),
        (
            repomd(&data("primary", "sha512", "p")),
            "a file has no checksum that proves something (SHA-256 or SHA-512)",
        ),
        (repomd(&(good.clone() + &good)), "two files of one kind"),
        (
            repomd(&data("primary", "sha256", "../p")),
            "the path of a file is \"../p\"",
        ),
        (
            repomd(&data("primary", "sha256", "http://evil/p")),
            "the path of a file is \"http://evil/p\"",
        ),
        (
            repomd(&data("primary", "sha256", "%2e%2e/p")),
            "the path of a file is \"%2e%2e/p\"",
        ),
        (repomd(&data("primary", "sha256", "/p")), "the path of a file is \"/p\""),
        ("<html></html>".to_owned(), "not the index of a repository"),
        (
            "<!DOCTYPE x [<!ENTITY a \"b\">]><repomd/>".to_owned(),
            "a document type, which could define entities",
        ),
        (repomd(&"<a>".repeat(40)), "elements are nested too deep"),
        (repomd("<revision>&x;</revision>"), "an unknown entity"),
        ("<repomd>".to_owned(), "the file ends too early"),
        ("<repomd".to_owned(), "not XML that can be read"),
        (repomd("<a></b>"), "not XML that can be read"),
        (String::new(), "it names no package list"),
    ];
    for (text, expected) in table {
        let error = Repomd::parse("r", text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("r: byte ") && error.ends_with(expected),
            "{error:?} {expected:?}"
        );
    }
}

#[test]
fn mirrors_and_checksums_of_a_metalink() {
    let text = format!(
        r#"<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/" xmlns:mm0="m"><files>
        <file name="other"><resources><url preference="100">https://other/repodata/repomd.xml</url></resources></file>
        <file name="repomd.xml"><mm0:timestamp>1</mm0:timestamp><size>9</size><verification><hash type="md5">00</hash>
        <hash type="sha256">{SHA256}</hash></verification><mm0:alternates><mm0:alternate><verification>
        <hash type="sha256">{}</hash></verification></mm0:alternate></mm0:alternates><resources maxconnections="1">
        <url protocol="rsync" preference="100">rsync://a/repodata/repomd.xml</url>
        <url protocol="https" preference="98">https://b/x?a=1&amp;b=repodata/repomd.xml</url>
        <url protocol="http" preference="99">http://c/repodata/repomd.xml</url>
        <url protocol="http" preference="100">http://d/elsewhere.xml</url></resources></file></files></metalink>"#,
        SHA256.replace('0', "9")
    );
    let found = Metalink::parse("m", text.as_bytes()).unwrap();
    let mirrors: Vec<_> = found
        .mirrors
        .iter()
        .map(|mirror| (mirror.url.as_str(), mirror.preference))
        .collect();
    assert_eq!(mirrors, [("http://c/", 99), ("https://b/x?a=1&b=", 98)]);
    assert_eq!(found.checksums.len(), 2);
    assert_eq!(found.checksums[0], Checksum::of("sha256", SHA256).unwrap());
    assert!(Metalink::parse("m", b"<metalink/>").is_err());
    let list = mirror_list(b"# comment\nhttps://a/$x/\n  http://b/ \nftp://c/\n<html>\nhttp://d/ e\n");
    assert_eq!(list, ["https://a/$x/", "http://b/"]);
}

fn primary(package: &str) -> String {
    format!("<metadata xmlns=\"c\" packages=\"1\"><package type=\"rpm\">{package}</package></metadata>")
}

const PACKAGE: &str =
    "<name>a</name><arch>noarch</arch><version epoch=\"0\" ver=\"1\" rel=\"2\"/><location href=\"a.rpm\"/>";

#[test]
fn packages_that_cannot_be_are_left_out() {
    let cases = [
        (PACKAGE.to_owned(), (1, 0)),
        (PACKAGE.replace("noarch", "src"), (0, 0)),
        (PACKAGE.replace(">a<", ">a b<"), (0, 1)),
        (PACKAGE.replace("noarch", ""), (0, 1)),
        (PACKAGE.replace("\"0\"", "\"x\""), (0, 1)),
        (PACKAGE.replace("ver=", "other="), (0, 1)),
        (PACKAGE.replace("a.rpm", ""), (0, 1)),
    ];
    for (package, expected) in cases {
        let index = Index::read("p", primary(&package).as_bytes()).unwrap();
        assert_eq!((index.len(), index.skipped()), expected, "{package}");
    }
    let malformed = primary(&PACKAGE.replace("epoch=\"0\"", "epoch=0"));
    let error = Index::read("p", malformed.as_bytes()).unwrap_err().to_string();
    assert!(error.ends_with("malformed attributes"), "{error}");
}

#[test]
fn advisories_that_cannot_be_are_left_out() {
    let package = |name: &str, architecture: &str| {
        format!("<package name=\"{name}\" version=\"1\" release=\"1\" arch=\"{architecture}\"/>")
    };
    let update = |id: &str, packages: &str| {
        let list = format!("<pkglist><collection>{packages}</collection></pkglist>");
        format!("<update type=\"security\"><id>{id}</id>{list}</update>")
    };
    let packages = [package("a b", "noarch"), package("a", "src"), package("a", "noarch")].concat();
    let text = [update("A;B", &packages), update("A-1", &packages)].concat();
    let mut index = Index::default();
    index
        .add_advisories("u", format!("<updates>{text}</updates>").as_bytes())
        .unwrap();
    let found: Vec<_> = index
        .advisories("a", "noarch")
        .map(|(advisory, version)| (advisory.id.as_str(), version.to_string()))
        .collect();
    assert_eq!(found, [("A-1", "1-1".to_owned())]);
    assert_eq!(
        (
            index.advisories("a", "src").count(),
            index.advisories("a b", "noarch").count()
        ),
        (0, 0)
    );
}

#[test]
fn one_endless_text_is_refused_early() {
    let began = Instant::now();
    let start = b"<metadata><package><description>".as_slice();
    let reader = BufReader::new(start.chain(std::io::repeat(b'x')));
    let error = Index::read("p", reader).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("bytes without a tag"), "{error} {cause}");
    let reader = BufReader::new(start.chain(std::io::repeat(b'<')));
    assert!(Index::read("p", reader).is_err());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn many_packages_take_little() {
    let mut text = "<metadata>".to_owned();
    for number in 0..60_000 {
        let package = PACKAGE
            .replace(">a<", &format!(">package{}<", number % 20_000))
            .replace("a.rpm", "Packages/p/package-1-2.noarch.rpm");
        let rest =
            "<format><rpm:provides><rpm:entry name=\"x\" flags=\"EQ\" ver=\"1\"/></rpm:provides></format>".repeat(5);
        text +=
            &format!("<package type=\"rpm\">{package}<description>a text of some length</description>{rest}</package>");
    }
    text += "</metadata>";
    let began = Instant::now();
    let index = Index::read("p", text.as_bytes()).unwrap();
    assert_eq!((index.len(), index.of("package19999").count()), (60_000, 3));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?} for {} bytes",
        began.elapsed(),
        text.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text(text in "[<>/a-c=\"'&;! \\[\\]?-]{0,200}") {
        for text in [repomd(&text), primary(&text), text] {
            let _ = Repomd::parse("r", text.as_bytes());
            let _ = Metalink::parse("m", text.as_bytes());
            let _ = Index::read("p", text.as_bytes());
            let _ = Index::default().add_advisories("u", text.as_bytes());
            let _ = mirror_list(text.as_bytes());
        }
    }
}
