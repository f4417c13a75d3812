//! Images without a package manager and without a shell: patched without a container, on a machine where no BuildKit is, for any
//! architecture. Real packages of this machine's distribution, and some of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use patchport_kit::apt::{Package, Repository, Suite};
use patchport_kit::client::{pull, pull_manifest};
use patchport_kit::debian::Rootfs;
use patchport_kit::distroless::{Root, codename, download, is_older, sources, tree, umoci, versions};
use patchport_kit::image::{ImageBuilder, Pulled, native};
use patchport_kit::mirror::Setup;
use patchport_kit::process::run;
use patchport_kit::scanner::{syft, write_pulled};
use patchport_kit::{Image, Index, Layer, Mirror, Registry};
use serde_json::json;

use crate::patch_scene::{LONG, REPOSITORY, get_tag, logged, pull_patched, rule, until_patched};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

/// os-release as distroless images have it: without the name of the release in a field of its own.
fn release(codename: &str) -> String {
    format!(
        "PRETTY_NAME=\"Distroless\"\nID=\"debian\"\nVERSION_ID=\"12\"\nVERSION=\"Debian GNU/Linux 12 ({codename})\"\n"
    )
}

/// A mirror without any BuildKit, that denies what is not patched and knows these sources of Debian's packages.
fn mirror(registry: &Registry, sources: &str, more: &str) -> Setup {
    let entry = format!("id = \"debian\"\nsources = \"\"\"\n{sources}\"\"\"\n{more}");
    let setup = setup(registry)
        .set("patch", "retry_after = \"1s\"")
        .rule(&rule(LONG, "deny", "deny"));
    setup.set("[scan.distribution]", &entry)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_distroless_debian_comes_back_with_nothing_outdated() {
    promise("An image without a package manager is patched without a container.");
    let debs = tempfile::tempdir().unwrap();
    // Whatever of these has a newer version on the mirror is outdated in the image.
    let names = [
        "base-files",
        "ca-certificates",
        "libc6",
        "libexpat1",
        "liblzma5",
        "libssl3",
        "netbase",
        "openssl",
        "tzdata",
        "zlib1g",
    ];
    let known: BTreeMap<&str, Vec<String>> = names.iter().map(|name| (*name, versions(name))).collect();
    let oldest = |name: &str| known[name].first().unwrap().clone();
    let newest = |name: &str| known[name].last().unwrap().clone();
    let (root, mut outdated) = (Root::new(true), BTreeSet::new());
    let mut expected = BTreeSet::new();
    for name in names {
        let (old, new) = (oldest(name), newest(name));
        let (old, new) = (&old, &new);
        let old = download(name, old, debs.path());
        root.install(&old);
        let field = |field: &str| {
            run(Command::new("dpkg-deb").arg("-f").arg(&old).arg(field))
                .trim()
                .to_owned()
        };
        expected.insert(format!("{name} {new} {}", field("Architecture")));
        if is_older(&field("Version"), new) {
            outdated.insert(name);
        }
    }
    for wanted in ["libssl3", "openssl", "ca-certificates", "tzdata"] {
        assert!(
            outdated.contains(wanted),
            "{wanted} has an older version on the machine's mirror: {outdated:?}"
        );
    }
    root.write("etc/os-release", release(&codename()));
    root.write("etc/ssl/openssl.cnf", "# mine\n");
    let script = "cat usr/share/ca-certificates/mozilla/*.crt > etc/ssl/certs/ca-certificates.crt; rm -r usr/share/ca-certificates";
    run(Command::new("sh")
        .args(["-c", script])
        .env("LC_ALL", "C")
        .current_dir(root.path()));
    let image = Image::builder()
        .layer(root.layer())
        .config("Entrypoint", json!(["/usr/bin/openssl"]))
        .build();
    let registry = Registry::start().await;
    registry.push(REPOSITORY, Some("v1"), &image);
    let keys = "keys = [\"/usr/share/keyrings/debian-archive-keyring.gpg\"]";
    // umoci does not know zstd.
    let setup = mirror(&registry, &sources(), keys).set("patch", "compression = \"gzip\"");
    let first = setup.clone().start().await;
    let patched = pull_patched(&first, "v1", &image.digest()).await;
    let original = Pulled::of(&image);
    assert_nothing_but_the_patch(&original, &patched);

    let (before, after) = (Rootfs::unpack(&original), Rootfs::unpack(&patched));
    let layout = tempfile::tempdir().unwrap();
    write_pulled(&patched, layout.path());
    assert_eq!(syft(layout.path()).await, expected, "by syft");
    let bundle = tempfile::tempdir().unwrap();
    let unpacked = umoci(layout.path(), bundle.path());
    assert_eq!(tree(&unpacked), tree(after.path()), "umoci and tar unpack the same");

    // Every sum of the upgraded packages is true, and of a file that is there.
    let lists = outdated
        .iter()
        .map(|name| format!("var/lib/dpkg/status.d/{name}.md5sums"));
    let lists = lists.collect::<Vec<_>>().join(" ");
    let sums = run(Command::new("sh")
        .args(["-c", &format!("cat {lists}")])
        .current_dir(after.path()));
    assert!(sums.lines().count() > 100, "{sums}");
    run(Command::new("sh")
        .args(["-c", &format!("cat {lists} | md5sum -c --quiet")])
        .current_dir(after.path()));

    // Nothing else has changed: what differs belongs to an upgraded package, old or new, or to the database.
    let mut owned = BTreeSet::new();
    for name in &outdated {
        for version in [oldest(name), newest(name)] {
            let deb = download(name, &version, debs.path());
            let listed = run(Command::new("sh")
                .args(["-c", "dpkg-deb --fsys-tarfile \"$1\" | tar -t", "sh"])
                .arg(&deb));
            let paths = listed
                .lines()
                .map(|path| path.trim_start_matches("./").trim_end_matches('/').to_owned());
            owned.extend(paths.flat_map(|path| [format!("usr/{path}"), path]));
        }
    }
    let (old, new) = (tree(before.path()), tree(after.path()));
    let differs = |path: &&String| old.get(*path) != new.get(*path);
    let strays = old.keys().chain(new.keys()).filter(differs).filter(|path| {
        !owned.contains(*path)
            && !path.starts_with("var/lib/dpkg/status.d/")
            && *path != "etc/ssl/certs/ca-certificates.crt"
    });
    assert_eq!(strays.collect::<Vec<_>>(), Vec::<&String>::new());
    for dropped in [
        "usr/share/man",
        "usr/share/ca-certificates/mozilla",
        "usr/share/doc/libssl3/changelog.Debian.gz",
    ] {
        assert!(
            !after.path().join(dropped).exists(),
            "{dropped} was dropped and stays away"
        );
    }
    assert!(after.path().join("lib").is_symlink(), "the links of a merged /usr stay");
    assert_eq!(
        after.read("etc/ssl/openssl.cnf").as_deref(),
        Some("# mine\n"),
        "a changed conffile stays"
    );

    // The bundle is what update-ca-certificates makes of the new package.
    let certificates = Root::new(false);
    certificates.install(&download("ca-certificates", &newest("ca-certificates"), debs.path()));
    let mut cat = Command::new("sh");
    cat.args(["-c", "cat usr/share/ca-certificates/mozilla/*.crt"])
        .env("LC_ALL", "C")
        .current_dir(certificates.path());
    assert!(
        after.read("etc/ssl/certs/ca-certificates.crt") == Some(run(&mut cat)),
        "the bundle is of the new certificates"
    );

    // What is in it runs, with its new library.
    let version = after.program(&["/usr/bin/openssl", "version"]).await;
    let library = newest("libssl3");
    let upstream = library.split('-').next().unwrap();
    assert!(
        version.success && version.output.matches(upstream).count() == 2,
        "{upstream}: {}",
        version.output
    );

    let second = setup.start().await;
    let again = until_patched(&second, "v1", &image.digest()).await;
    assert_eq!(again.digest, patched.digest(), "the same digest from another mirror");
}

/// A package of the kit as a distroless image has it.
fn fragment(mut layer: Layer, package: &Package) -> Layer {
    let mut sums = String::new();
    for (path, content) in &package.files {
        layer = layer.file(path, content);
        if !package.conffiles.contains(path) {
            sums += &format!("{}  {path}\n", patchport_kit::debian::md5(content));
        }
    }
    let name = &package.name;
    let stanza = format!(
        "Package: {name}\nMaintainer: kit <kit@example.invalid>\nArchitecture: all\nVersion: {}\nDescription: made by the kit\n",
        package.version
    );
    layer
        .directory("var/lib/dpkg/status.d")
        .file(&format!("var/lib/dpkg/status.d/{name}"), stanza)
        .file(&format!("var/lib/dpkg/status.d/{name}.md5sums"), sums)
}

/// A distroless image with these packages, of an architecture.
fn image_of(architecture: &str, packages: &[Package]) -> ImageBuilder {
    let base = format!("Package: base-files\nArchitecture: {architecture}\nVersion: 99\nDescription: base\n");
    let layer = Layer::new()
        .file("etc/os-release", release("kit"))
        .file("var/lib/dpkg/status.d/base", base);
    let layer = packages.iter().fold(layer, fragment);
    Image::builder().architecture(architecture).layer(layer.gzip())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_of_an_index_is_patched_where_no_builder_is() {
    promise("Images that are patched without a container are so on every platform.");
    let apt = Repository::start().await;
    let new = Package::new("kit-plain", "1.1")
        .conffile("etc/kit.conf", "theirs\n")
        .file("usr/lib/kit/new", "n\n");
    let script = Package::new("kit-script", "1.1").script("postinst", "echo something that matters");
    let suite = Suite::new("kit").package(&apt, &new).package(&apt, &script);
    suite.publish(&apt, None);
    let old = [
        Package::new("kit-plain", "1.0")
            .conffile("etc/kit.conf", "mine\n")
            .file("usr/lib/kit/old", "o\n"),
        Package::new("kit-script", "1.0"),
    ];
    let other = if native() == "arm64" { "amd64" } else { "arm64" };
    let images = [native(), other].map(|architecture| image_of(architecture, &old).build());
    let index = Index::of(&images, true);
    let registry = Registry::start().await;
    registry.push_index(REPOSITORY, Some("v1"), &index);
    let mirror = mirror(&registry, &format!("deb {}/ $codename main\n", apt.url()), "")
        .start()
        .await;
    until_patched(&mirror, "v1", &index.digest()).await;
    let patched = pull_manifest(&mirror.client(), REPOSITORY, "v1").await;
    let children = patched.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(children.len(), 2, "{children:?}");
    for (image, child) in images.iter().zip(&children) {
        assert_eq!(child["platform"]["architecture"], image.platform.1);
        let pulled = pull(&mirror.client(), REPOSITORY, child["digest"].as_str().unwrap()).await;
        assert_nothing_but_the_patch(&Pulled::of(image), &pulled);
        let layout = tempfile::tempdir().unwrap();
        write_pulled(&pulled, layout.path());
        let expected = [
            format!("base-files 99 {}", image.platform.1),
            "kit-plain 1.1 all".to_owned(),
            "kit-script 1.0 all".to_owned(),
        ];
        assert_eq!(syft(layout.path()).await, BTreeSet::from(expected));
        let rootfs = Rootfs::unpack(&pulled);
        assert_eq!(rootfs.read("usr/share/kit-plain/version").as_deref(), Some("1.1\n"));
        assert_eq!(rootfs.read("usr/share/kit-script/version").as_deref(), Some("1.0\n"));
        assert_eq!(
            rootfs.read("etc/kit.conf").as_deref(),
            Some("mine\n"),
            "a conffile stays"
        );
        assert_eq!(rootfs.read("usr/lib/kit/new").as_deref(), Some("n\n"));
        assert_eq!(
            rootfs.read("usr/lib/kit/old"),
            None,
            "what the new version has not is gone"
        );
    }
    logged(&mirror, "kit-script left as it is: its postinst cannot run").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_sources_of_its_distribution_it_is_said_what_to_write() {
    let registry = Registry::start().await;
    let image = image_of(native(), &[Package::new("kit-plain", "1.0")]).build();
    registry.push(REPOSITORY, Some("v1"), &image);
    let mirror = setup(&registry).rule(&rule(LONG, "deny", "deny")).start().await;
    assert_clear_error("no entry", &get_tag(&mirror, "v1").await, &[403]);
    logged(&mirror, "write a [[scan.distribution]] with id = \"debian\"").await;
    let reference = format!("{}/{REPOSITORY}:v1", registry.host());
    let said = Mirror::setup().run(&["scan", &reference]).await;
    assert!(
        said.code != Some(0) && said.stderr.contains("codename = \"kit\""),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_nobody_vouches_for_is_not_believed_for_a_distribution_either() {
    let apt = Repository::start().await;
    Suite::new("kit")
        .package(&apt, &Package::new("kit-plain", "1.1"))
        .publish(&apt, None);
    let registry = Registry::start().await;
    registry.push(
        REPOSITORY,
        Some("v1"),
        &image_of(native(), &[Package::new("kit-plain", "1.0")]).build(),
    );
    let setup = mirror(&registry, &format!("deb {}/ $codename main\n", apt.url()), "").no_repositories();
    let mirror = setup.repository("match = \"http://127.0.0.1:*\"").start().await;
    assert_clear_error("unsigned", &get_tag(&mirror, "v1").await, &[403]);
    logged(&mirror, "give the key to `keys`").await;
}
