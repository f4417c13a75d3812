//! By hand: this machine's own packages and indexes, before its own `apt-get -s upgrade` and this crate.
//! `apt-get update && cargo test -p patchport-packages --test apt -- --ignored --nocapture machine`

use std::process::Command;
use std::time::Instant;
use std::{fs, iter};

use patchport_packages::apt::{self, Configuration, Index, Release, Repository, Target};
use patchport_packages::layer::{self, Limits, Wanted};

use crate::judge::{NATIVE, fixable, inventory, upgrades_in};

const LISTS: &str = "/var/lib/apt/lists";

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .env("LC_ALL", "C")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn configuration() -> Configuration {
    let archive = run("tar", &["-C", "/", "-cf", "-", "etc/apt", "var/lib/dpkg/status"]);
    let read = layer::read(
        &*archive,
        layer::Compression::None,
        &Wanted::packages(),
        &Limits::default(),
    )
    .unwrap();
    Configuration::read(&layer::merge([&read])).unwrap()
}

/// What apt keeps of a target; nothing when it has none.
fn fetched(target: &Target) -> Option<(Release, Index)> {
    let base = format!("{}{}", target.uri, target.release())
        .replace("http://", "")
        .replace('/', "_");
    let signed = fs::read_to_string(format!("{LISTS}/{base}InRelease")).unwrap();
    let text = signed
        .split_once("\n\n")
        .unwrap()
        .1
        .split("-----BEGIN PGP SIG")
        .next()
        .unwrap();
    let packages = format!("{LISTS}/{base}{}", target.packages().replace('/', "_"));
    let path = ["", ".lz4", ".xz", ".gz"].map(|suffix| format!("{packages}{suffix}"));
    let path = path.into_iter().find(|path| fs::exists(path).unwrap())?;
    let bytes = run("/usr/lib/apt/apt-helper", &["cat-file", &path]);
    Some((
        Release::parse(text.as_bytes()).unwrap(),
        Index::parse(&*bytes, 1 << 30).unwrap(),
    ))
}

/// Every installed package a little older, without the relations that would be broken then.
fn older(status: &str) -> String {
    let mut kept = true;
    let lines = status.lines().filter_map(|line| {
        if !line.starts_with(' ') {
            let name = line.split(':').next().unwrap();
            kept = !["Depends", "Pre-Depends", "Breaks", "Conflicts"].contains(&name);
        }
        let version = line.strip_prefix("Version: ");
        kept.then(|| version.map_or_else(|| line.to_owned(), |version| format!("Version: {version}~~")))
    });
    lines
        .flat_map(|line| [line, "\n".to_owned()])
        .chain(iter::once("\n".to_owned()))
        .collect()
}

#[test]
#[ignore = "depends on the machine"]
#[expect(clippy::print_stdout, reason = "a comparison by hand")]
fn this_machine() {
    let configuration = configuration();
    let targets = apt::targets(&configuration, NATIVE);
    let read: Vec<_> = targets
        .iter()
        .filter_map(|target| Some((target, fetched(target)?)))
        .collect();
    let repositories = read
        .iter()
        .map(|(target, (release, index))| Repository { target, release, index });
    let repositories: Vec<Repository<'_>> = repositories.collect();
    let status = fs::read_to_string("/var/lib/dpkg/status").unwrap();
    for (name, status) in [("older", older(&status)), ("as it is", status)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &status).unwrap();
        let inventory = inventory(status.as_bytes());
        let packages: Vec<_> = inventory.packages.iter().collect();
        for (new, more) in [(false, None), (true, Some("--with-new-pkgs"))] {
            let begin = Instant::now();
            let find = if new { apt::outdated } else { apt::plain_upgrade };
            let findings = find(&packages, &inventory.held, &configuration, &repositories, NATIVE);
            let (took, ours) = (begin.elapsed(), fixable(&findings));
            let option = format!("Dir::State::status={}", file.path().display());
            let arguments: Vec<&str> = ["-s", "-o", &option, "upgrade"].into_iter().chain(more).collect();
            let mut theirs = upgrades_in(&String::from_utf8(run("apt-get", &arguments)).unwrap());
            theirs.sort();
            let (count, same) = (packages.len(), ours == theirs);
            println!(
                "{name}, new packages {new}: {count} installed, {} upgrades, the same: {same}, {took:?}",
                theirs.len()
            );
            for line in ours.iter().filter(|line| !theirs.contains(line)) {
                println!("  only here: {line}");
            }
            for line in theirs.iter().filter(|line| !ours.contains(line)) {
                let name = line.split(' ').next().unwrap();
                println!(
                    "  only apt: {line} {:?}",
                    findings.findings.iter().find(|finding| finding.package == name)
                );
            }
        }
    }
}
