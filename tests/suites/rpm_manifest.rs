//! Distroless images of rpm's family (Mariner, Azure Linux): lists of packages in place of a database, patched without a container, on a
//! machine where no BuildKit is. Packages by the real rpmbuild; the real rpm says what the result should be.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use patchport_kit::apt::Repository;
use patchport_kit::debian::Rootfs;
use patchport_kit::image::{Pulled, unpack};
use patchport_kit::mirror::Setup;
use patchport_kit::process::run;
use patchport_kit::rpm::{self, Offers, Package};
use patchport_kit::scanner::syft_of;
use patchport_kit::signer::Signer;
use patchport_kit::{Image, Layer, Registry};
use serde_json::json;

use crate::patch_scene::{LONG, REPOSITORY, logged, pull_patched, rule};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

const RELEASE: &str = "NAME=\"Microsoft Azure Linux\"\nID=azurelinux\nVERSION_ID=\"3.0\"\n";
const LDCONFIG: &str = "%post -p /sbin/ldconfig\n%postun -p /sbin/ldconfig";
/// A program with two names, a link, a program that runs as its owner, and what images leave out.
const MORE: (&str, &str) = (
    "mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/lib %{buildroot}/usr/share/licenses/kit-a\n\
     echo program $(cat %{buildroot}/usr/share/kit-a/version) > %{buildroot}/usr/bin/kit-a; chmod 4755 %{buildroot}/usr/bin/kit-a\n\
     ln %{buildroot}/usr/bin/kit-a %{buildroot}/usr/bin/kit-also\n\
     ln -s libkit.so.$(cat %{buildroot}/usr/share/kit-a/version) %{buildroot}/usr/lib/libkit.so\n\
     echo library > %{buildroot}/usr/lib/libkit.so.$(cat %{buildroot}/usr/share/kit-a/version)\n\
     echo licence > %{buildroot}/usr/share/licenses/kit-a/COPYING",
    "%attr(4755,root,root) /usr/bin/kit-a\n/usr/bin/kit-also\n/usr/lib/libkit.so*\n%license /usr/share/licenses/kit-a/COPYING",
);

fn installed() -> Vec<Package> {
    vec![
        Package::new("kit-a", "1.0-1")
            .of(std::env::consts::ARCH)
            .files(MORE.0, MORE.1),
        Package::new("kit-b", "2:1.0-1"),
        Package::new("kit-current", "1.0-1"),
        Package::new("kit-script", "1.0-1"),
    ]
}

/// What is taken, as it is afterwards.
fn taken() -> Vec<Package> {
    vec![
        Package::new("kit-a", "1.1-1")
            .of(std::env::consts::ARCH)
            .with(LDCONFIG)
            .files(MORE.0, MORE.1),
        Package::new("kit-b", "2:1.1-1"),
    ]
}

/// A program, and all that it needs to run.
fn program(path: &str) -> Layer {
    let said = run(Command::new("ldd").arg(path));
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/'));
    let layer = Layer::new().file_mode(path.trim_start_matches('/'), std::fs::read(path).unwrap(), 0o755);
    libraries.fold(layer, |layer, library| {
        layer.file_mode(library.trim_start_matches('/'), std::fs::read(library).unwrap(), 0o755)
    })
}

/// An image that has these packages and nothing that could tell but its lists.
fn image(packages: &[Package], more: Layer) -> Image {
    let root = tempfile::tempdir().unwrap();
    rpm::installed_in(root.path(), packages);
    let [names, lines] = rpm::manifests(root.path());
    std::fs::remove_dir_all(root.path().join("usr/share/licenses")).unwrap();
    std::fs::remove_dir_all(root.path().join("usr/share/doc")).unwrap();
    std::fs::write(root.path().join("etc/kit-b.conf"), "mine\n").unwrap();
    let layer = rpm::layer_of(root.path())
        .file("etc/os-release", RELEASE)
        .file("var/lib/rpmmanifest/container-manifest-1", names)
        .file("var/lib/rpmmanifest/container-manifest-2", lines);
    Image::builder()
        .layer(program("/bin/cat").gzip())
        .layer(layer.gzip())
        .layer(more.gzip())
        .config("Entrypoint", json!(["/bin/cat", "/usr/bin/kit-a"]))
        .config("User", json!("nonroot"))
        .build()
}

/// A mirror without any BuildKit, that denies what is not patched and knows where the packages are.
fn mirror(registry: &Registry, sources: &str, keys: &Path) -> Setup {
    let entry = format!(
        "id = \"azurelinux\"\ncodename = \"3.*\"\nsources = \"\"\"\n{sources}\"\"\"\nkeys = [\"{}\"]",
        keys.display()
    );
    let setup = setup(registry)
        .no_repositories()
        .repository("match = \"http://127.0.0.1:*\"")
        .set("patch", "retry_after = \"1s\"")
        .rule(&rule(LONG, "deny", "deny"));
    setup.set("[scan.distribution]", &entry)
}

/// The lines of a list, by name and architecture, without when packages were installed.
fn lines(text: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        fields[2].clear();
        found.insert((fields[0].clone(), fields[7].clone()), fields);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_lists_of_packages_only_is_patched_without_a_container() {
    promise(
        "An image that has lists of rpm packages in place of a database gets the files of the upgraded packages and their lines in the lists.",
    );
    let (server, (offers, key)) = (Repository::start().await, Offers::new("kit").signed());
    let mut offered = taken();
    offered.push(Package::new("kit-script", "1.1-1").post("true"));
    offers.publish(&server, &offered);
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), key).unwrap();
    let (registry, image) = (Registry::start().await, image(&installed(), Layer::new()));
    registry.push(REPOSITORY, Some("v1"), &image);
    let section = offers.section(&server, "");
    let mirror = mirror(&registry, &section, keys.path()).start().await;
    let patched = pull_patched(&mirror, "v1", &image.digest()).await;
    assert_nothing_but_the_patch(&Pulled::of(&image), &patched);
    logged(&mirror, "kit-script left as it is: its script %post cannot run").await;

    // What the real rpm makes of the same packages.
    let judge = tempfile::tempdir().unwrap();
    let mut all = taken();
    all.extend([
        Package::new("kit-current", "1.0-1"),
        Package::new("kit-script", "1.0-1"),
    ]);
    rpm::installed_in(judge.path(), &all);
    let [names, expected] = rpm::manifests(judge.path());
    let rootfs = Rootfs::unpack(&patched);
    let read = |path: &str| rootfs.read(path).unwrap_or_default();
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        sorted(&read("var/lib/rpmmanifest/container-manifest-1")),
        sorted(&names)
    );
    assert_eq!(
        lines(&read("var/lib/rpmmanifest/container-manifest-2")),
        lines(&expected)
    );
    let seen = syft_of(&patched).await;
    let architecture = std::env::consts::ARCH;
    // Of kit-b it takes the size for the epoch.
    let expected = [format!("kit-a 1.1-1 {architecture}"), "kit-script 1.0-1 noarch".into()];
    for package in expected {
        assert!(seen.contains(&package), "syft has {package}: {seen:?}");
    }
    // Every file is as rpm would have it: content, mode, owner, links.
    let database = rootfs.path().join("var/lib/rpm");
    run(Command::new("cp")
        .arg("-r")
        .arg(judge.path().join("var/lib/rpm"))
        .arg(&database));
    let mut verify = rpm::judge(rootfs.path());
    verify.args([
        "--verify",
        "--nodeps",
        "--noscripts",
        "--nomtime",
        "kit-a",
        "kit-b",
        "kit-current",
    ]);
    let said = String::from_utf8(verify.output().unwrap().stdout).unwrap();
    let missing = |line: &&str| {
        !line.starts_with("missing")
            || !["/usr/share/doc", "/usr/share/licenses"]
                .iter()
                .any(|spare| line.contains(spare))
    };
    let differing: Vec<&str> = said.lines().filter(missing).collect();
    // Nothing tells whether a configuration file was changed, so all stay.
    let [one, other] = &differing[..] else {
        panic!("only what was configured: {said}")
    };
    assert!(
        one.ends_with("c /etc/kit-a.conf") && other.ends_with("c /etc/kit-b.conf"),
        "{said}"
    );
    assert_eq!(read("etc/kit-b.conf"), "mine\n");
    let file = |path: &str| std::fs::metadata(rootfs.path().join(path)).unwrap();
    let (one, other) = (file("usr/bin/kit-a"), file("usr/bin/kit-also"));
    assert_eq!(
        (one.ino(), one.mode() & 0o7777, one.mtime()),
        (other.ino(), 0o4755, 1_704_067_200)
    );
    let link = std::fs::read_link(rootfs.path().join("usr/lib/libkit.so")).unwrap();
    assert_eq!(link.to_str(), Some("libkit.so.1.1-1"));
    assert_eq!(
        rootfs.read("usr/share/licenses/kit-a/COPYING"),
        None,
        "what the image leaves out stays out"
    );
    let foreign: Vec<String> = unpack(patched.layers.last().unwrap())
        .into_keys()
        .filter(|path| !path.ends_with('/') && !path.contains("kit") && !path.starts_with("var/lib/rpmmanifest/"))
        .collect();
    assert_eq!(foreign, Vec::<String>::new(), "nothing but the upgrades");
    let said = run(Command::new("chroot")
        .arg(rootfs.path())
        .args(["/bin/cat", "/usr/bin/kit-a"]));
    assert_eq!(said, "program 1.1-1\n", "its entrypoint runs");

    let again = self::mirror(&registry, &section, keys.path()).start().await;
    let again = pull_patched(&again, "v1", &image.digest()).await;
    assert_eq!(again.digest(), patched.digest(), "the same plan, the same image");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_ldconfig_could_do_and_what_nobody_signed_is_refused() {
    let (server, (offers, key)) = (Repository::start().await, Offers::new("kit").signed());
    offers.publish(&server, &taken()[..1]);
    let (keys, stranger) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    std::fs::write(keys.path(), key).unwrap();
    std::fs::write(stranger.path(), Signer::new("stranger").armored()).unwrap();
    let registry = Registry::start().await;
    let cached = image(&installed(), Layer::new().file("etc/ld.so.cache", "x"));
    registry.push(REPOSITORY, Some("v1"), &cached);
    let section = offers.section(&server, "");
    let refused = async |setup: Setup, reason: &str| {
        let mirror = setup.start().await;
        let answer = mirror.client().get(&format!("/v2/{REPOSITORY}/manifests/v1")).await;
        if answer.status == 200 {
            // Nothing is left to do, and that is said.
            assert_eq!(answer.digest, cached.digest(), "{reason}");
        } else {
            assert_clear_error(reason, &answer, &[403]);
        }
        logged(&mirror, reason).await;
    };
    refused(
        mirror(&registry, &section, keys.path()),
        "which only ldconfig could bring up to date",
    )
    .await;
    refused(mirror(&registry, &section, stranger.path()), "give the key to `keys`").await;
    let nobody = setup(&registry).rule(&rule(LONG, "deny", "deny"));
    refused(nobody, "write a [[scan.distribution]] with id = \\\"azurelinux\\\"").await;
}
