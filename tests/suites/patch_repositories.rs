//! The operator's `[[repository]]` inside the build: where the image's own tool fetches the packages, it asks what the operator says,
//! with the operator's certificates, keys, logins and proxies, and none of that is left in the image. Real tools, a real BuildKit.

use std::path::Path;

use patchport_kit::apk::{self, Format};
use patchport_kit::apt::{Package, Repository, date};
use patchport_kit::client::pull;
use patchport_kit::debian::{self, Installed, Rootfs};
use patchport_kit::front::Front;
use patchport_kit::image::{Layer, Pulled, inflate, unpack};
use patchport_kit::mirror::Setup;
use patchport_kit::registry::basic;
use patchport_kit::rpm::{self, Offers};
use patchport_kit::signer::Signer;
use patchport_kit::{Buildkitd, Image, Mirror, Registry, alpine};

use crate::patch_scene::{LONG, REPOSITORY, get_tag, logged, rule, until_patched};
use crate::promise::promise;
use crate::scan_scene::{KEY, SIGNED_BY, stable};
use crate::scene::{assert_clear_error, setup};

const USER: &str = "kit-operator";
const PASSWORD: &str = "kit-repository-canary";
const LOGIN: Option<(&str, &str)> = Some((USER, PASSWORD));

/// An upstream and a BuildKit.
struct Scene {
    registry: Registry,
    buildkit: Buildkitd,
}

impl Scene {
    async fn new() -> Self {
        Self {
            registry: Registry::start().await,
            buildkit: Buildkitd::shared().await,
        }
    }

    fn push(&self, tag: &str, image: &Image) -> String {
        self.registry.push(REPOSITORY, Some(tag), image);
        image.digest()
    }

    /// A mirror under which the image's own tools fetch; nothing but what the test names is reached on loopback.
    fn setup(&self) -> Setup {
        setup(&self.registry)
            .no_repositories()
            .buildkit(self.buildkit.address())
            .rule(&rule(LONG, "deny", "deny"))
            .set("patch", "retry_after = \"1s\"\npackages = \"image\"")
            .set("log", "level = \"trace\"")
    }
}

/// An entry that sends what begins so to a front, with its authority and login.
fn guarded(begins: &str, front: &Front, more: &str) -> String {
    format!(
        "match = \"{begins}\"\nmirror = \"{}\"\nca = \"{}\"\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"\n{more}",
        front.url(),
        front.authority().display()
    )
}

fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// The patched image of a tag, of which nothing tells the operator's secrets or way.
async fn discreet(mirror: &Mirror, tag: &str, original: &str) -> Pulled {
    let digest = until_patched(mirror, tag, original).await.digest;
    let client = mirror.client();
    let patched = pull(&client, REPOSITORY, tag).await;
    let mut told = vec![("the log", mirror.log().text())];
    let builds = mirror.admin().get("/builds").await.text();
    let keys: Vec<&str> = builds.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(!keys.is_empty(), "a build is listed: {builds}");
    for key in keys {
        told.push((
            "the log of the build",
            mirror.admin().get(&format!("/builds/{key}")).await.text(),
        ));
    }
    let referrers = client.get(&format!("/v2/{REPOSITORY}/referrers/{digest}")).await;
    let listed: serde_json::Value = serde_json::from_str(&referrers.text()).expect("referrers are JSON");
    let listed = listed["manifests"].as_array().expect("referrers are listed").clone();
    assert!(!listed.is_empty(), "provenance is there");
    for referrer in listed {
        let path = format!("/v2/{REPOSITORY}/manifests/{}", referrer["digest"].as_str().unwrap());
        let manifest = client.get(&path).await.text();
        let parsed: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let blob = parsed["layers"][0]["digest"].as_str().unwrap();
        told.push((
            "a referrer",
            client.get(&format!("/v2/{REPOSITORY}/blobs/{blob}")).await.text(),
        ));
    }
    let layer = inflate(patched.layers.last().unwrap());
    let image =
        [&patched.manifest[..], &patched.config, &layer].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    told.extend(image.clone().map(|text| ("the image", text)));
    let encoded = basic(USER, PASSWORD).replace("Basic ", "");
    for (what, text) in &told {
        let line = text
            .lines()
            .find(|line| line.contains(PASSWORD) || line.contains(&encoded));
        assert_eq!(line, None, "{what} tells a secret");
    }
    for trace in ["/guarded", "kit-operator", "detour", "kit authority"] {
        assert!(
            !image.iter().any(|text| text.contains(trace)),
            "{trace} is left in the image"
        );
    }
    let paths: Vec<String> = unpack(&layer)
        .into_keys()
        .filter(|path| path.starts_with("dev/"))
        .collect();
    assert_eq!(paths, Vec::<String>::new(), "no mount is left");
    patched
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_obeys_the_operator_and_nothing_of_it_is_left() {
    promise(
        "What the operator says of package repositories counts inside the build, too, and nothing of it is left in the image.",
    );
    let scene = Scene::new().await;
    let (repository, suite) = stable().await;
    let (operator, stranger) = (Signer::new("operator"), Signer::new("stranger"));
    let suite = suite.field("Valid-Until", &date(std::time::Duration::from_secs(3600), false));
    suite.publish(&repository, Some(&operator));
    let front = Front::secure(&repository, LOGIN).await;
    // The image's own repository is gone, and it trusts somebody else. A second has another authority, a third is where the image says.
    let (second, third) = (Repository::start().await, Repository::start().await);
    let other = Front::secure(&second, None).await;
    let sources = format!(
        "deb {SIGNED_BY} https://deb.kit.invalid/debian stable main\ndeb http://other.kit.invalid/ ./\n{}",
        third.source()
    );
    let installed = [Installed::new(Package::new("kit-hello", "1.0"))];
    let image = debian::image_of(&sources, &installed).await;
    let image = image.layer(Layer::new().file(KEY, stranger.public()).gzip()).build();
    let original = scene.push("apt", &image);
    let folder = tempfile::tempdir().unwrap();
    let keys = [("gpg", operator.public()), ("asc", operator.armored().into_bytes())];
    for (form, key) in keys {
        let key = file(folder.path(), &format!("operator.{form}"), key);
        let entry = guarded(
            "deb.kit.invalid/debian",
            &front,
            &format!("keys = \"{key}\"\nexpired = \"allow\""),
        );
        let another = format!(
            "match = \"other.kit.invalid\"\nmirror = \"{}\"\nca = \"{}\"\nunsigned = \"allow\"",
            other.url().replace("localhost", "127.0.0.1"),
            other.authority().display()
        );
        let mirror = scene
            .setup()
            .repository(&entry)
            .repository(&another)
            .repository("match = \"http://127.0.0.1:*\"\nunsigned = \"allow\"");
        let mirror = mirror.start().await;
        let patched = discreet(&mirror, "apt", &original).await;
        let rootfs = Rootfs::unpack(&patched);
        assert_eq!(rootfs.version("kit-hello").await, "1.1 install ok installed", "{form}");
        assert_eq!(rootfs.read("etc/apt/sources.list").as_deref(), Some(sources.as_str()));
    }
    // The packages may be in a cache of the builder; what is signed is asked for each time.
    assert!(
        front.gave("APT", "InRelease"),
        "apt itself fetched it: {:?}",
        front.asked()
    );
    assert!(other.gave("APT", "Release"), "{:?}", other.asked());
    assert!(third.count("Release") > 0, "the third was asked where it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_uses_the_operators_proxy_and_archive() {
    let scene = Scene::new().await;
    let (repository, suite) = stable().await;
    let signer = Signer::new("kit");
    suite.publish(&repository, Some(&signer));
    // The mirror has nothing; what is asked of it and of the archive goes to the proxy, by names that nothing resolves.
    let empty = Repository::start().await;
    let (dead, archive) = ("http://deb.kit.invalid", "http://archive.kit.invalid");
    let source = format!("deb {SIGNED_BY} {dead} stable main\n");
    let installed = [Installed::new(Package::new("kit-hello", "1.0"))];
    let image = debian::image_of(&source, &installed).await;
    let image = image.layer(Layer::new().file(KEY, signer.public()).gzip()).build();
    let original = scene.push("proxy", &image);
    let by_proxy = format!("match = \"deb.kit.invalid\"\nproxy = \"{}\"", repository.url());
    let by_archive = format!(
        "match = \"deb.kit.invalid\"\nmirror = \"{}\"\narchive = \"{}\"",
        empty.url(),
        repository.url()
    );
    for (name, entry) in [("proxy", by_proxy), ("archive", by_archive)] {
        let mirror = scene.setup().repository(&entry).start().await;
        let rootfs = Rootfs::unpack(&discreet(&mirror, "proxy", &original).await);
        assert_eq!(rootfs.version("kit-hello").await, "1.1 install ok installed", "{name}");
    }
    // What cannot be told is an error, not ignored.
    let sources = format!("{source}deb [trusted=yes] http://deb.kit.invalid/more ./\n");
    let image = debian::image_of(&sources, &installed).await;
    let image = image.layer(Layer::new().file(KEY, signer.public()).gzip()).build();
    scene.push("two", &image);
    let more = Repository::start().await;
    let entries = [
        format!(
            "match = \"deb.kit.invalid/more\"\nmirror = \"{archive}\"\nproxy = \"{}\"\nunsigned = \"allow\"",
            more.url()
        ),
        format!(
            "match = \"deb.kit.invalid\"\nmirror = \"{archive}\"\nproxy = \"{}\"",
            repository.url()
        ),
    ];
    // The kit puts each before those that were given earlier.
    let setup = entries
        .iter()
        .rev()
        .fold(scene.setup(), |setup, entry| setup.repository(entry));
    let mirror = setup.start().await;
    assert_clear_error("two proxies", &get_tag(&mirror, "two").await, &[403]);
    logged(
        &mirror,
        "it takes one `ca` and one `proxy` for all repositories of archive.kit.invalid",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apk_obeys_the_operator_and_nothing_of_it_is_left() {
    let scene = Scene::new().await;
    let (repository, key, base) = (Repository::start().await, alpine::Key::new(), alpine::base().await);
    let offered = [apk::Package::new("kit-app", "1.1-r0").file("usr/share/kit-app", "1.1\n", 0o644)];
    let old = apk::Package::new("kit-app", "1.0-r0").file("usr/share/kit-app", "1.0\n", 0o644);
    let front = Front::secure(&repository, LOGIN).await;
    let folder = tempfile::tempdir().unwrap();
    for (tag, format) in [("v2", Format::V2), ("v3", Format::V3)] {
        let line = apk::publish(&repository, &key, "main", format, &offered);
        let line = line.replace(&repository.url(), "https://apk.kit.invalid/alpine");
        let mut layer = Layer::new()
            .file("etc/apk/repositories", line.clone())
            .file("etc/apk/world", format!("{}kit-app\n", base.world))
            .file(
                "lib/apk/db/installed",
                format!("{}\n\n{}", base.installed.trim_end(), old.installed()),
            );
        layer = old.put(layer);
        let image = alpine::image().await.layer(layer.gzip()).build();
        let original = scene.push(tag, &image);
        let operator = file(folder.path(), "kit.rsa.pub", key.public());
        let entries = [
            guarded(
                "https://apk.kit.invalid/alpine",
                &front,
                &format!("keys = \"{operator}\""),
            ),
            format!(
                "match = \"apk.kit.invalid/alpine\"\nmirror = \"http://apk.kit.invalid\"\nproxy = \"{}\"\nkeys = \"{operator}\"",
                repository.url()
            ),
        ];
        for entry in entries {
            let mirror = scene.setup().repository(&entry).start().await;
            let rootfs = Rootfs::unpack(&discreet(&mirror, tag, &original).await);
            assert_eq!(
                rootfs.read("usr/share/kit-app").as_deref(),
                Some("1.1\n"),
                "{tag} {entry}"
            );
            assert_eq!(rootfs.read("etc/apk/repositories").as_deref(), Some(line.as_str()));
            assert_eq!(rootfs.read("etc/apk/keys/kit.rsa.pub"), None);
        }
    }
    assert!(
        front.gave("libfetch", "APKINDEX"),
        "apk itself fetched it: {:?}",
        front.asked()
    );
}

/// Pushes an image of `tool` whose repository is at this address.
async fn push_rpm(scene: &Scene, tool: &str, section: &str) -> String {
    let installed = [rpm::Package::new("kit-b", "1.0-1")];
    let (without, repositories): (&[&str], _) = match tool {
        "zypper" => (&["dnf", "dnf-3", "yum"], ""),
        _ => (&["zypper", "yum"], section),
    };
    let zypper = if tool == "zypper" { section } else { "" };
    let more = Layer::new()
        .directory("etc/zypp/repos.d")
        .file("etc/zypp/repos.d/kit.repo", zypper);
    let image = rpm::image(&installed, repositories, without)
        .await
        .layer(more.gzip())
        .build();
    scene.push(tool, &image)
}

#[tokio::test(flavor = "multi_thread")]
async fn dnf_and_zypper_obey_the_operator_and_nothing_of_it_is_left() {
    let scene = Scene::new().await;
    let (repository, offers) = (Repository::start().await, Offers::new("kit"));
    offers.publish(&repository, &[rpm::Package::new("kit-b", "1.1-1")]);
    let (secure, plain) = (
        Front::secure(&repository, LOGIN).await,
        Front::plain(&repository, LOGIN).await,
    );
    let section = offers
        .section(&repository, "proxy=_none_")
        .replace(&repository.url(), "https://rpm.kit.invalid/el");
    let begins = "rpm.kit.invalid/el";
    let by_login = |front: &Front| {
        format!(
            "match = \"{begins}\"\nmirror = \"{}\"\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"\nunsigned = \"allow\"",
            front.url()
        )
    };
    let by_proxy = format!(
        "match = \"{begins}\"\nmirror = \"http://rpm.kit.invalid\"\nproxy = \"{}\"\nunsigned = \"allow\"",
        repository.url()
    );
    let empty = Repository::start().await;
    let by_archive = format!(
        "match = \"{begins}\"\nmirror = \"{}\"\narchive = \"{}\"\nunsigned = \"allow\"",
        empty.url(),
        repository.url()
    );
    let dnf = push_rpm(&scene, "dnf", &section).await;
    let zypper = push_rpm(&scene, "zypper", &section).await;
    let cases = [
        ("dnf", &dnf, guarded(begins, &secure, "unsigned = \"allow\"")),
        ("dnf", &dnf, by_proxy.clone()),
        ("dnf", &dnf, by_archive.clone()),
        ("zypper", &zypper, by_login(&plain)),
        ("zypper", &zypper, by_proxy),
        ("zypper", &zypper, by_archive),
    ];
    for (tool, original, entry) in cases {
        let mirror = scene.setup().repository(&entry).start().await;
        let rootfs = rpm::Rootfs::unpack(&discreet(&mirror, tool, original).await);
        let installed = rootfs.installed().await;
        assert_eq!(
            installed.get("kit-b.noarch").map(String::as_str),
            Some("1.1-1"),
            "{tool} {entry}"
        );
    }
    assert!(
        secure.gave("dnf", "repomd.xml"),
        "dnf itself fetched it: {:?}",
        secure.asked()
    );
    assert!(
        plain.gave("ZYpp", "repomd.xml"),
        "zypper itself fetched it: {:?}",
        plain.asked()
    );
    let mirror = scene
        .setup()
        .repository(&guarded(begins, &secure, "unsigned = \"allow\""))
        .start()
        .await;
    assert_clear_error("zypper and a certificate", &get_tag(&mirror, "zypper").await, &[403]);
    logged(
        &mirror,
        "the image's zypper cannot be told what [[repository]] says: it takes no `ca`",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dnf_believes_the_operators_key_for_as_long_as_the_upgrade_runs() {
    let scene = Scene::new().await;
    let (repository, signer, folder) = (
        Repository::start().await,
        Signer::new("operator"),
        tempfile::tempdir().unwrap(),
    );
    let offers = Offers::new("kit");
    offers.publish(&repository, &[rpm::Package::new("kit-b", "1.1-1")]);
    let repomd = String::from_utf8(repository.get("kit/repodata/repomd.xml").to_vec()).unwrap();
    repository.put("kit/repodata/repomd.xml.asc", signer.detach_sign(&repomd));
    let section = offers
        .section(&repository, "repo_gpgcheck=1")
        .replace(&repository.url(), "http://rpm.kit.invalid");
    let key = file(folder.path(), "operator.asc", signer.armored());
    for tool in ["dnf", "zypper"] {
        let original = push_rpm(&scene, tool, &section).await;
        let entry = format!(
            "match = \"rpm.kit.invalid\"\nmirror = \"{}\"\nkeys = \"{key}\"",
            repository.url()
        );
        let mirror = scene.setup().repository(&entry).start().await;
        let rootfs = rpm::Rootfs::unpack(&discreet(&mirror, tool, &original).await);
        let installed = rootfs.installed().await;
        assert_eq!(
            installed.get("kit-b.noarch").map(String::as_str),
            Some("1.1-1"),
            "{tool}"
        );
        assert!(
            !installed.keys().any(|name| name.starts_with("gpg-pubkey")),
            "{tool}: {installed:?}"
        );
    }
}
