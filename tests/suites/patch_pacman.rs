//! Images of pacman: a Debian with the real pacman that plays Arch Linux, upgraded by it in a real BuildKit; what is outdated
//! by a scanner's report, and by the databases of repositories as pacman itself sees them.

use std::collections::BTreeSet;
use std::process::Command;

use patchport_kit::apt::Repository;
use patchport_kit::debian::{self, Rootfs};
use patchport_kit::front::Front;
use patchport_kit::image::{Compression, ImageBuilder, Layer, Pulled, from_tar, inflate, unpack};
use patchport_kit::scanner::syft_of;
use patchport_kit::signer::Signer;
use patchport_kit::{Buildkitd, Image, Registry};

use crate::patch_scene::{LONG, REPOSITORY, get_tag, logged, pull_patched, rule};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::scan_scene::{careful, found, scan};
use crate::scene::{assert_clear_error, setup};

const MISSING: &str = "pacman is on this machine: run the suites with `tests/run`, which installs it";

const OLD: [(&str, &str); 3] = [("kit-app", "1.0-1"), ("kit-library", "1.0-1"), ("kit-ignored", "1.0-1")];

/// The real pacman and the libraries that the base lacks.
fn tool(mut layer: Layer, base: &BTreeSet<String>) -> Option<Layer> {
    let said = Command::new("ldd").arg("/usr/bin/pacman").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    layer = layer.file_mode("usr/bin/pacman", std::fs::read("/usr/bin/pacman").ok()?, 0o755);
    for line in said.lines() {
        let Some((name, rest)) = line.trim().split_once(" => ") else {
            continue;
        };
        let path = rest.split(' ').next()?;
        let place = format!("usr/lib/{}-linux-gnu/{name}", std::env::consts::ARCH);
        if !base.contains(&place) {
            layer = layer.file_mode(&place, std::fs::read(path).ok()?, 0o644);
        }
    }
    Some(layer)
}

fn tar(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut layer = Layer::new();
    for (path, content) in entries {
        layer = layer.file(path, content);
    }
    inflate(&layer.gzip().bytes)
}

fn gzip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    from_tar(&tar(entries), Compression::Gzip).bytes.to_vec()
}

/// A package's file, and its paragraph in the database of a repository.
fn package(name: &str, version: &str) -> (String, Vec<u8>, (String, Vec<u8>)) {
    let information = format!(
        "pkgname = {name}\npkgbase = {name}\npkgver = {version}\npkgdesc = made by the kit\nurl = https://kit.example\n\
         builddate = 1704067200\npackager = kit\nsize = 10\narch = any\nlicense = MIT\nbackup = etc/{name}.conf\n"
    );
    let file = gzip(&[
        (".PKGINFO".to_owned(), information.into_bytes()),
        (format!("etc/{name}.conf"), format!("shipped {version}\n").into_bytes()),
        (format!("usr/share/{name}"), format!("{version}\n").into_bytes()),
    ]);
    let file_name = format!("{name}-{version}-any.pkg.tar.gz");
    let desc = format!(
        "%FILENAME%\n{file_name}\n\n%NAME%\n{name}\n\n%BASE%\n{name}\n\n%VERSION%\n{version}\n\n%DESC%\nmade by the kit\n\n\
         %CSIZE%\n{}\n\n%ISIZE%\n10\n\n%SHA256SUM%\n{}\n\n%ARCH%\nany\n\n",
        file.len(),
        &patchport_kit::digest(&file)[7..]
    );
    (file_name, file, (format!("{name}-{version}/desc"), desc.into_bytes()))
}

/// An image whose settings end so.
async fn image(repositories: &str) -> Option<ImageBuilder> {
    let configuration = format!("SigLevel = Never\nIgnorePkg = kit-ign*\n{repositories}");
    image_of(&OLD, &configuration).await
}

/// An image with these packages, whose pacman is told so.
async fn image_of(installed: &[(&str, &str)], configuration: &str) -> Option<ImageBuilder> {
    let base = debian::base().await;
    let paths: BTreeSet<String> = unpack(&inflate(&base.layer.bytes)).into_keys().collect();
    let mut layer = tool(Layer::new(), &paths)?
        .file(
            "usr/lib/os-release",
            "ID=arch\nNAME=\"Arch Linux\"\nPRETTY_NAME=\"Arch Linux\"\n",
        )
        .file(
            "etc/pacman.conf",
            format!("[options]\nArchitecture = {}\n{configuration}", std::env::consts::ARCH),
        )
        .file("var/lib/pacman/local/ALPM_DB_VERSION", "9\n");
    for (name, version) in installed {
        let folder = format!("var/lib/pacman/local/{name}-{version}");
        let conf = format!("shipped {version}\n");
        let sum = Command::new("sh")
            .arg("-c")
            .arg(format!("printf '{conf}' | md5sum"))
            .output()
            .ok()?;
        let sum = String::from_utf8_lossy(&sum.stdout)[..32].to_owned();
        layer = layer
            .file(
                &format!("{folder}/desc"),
                format!("%NAME%\n{name}\n\n%VERSION%\n{version}\n\n%BASE%\n{name}\n\n%DESC%\nkit\n\n%ARCH%\nany\n\n%SIZE%\n10\n\n"),
            )
            .file(
                &format!("{folder}/files"),
                format!("%FILES%\netc/\netc/{name}.conf\nusr/\nusr/share/\nusr/share/{name}\n\n%BACKUP%\netc/{name}.conf\t{sum}\n\n"),
            )
            .file(&format!("etc/{name}.conf"), if *name == "kit-app" { "mine\n" } else { &conf })
            .file(&format!("usr/share/{name}"), format!("{version}\n"));
    }
    Some(Image::builder().layer(base.layer.clone()).layer(layer.gzip()))
}

/// A repository that offers the newer versions.
async fn repository() -> Repository {
    let (repository, mut entries) = (Repository::start().await, Vec::new());
    for (name, _) in OLD {
        let (file_name, file, entry) = package(name, "1.1-1");
        repository.put(&format!("kit/{file_name}"), file);
        entries.push(entry);
    }
    repository.put("kit/kit.db", gzip(&entries));
    repository
}

/// A folder with a scanner's report about the image.
fn reports(image: &Image) -> tempfile::TempDir {
    let reports = tempfile::tempdir().unwrap();
    let updates = OLD.map(|(name, version)| {
        serde_json::json!({
            "name": name, "installedVersion": version, "fixedVersion": "1.1-1", "vulnerabilityID": "CVE-2026-0001",
        })
    });
    let report = serde_json::json!({
        "apiVersion": "v1alpha1",
        "metadata": { "os": { "type": "arch", "version": "" }, "config": { "arch": patchport_kit::image::native() } },
        // kit-library is outdated as well, and nobody says so.
        "updates": [updates[0], updates[2]],
    });
    let name = format!("{}.json", image.digest().replace(':', "-"));
    std::fs::write(reports.path().join(name), report.to_string()).unwrap();
    reports
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_pacman_is_upgraded_as_a_whole_and_what_it_ignores_stays() {
    let repository = repository().await;
    let image = image(&format!("[kit]\nServer = {}/kit\n", repository.url())).await;
    let image = image.expect(MISSING).build();
    let (registry, buildkit) = (Registry::start().await, Buildkitd::shared().await);
    registry.push(REPOSITORY, Some("v1"), &image);
    let reports = reports(&image);
    let mirror = setup(&registry)
        .buildkit(buildkit.address())
        .rule(&rule(LONG, "deny", "deny"))
        .set("scan", "scanners = [\"report\"]")
        .set("scan", &format!("reports = \"{}\"", reports.path().display()))
        .start()
        .await;
    let patched = pull_patched(&mirror, "v1", &image.digest()).await;
    let rootfs = Rootfs::unpack(&patched);
    let said = rootfs.shell("pacman -Q 2> /dev/null").await;
    assert_eq!(said.output, "kit-app 1.1-1\nkit-ignored 1.0-1\nkit-library 1.1-1\n");
    let read = |path: &str| rootfs.read(path).unwrap_or_default();
    assert_eq!(read("etc/kit-app.conf"), "mine\n", "a changed file stays");
    assert_eq!(read("etc/kit-app.conf.pacnew"), "shipped 1.1-1\n");
    assert_eq!(read("etc/kit-library.conf"), "shipped 1.1-1\n");
    let paths: Vec<String> = unpack(&inflate(patched.layers.last().unwrap()))
        .into_keys()
        .filter(|path| !path.ends_with('/'))
        .collect();
    let is_own = |path: &&String| {
        let (own, local) = (path.contains("kit-app"), path.contains("kit-library"));
        // pacman runs ldconfig.
        own || local || path.starts_with("var/lib/pacman/local/") || path.as_str() == "etc/ld.so.cache"
    };
    let more: Vec<_> = paths.iter().filter(|path| !is_own(path)).collect();
    assert!(more.is_empty(), "{more:?}");
    assert_eq!(
        &patched.layers[..2],
        &Pulled::of(&image).layers[..],
        "the base is as it was"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pacman_obeys_the_operator_and_what_it_cannot_obey_is_an_error() {
    let repository = repository().await;
    let (plain, empty) = (
        Front::plain(&repository, Some(("kit-user", "kit-password-canary"))).await,
        Repository::start().await,
    );
    let image = image("[kit]\nInclude = /etc/pacman.d/mirrorlist\n")
        .await
        .expect(MISSING);
    let mirrors = Layer::new().file(
        "etc/pacman.d/mirrorlist",
        "Server = https://arch.kit.invalid/$repo/os/$arch\n",
    );
    let image = image.layer(mirrors.gzip()).build();
    let (registry, buildkit) = (Registry::start().await, Buildkitd::shared().await);
    registry.push(REPOSITORY, Some("v1"), &image);
    let reports = reports(&image);
    let begins = format!("match = \"arch.kit.invalid/kit/os/{}\"", std::env::consts::ARCH);
    let mirror = async |entry: String| {
        let setup = setup(&registry)
            .buildkit(buildkit.address())
            .rule(&rule(LONG, "deny", "deny"))
            .set("scan", "scanners = [\"report\"]")
            .set("scan", &format!("reports = \"{}\"", reports.path().display()));
        setup.repository(&entry).start().await
    };
    let ways = [
        format!(
            "{begins}\nmirror = \"{}/kit\"\nusername = \"kit-user\"\npassword = \"kit-password-canary\"",
            plain.url()
        ),
        format!(
            "{begins}\nmirror = \"http://arch.kit.invalid/kit\"\nproxy = \"{}\"",
            repository.url()
        ),
        format!(
            "{begins}\nmirror = \"{}\"\narchive = \"{}/kit\"",
            empty.url(),
            repository.url()
        ),
    ];
    for entry in ways {
        let mirror = mirror(entry.clone()).await;
        let patched = pull_patched(&mirror, "v1", &image.digest()).await;
        let rootfs = Rootfs::unpack(&patched);
        let said = rootfs.shell("pacman -Q 2> /dev/null").await;
        assert!(said.output.contains("kit-app 1.1-1\n"), "{entry}: {}", said.output);
        let layer = inflate(patched.layers.last().unwrap());
        let told = [
            &layer[..],
            &patched.config,
            &patched.manifest,
            mirror.log().text().as_bytes(),
        ]
        .concat();
        assert!(
            !String::from_utf8_lossy(&told).contains("kit-password-canary"),
            "{entry}"
        );
        assert!(
            !unpack(&layer)
                .keys()
                .any(|path| path.starts_with("dev/") || path == "etc/pacman.conf"),
            "{entry}"
        );
    }
    let secure = Front::secure(&repository, None).await;
    let entry = format!(
        "{begins}\nmirror = \"{}/kit\"\nca = \"{}\"",
        secure.url(),
        secure.authority().display()
    );
    let mirror = mirror(entry).await;
    assert_clear_error("a certificate", &get_tag(&mirror, "v1").await, &[403]);
    logged(
        &mirror,
        "the image's pacman cannot be told what [[repository]] says: it takes no `ca`",
    )
    .await;
}

/// Serves a repository that offers these; its database.
fn offer(repository: &Repository, name: &str, packages: &[(&str, &str)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (package_name, version) in packages {
        let (file_name, file, entry) = package(package_name, version);
        repository.put(&format!("{name}/{file_name}"), file);
        entries.push(entry);
    }
    let database = gzip(&entries);
    repository.put(&format!("{name}/{name}.db"), database.clone());
    database
}

/// What the image's own pacman calls outdated, as `name version`; what it ignores is marked.
async fn outdated(rootfs: &Rootfs) -> Vec<String> {
    let said = rootfs
        .shell("pacman -Sy --noconfirm > /tmp/said 2>&1 || cat /tmp/said >&2; pacman -Qu 2> /dev/null || true")
        .await;
    assert!(said.success, "{}", said.output);
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ignored = if words.last() == Some(&"[ignored]") {
            " [ignored]"
        } else {
            ""
        };
        format!("{} {}{ignored}", words[0], words[3])
    };
    let mut found: Vec<String> = said.output.lines().map(line).collect();
    found.sort();
    found
}

const INSTALLED: [(&str, &str); 8] = [
    ("kit-app", "1.0-1"),
    ("kit-current", "1.0-1"),
    ("kit-epoch", "9.0-1"),
    ("kit-first", "1.0-1"),
    ("kit-foreign", "1.0-1"),
    ("kit-ignored", "1.0-1"),
    ("kit-newer", "2.0-1"),
    ("kit-rc", "1.0rc1-1"),
];

/// Two repositories: the first decides also where the second has something newer.
fn offer_all(repository: &Repository) {
    let first = [
        ("kit-app", "1.0.1-1"),
        ("kit-current", "1.0-1"),
        ("kit-first", "1.0-1"),
        ("kit-ignored", "1.1-1"),
        ("kit-newer", "1.9-1"),
        ("kit-other", "7-1"),
    ];
    offer(repository, "one", &first);
    let second = [
        ("kit-app", "3.0-1"),
        ("kit-epoch", "1:0.1-1"),
        ("kit-first", "2.0-1"),
        ("kit-rc", "1.0-1"),
    ];
    offer(repository, "two", &second);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outdated_is_what_pacman_says_and_nothing_is_after_a_patch() {
    let repository = Repository::start().await;
    offer_all(&repository);
    let configuration = format!(
        "SigLevel = Never\nIgnorePkg = kit-ign*\n[one]\nServer = {0}/$repo\n[two]\nServer = {0}/gone\nServer = {0}/$repo\n",
        repository.url()
    );
    let image = image_of(&INSTALLED, &configuration).await.expect(MISSING).build();
    let setup = careful()
        .no_repositories()
        .repository("match = \"http://127.0.0.1:*\"\nunsigned = \"allow\"");
    let report = scan(&setup, &image, &["--format", "json"]).await.json();
    let by_pacman = outdated(&Rootfs::unpack(&Pulled::of(&image))).await;
    let expected = [
        "kit-app 1.0.1-1",
        "kit-epoch 1:0.1-1",
        "kit-ignored 1.1-1 [ignored]",
        "kit-rc 1.0-1",
    ];
    assert_eq!(by_pacman, expected, "by pacman");
    let plain: Vec<String> = by_pacman.iter().map(|line| line.replace(" [ignored]", "")).collect();
    assert_eq!(found(&report).1, plain, "by the scan");

    let (registry, buildkit) = (Registry::start().await, Buildkitd::shared().await);
    registry.push(REPOSITORY, Some("v1"), &image);
    let mirror = crate::scene::setup(&registry)
        .buildkit(buildkit.address())
        .rule(&(rule(LONG, "deny", "deny") + "\nmajor_upgrades = true"))
        .start()
        .await;
    let patched = pull_patched(&mirror, "v1", &image.digest()).await;
    assert_nothing_but_the_patch(&Pulled::of(&image), &patched);
    let after = outdated(&Rootfs::unpack(&patched)).await;
    assert_eq!(
        after,
        ["kit-ignored 1.1-1 [ignored]"],
        "nothing is outdated but what is ignored"
    );
    let seen = syft_of(&patched).await;
    for package in [
        "kit-app 1.0.1-1",
        "kit-epoch 1:0.1-1",
        "kit-ignored 1.0-1",
        "kit-rc 1.0-1",
    ] {
        let is_there = seen.iter().any(|line| line.starts_with(&format!("{package} ")));
        assert!(is_there, "syft has {package}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_packages_is_believed_as_the_image_says() {
    let (signer, stranger) = (Signer::new("kit"), Signer::new("stranger"));
    let keyring = |signer: &Signer| {
        Layer::new()
            .file("etc/pacman.d/gnupg/pubring.gpg", signer.public())
            .gzip()
    };
    let cases: [(&str, Option<&Signer>, Result<(), &str>); 7] = [
        // As Arch Linux has it: packages are signed, lists need not be.
        ("Required DatabaseOptional", None, Ok(())),
        ("Required DatabaseOptional", Some(&signer), Ok(())),
        ("Required DatabaseOptional", Some(&stranger), Err("trust")),
        ("Required", None, Err("sign")),
        ("Required", Some(&signer), Ok(())),
        ("Optional", None, Err("sign")),
        ("Never", None, Err("sign")),
    ];
    for (level, by, expected) in cases {
        let repository = Repository::start().await;
        let database = offer(&repository, "kit", &[("kit-app", "1.1-1")]);
        if let Some(by) = by {
            repository.put("kit/kit.db.sig", by.sign_file(&database));
        }
        let configuration = format!("SigLevel = {level}\n[kit]\nServer = {}/kit\n", repository.url());
        let image = image_of(&[("kit-app", "1.0-1")], &configuration).await.expect(MISSING);
        let image = image.layer(keyring(&signer)).build();
        let said = scan(&careful(), &image, &["--format", "json"]).await;
        let what = format!("{level}, signed: {}", by.is_some());
        match expected {
            Ok(()) => assert_eq!(found(&said.json()).0, ["kit-app 1.1-1"], "{what}"),
            Err(word) => assert!(said.code != Some(0) && said.stderr.contains(word), "{what}: {said:?}"),
        }
    }
    // A list that was changed after it was signed.
    let repository = Repository::start().await;
    let signature = signer.sign_file(&offer(&repository, "kit", &[("kit-app", "1.1-1")]));
    offer(&repository, "kit", &[("kit-app", "1.2-1")]);
    repository.put("kit/kit.db.sig", signature);
    let configuration = format!(
        "SigLevel = Required DatabaseOptional\n[kit]\nServer = {}/kit\n",
        repository.url()
    );
    let image = image_of(&[("kit-app", "1.0-1")], &configuration).await.expect(MISSING);
    let image = image.layer(keyring(&signer)).build();
    let said = scan(&careful(), &image, &[]).await;
    assert!(
        said.code != Some(0) && said.stderr.contains("changed after it was signed"),
        "{said:?}"
    );
}
