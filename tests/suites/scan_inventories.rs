//! What is installed: the packages of distributions that `patchport scan` lists are those that syft finds, package by package, with
//! version and architecture. Where the two differ on purpose, the difference and its reason stand here.

use std::collections::BTreeSet;
use std::process::Command;
use std::slice::from_ref;

use patchport_kit::client::{Client, pull};
use patchport_kit::debian::testbed;
use patchport_kit::image::{Blob, Compression, Layer, inflate};
use patchport_kit::mirror::Setup;
use patchport_kit::process::run;
use patchport_kit::scanner::{syft, write_layout};
use patchport_kit::{Image, Mirror, Registry, alpine};
use serde_json::Value;

/// A difference that is meant: the package as `name version architecture`, and why only one of the two has it.
struct Difference {
    package: &'static str,
    ours: bool,
    reason: &'static str,
}

/// Panics unless both readers find the same, but for these differences. Gives how many packages there are.
async fn assert_same(name: &str, image: &Image, differences: &[Difference]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    write_layout(image, folder.path());
    let layout = folder.path().display().to_string();
    let setup = Mirror::setup();
    let (ours, mut theirs) = (listed(&setup, &layout).await, syft(folder.path()).await);
    for Difference {
        package,
        ours: is_ours,
        reason,
    } in differences
    {
        assert_eq!(
            ours.contains(*package),
            *is_ours,
            "{name}, ours: {package}, for {reason}"
        );
        assert_eq!(
            theirs.contains(*package),
            !is_ours,
            "{name}, syft's: {package}, for {reason}"
        );
        if *is_ours {
            theirs.insert((*package).to_owned());
        } else {
            theirs.remove(*package);
        }
    }
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let more: Vec<_> = ours.difference(&theirs).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "{name}: syft only: {missing:?}, we only: {more:?}"
    );
    assert_eq!(
        components(&setup, &layout).await,
        ours.len(),
        "{name}: components of CycloneDX"
    );
    ours.len()
}

/// The packages of the JSON report as `name version architecture`.
async fn listed(setup: &Setup, image: &str) -> BTreeSet<String> {
    let report = setup
        .run(&["scan", "--packages-only", "--format", "json", image])
        .await
        .json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = report["packages"].as_array().unwrap();
    let named = packages.iter().map(|package| {
        format!(
            "{} {} {}",
            text(&package["name"]),
            text(&package["version"]),
            text(&package["architecture"])
        )
    });
    let set: BTreeSet<String> = named.collect();
    assert_eq!(set.len(), packages.len(), "no package is listed twice");
    set
}

/// How many packages of distributions the CycloneDX document has.
async fn components(setup: &Setup, image: &str) -> usize {
    let document = setup
        .run(&["scan", "--packages-only", "--format", "cyclonedx", image])
        .await
        .json();
    let components = document["components"].as_array().unwrap().iter();
    let purls = components.filter_map(|component| component["purl"].as_str());
    let ours = purls.filter(|purl| {
        ["pkg:deb/", "pkg:apk/", "pkg:rpm/"]
            .iter()
            .any(|kind| purl.starts_with(kind))
    });
    ours.collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packages_of_a_real_debian_are_those_that_syft_finds() {
    let image = testbed("PATCHPORT_TEST_IMAGE_DEBIAN");
    let (repository, tag) = image.rsplit_once(':').unwrap();
    let registry = testbed("PATCHPORT_TEST_REGISTRY");
    let pulled = pull(&Client::new(&*registry), repository, tag).await;
    let layers = pulled.layers.iter().map(|bytes| Blob {
        bytes: bytes.clone(),
        diff_id: patchport_kit::digest(&inflate(bytes)),
        compression: Compression::Gzip,
    });
    let image = layers
        .fold(Image::builder(), |builder, layer| builder.layer(layer))
        .build();
    let count = assert_same("debian", &image, &[]).await;
    assert!(count > 80, "{count}");
    let reference = format!("{registry}/{repository}:{tag}");
    assert_eq!(
        listed(&Mirror::setup(), &reference).await.len(),
        count,
        "from the registry"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packages_of_a_real_alpine_are_those_that_syft_finds() {
    let image = alpine::image().await.build();
    let count = assert_same("alpine", &image, &[]).await;
    assert!(count > 40, "{count}");
    let registry = Registry::start().await;
    registry.push("library/alpine", Some("real"), &image);
    let reference = format!("{}/library/alpine:real", registry.host());
    assert_eq!(
        listed(&Mirror::setup(), &reference).await.len(),
        count,
        "from the registry"
    );
}

const DEBIAN: &str =
    "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_packages_of_made_debian_images_are_those_that_syft_finds() {
    let status = [
        stanza(
            "bash",
            "5.2.15-2+b7",
            "amd64",
            "install ok installed",
            "Source: bash (5.2.15-2)\n",
        ),
        stanza(
            "libc6",
            "2.36-9+deb12u10",
            "amd64",
            "install ok installed",
            "Source: glibc\nMulti-Arch: same\n",
        ),
        stanza(
            "libc6",
            "2.36-9+deb12u10",
            "i386",
            "install ok installed",
            "Source: glibc\nMulti-Arch: same\n",
        ),
        stanza("perl-base", "5.36.0-7", "amd64", "hold ok installed", ""),
        stanza(
            "tzdata",
            "2:2024b~rc1-0+deb12u1",
            "all",
            "install ok installed",
            "Conffiles:\n /etc/x 0123\n",
        ),
        stanza("removed", "1.0", "all", "deinstall ok config-files", ""),
    ]
    .concat();
    let removed = Difference {
        package: "removed 1.0 all",
        ours: false,
        reason: "it was removed and only its configuration files are left (dpkg: deinstall ok config-files); syft lists it",
    };
    let base = || Layer::new().file("etc/os-release", DEBIAN);
    let one = Image::builder()
        .layer(base().file("var/lib/dpkg/status", &status).zstd())
        .build();
    assert_eq!(
        assert_same("epochs, holds, two architectures", &one, from_ref(&removed)).await,
        5
    );

    let later = status.replace("5.2.15-2+b7", "5.2.15-2+b8") + &stanza("added", "1", "all", "install ok installed", "");
    let layers = Image::builder()
        .layer(
            base()
                .file("var/lib/dpkg/status", &status)
                .file(
                    "var/lib/dpkg/status.d/gone",
                    stanza("gone", "1", "all", "install ok installed", ""),
                )
                .gzip(),
        )
        .layer(
            Layer::new()
                .file("var/lib/dpkg/.wh.status.d", "")
                .file("var/lib/dpkg/status", &later)
                .zstd(),
        )
        .layer(Layer::new().file("etc/hostname", "x").plain())
        .build();
    assert_eq!(
        assert_same("a database that a later layer replaced", &layers, &[removed]).await,
        6
    );

    // distroless: a file for each package, and their checksums beside them.
    let part = |name: &str, version: &str| stanza(name, version, "amd64", "", "");
    // syft sees what is in this folder only where the layer names the folder, too, as real ones do.
    let distroless = Image::builder()
        .layer(
            base()
                .directory("var/lib/dpkg/status.d")
                .file("var/lib/dpkg/status.d/base", part("base-files", "12.4+deb12u11"))
                .file("var/lib/dpkg/status.d/base.md5sums", "0123  etc/x\n")
                .file("var/lib/dpkg/status.d/netbase", part("netbase", "6.4"))
                .file("var/lib/dpkg/status.d/libssl3", part("libssl3", "3.0.16-1~deb12u1"))
                .gzip(),
        )
        .layer(
            Layer::new()
                .directory("var/lib/dpkg/status.d")
                .file("var/lib/dpkg/status.d/.wh.netbase", "")
                .file("var/lib/dpkg/status.d/libssl3", part("libssl3", "3.0.17-1~deb12u2"))
                .gzip(),
        )
        .build();
    assert_eq!(assert_same("distroless", &distroless, &[]).await, 2);
}

fn stanza(name: &str, version: &str, architecture: &str, status: &str, more: &str) -> String {
    let status = if status.is_empty() {
        String::new()
    } else {
        format!("Status: {status}\n")
    };
    format!(
        "Package: {name}\n{status}Priority: optional\nSection: misc\nMaintainer: kit <kit@example.invalid>\n\
         Architecture: {architecture}\nVersion: {version}\n{more}Description: made by the kit\n\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packages_of_an_rpm_image_are_those_that_rpm_and_syft_find() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = [
        ("kit-a", "1.0", "1.el9", 0),
        ("kit-b", "2.0~rc1", "3.el9", 2),
        ("kit-c", "1.0^git1", "1", 0),
    ];
    let mut spec = String::from("Name: kit\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\n%description\nx\n");
    for (name, version, release, epoch) in made {
        let epoch = if epoch > 0 {
            format!("Epoch: {epoch}\n")
        } else {
            String::new()
        };
        spec += &format!(
            "%package -n {name}\nSummary: s\nVersion: {version}\nRelease: {release}\n{epoch}%description -n {name}\nx\n%files -n {name}\n"
        );
    }
    std::fs::write(path("kit.spec"), spec).unwrap();
    run(Command::new("rpmbuild").args([
        "-bb",
        "--quiet",
        "--target",
        std::env::consts::ARCH,
        "--define",
        &format!("_topdir {}", path("top")),
        &path("kit.spec"),
    ]));
    let built = std::fs::read_dir(folder.path().join("top/RPMS").join(std::env::consts::ARCH)).unwrap();
    let mut rpm = Command::new("rpm");
    rpm.args(["--dbpath", &path("database"), "--define", "_db_backend sqlite"]);
    rpm.args(["-i", "--nodeps", "--justdb", "--nosignature"]);
    run(rpm.args(built.map(|entry| entry.unwrap().path())));
    let format = "%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE} %{ARCH}\\n";
    let said = run(Command::new("rpm").args([
        "--dbpath",
        &path("database"),
        "--define",
        "_db_backend sqlite",
        "-qa",
        "--qf",
        &format!("%{{NAME}} {format}"),
    ]));
    let expected: BTreeSet<String> = said.lines().map(ToOwned::to_owned).collect();
    let database = std::fs::read(folder.path().join("database/rpmdb.sqlite")).unwrap();
    let release = "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n";
    for place in ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite"] {
        let layer = Layer::new().file("etc/os-release", release).file(place, &database);
        let image = Image::builder().layer(layer.gzip()).build();
        assert_eq!(assert_same(place, &image, &[]).await, made.len());
        let layout = tempfile::tempdir().unwrap();
        write_layout(&image, layout.path());
        assert_eq!(
            listed(&Mirror::setup(), &layout.path().display().to_string()).await,
            expected,
            "{place}: rpm -qa"
        );
    }
}
