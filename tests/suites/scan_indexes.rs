//! Which indexes of packages are believed: what is not is refused with an error that names it, and a pull follows its rule.

use std::time::Duration;

use patchport_kit::apt::{Package, Repository, Suite, date};
use patchport_kit::client::{ACCEPT, Response};
use patchport_kit::mirror::Setup;
use patchport_kit::signer::Signer;
use patchport_kit::{Mirror, Registry};

use crate::patch_scene::assert_original_with_warning;
use crate::promise::promise;
use crate::scan_scene::{LOOPBACK, SIGNED_BY, careful, found, outdated, scan, stable};
use crate::scene::{UPSTREAM, assert_clear_error, eventually};

/// What happens to a repository: it is given with its suite, the key that the image trusts, and another key.
type Change = fn(&Repository, Suite, &Signer, &Signer);

/// A repository that is not to be believed: why, how it came to be, and what the error says of it.
const REFUSED: &[(&str, Change, &str)] = &[
    (
        "changed after it was signed",
        |repository, suite, signer, _| {
            suite.publish(repository, Some(signer));
            let signed = signer.clear_sign(&suite.release());
            repository.put("dists/stable/InRelease", signed.replace("Origin: kit", "Origin: kat"));
        },
        "it was changed after it was signed",
    ),
    (
        "changed beside its signature",
        |repository, suite, signer, _| {
            suite.publish_detached(repository, signer);
            repository.put("dists/stable/Release", suite.release() + "Description: more\n");
        },
        "it was changed after it was signed",
    ),
    (
        "signed by an unknown key",
        |repository, suite, _, stranger| suite.publish(repository, Some(stranger)),
        "give the key to `keys` of a [[repository]]",
    ),
    (
        "not signed",
        |repository, suite, _, _| suite.publish(repository, None),
        "set `unsigned = \"allow\"`",
    ),
    (
        "expired",
        |repository, suite, signer, _| {
            let suite = suite.field("Valid-Until", &date(Duration::from_secs(3600), false));
            suite.publish(repository, Some(signer));
        },
        "it has expired at",
    ),
    (
        "with other packages than it says",
        |repository, suite, signer, _| {
            // A file is kept by its digest: one that no case before had.
            let suite = suite.package(repository, &Package::new("kit-other", "1.1"));
            suite.publish(repository, Some(signer));
            let other = suite.packages().replace("Version: 1.1", "Version: 1.0");
            suite.publish_packages(repository, &other);
        },
        "is not what its signed index says",
    ),
    (
        "with more packages than it says",
        |repository, suite, signer, _| {
            // A file is kept by its digest: one that no case before had.
            let suite = suite.package(repository, &Package::new("kit-more", "1.1"));
            suite.publish(repository, Some(signer));
            suite.publish_packages(repository, &suite.packages().repeat(2));
        },
        "larger than",
    ),
    (
        "away",
        |repository, suite, signer, _| {
            suite.publish(repository, Some(signer));
            repository.set_away(true);
        },
        "answered with 503",
    ),
    (
        "gone",
        |repository, _, _, _| repository.remove(""),
        "does not exist (404)",
    ),
    (
        "of another kind",
        |repository, _, _, _| repository.put("dists/stable/InRelease", "<html>welcome to the hotel</html>"),
        "dists/stable",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_believed_is_refused_and_a_pull_follows_its_rule() {
    promise(
        "An index of packages is believed only when a key vouches for it that the image has, or that the operator names for it.",
    );
    promise(r#"A scanner that cannot tell what is outdated is a failure, never "nothing to patch"."#);
    let (signer, stranger) = (Signer::new("kit"), Signer::new("stranger"));
    let registry = Registry::start().await;
    let mirror = mirror(&registry, careful()).await;
    for (number, (name, change, words)) in REFUSED.iter().enumerate() {
        let (repository, suite) = stable().await;
        let source = suite.source(&repository, SIGNED_BY);
        change(&repository, suite, &signer, &stranger);
        let image = outdated(&source, &signer).await.build();

        let said = scan(&careful(), &image, &["--format", "json"]).await;
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(1), ""),
            "{name}: {}",
            said.stderr
        );
        assert!(
            said.stderr.contains(words) && said.stderr.contains(&repository.url()),
            "{name}: {}",
            said.stderr
        );
        for repository in ["strict/app", "lax/app"] {
            registry.push(repository, Some(&format!("v{number}")), &image);
        }
        let denied = get(&mirror, "strict/app", number).await;
        assert_clear_error(name, &denied, &[403]);
        assert_original_with_warning(&get(&mirror, "lax/app", number).await, &image.digest());
        assert!(
            mirror.log().count(&[words, &repository.url()]) > 0,
            "{name}: the log names it: {}",
            mirror.log().text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_on_this_machine_is_not_asked_unless_the_operator_says_so() {
    let signer = Signer::new("kit");
    let (repository, suite) = stable().await;
    suite.publish(&repository, Some(&signer));
    let image = outdated(&suite.source(&repository, SIGNED_BY), &signer).await.build();
    let unlisted = Mirror::setup().no_repositories();
    let said = scan(&unlisted, &image, &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(
        said.stderr.contains("is an address of this machine or its link") && said.stderr.contains("[[repository]]"),
        "{}",
        said.stderr
    );
    let registry = Registry::start().await;
    for repository in ["strict/app", "lax/app"] {
        registry.push(repository, Some("v0"), &image);
    }
    let mirror = mirror(&registry, unlisted).await;
    assert_clear_error("unlisted", &get(&mirror, "strict/app", 0).await, &[403]);
    assert_original_with_warning(&get(&mirror, "lax/app", 0).await, &image.digest());
    assert_eq!(repository.count("dists"), 0, "nobody asked it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_index_than_the_one_held_does_not_take_its_place() {
    let signer = Signer::new("kit");
    let (repository, old) = stable().await;
    let old = old.field("Date", &date(Duration::from_secs(7200), false));
    let new = Suite::new("stable").package(&repository, &Package::new("kit-hello", "1.2"));
    new.publish(&repository, Some(&signer));
    let image = outdated(&new.source(&repository, SIGNED_BY), &signer).await.build();
    let registry = Registry::start().await;
    registry.push("lax/app", Some("v0"), &image);
    let mirror = mirror(&registry, careful().set("scan", "refresh = \"1s\"")).await;
    get(&mirror, "lax/app", 0).await;
    old.publish(&repository, Some(&signer));
    let refused = |lines: &[String]| {
        let line = |line: &&String| {
            line.contains("it is older than the one that was there before") && line.contains(&repository.url())
        };
        lines.iter().find(line).map(|_| ())
    };
    mirror
        .log()
        .wait(0, "that the index is older", Duration::from_secs(30), refused)
        .await;
    // The next one that is newer is taken.
    let newer = Suite::new("stable").field("Date", &date(Duration::from_secs(60), true));
    newer.publish(&repository, Some(&signer));
    eventually("the newer index is taken", async || {
        mirror.log().count(&["a package index has changed"]) == 1
    })
    .await;
}

/// What the operator says of a repository, and how it is laid out; each makes a scan find what is outdated.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_says_of_a_repository_is_done() {
    let (signer, stranger) = (Signer::new("kit"), Signer::new("stranger"));
    let folder = tempfile::tempdir().unwrap();
    let (binary, text) = (folder.path().join("key.gpg"), folder.path().join("key.asc"));
    std::fs::write(&binary, stranger.public()).unwrap();
    std::fs::write(&text, stranger.armored()).unwrap();
    let found_by = async |name: &str, entry: &str, source: &str| {
        let image = outdated(source, &signer).await.build();
        let setup = Mirror::setup().no_repositories().repository(entry);
        let said = scan(&setup, &image, &["--format", "json"]).await;
        assert_eq!(said.code, Some(0), "{name}: {}", said.stderr);
        assert_eq!(found(&said.json()).0, ["kit-hello 1.1"], "{name}");
    };
    let (repository, suite) = stable().await;
    let source = suite.source(&repository, SIGNED_BY);

    suite.publish(&repository, Some(&signer));
    found_by("the image's key, InRelease", LOOPBACK, &source).await;
    suite.publish_detached(&repository, &signer);
    found_by("the image's key, Release.gpg", LOOPBACK, &source).await;
    suite.publish(&repository, Some(&stranger));
    for key in [&binary, &text] {
        let entry = format!("{LOOPBACK}\nkeys = [\"{}\"]", key.display());
        found_by("the operator's key", &entry, &source).await;
    }
    suite.publish(&repository, None);
    found_by("unsigned", &format!("{LOOPBACK}\nunsigned = \"allow\""), &source).await;
    let expired = suite
        .clone()
        .field("Valid-Until", &date(Duration::from_secs(3600), false));
    expired.publish(&repository, Some(&signer));
    found_by("expired", &format!("{LOOPBACK}\nexpired = \"allow\""), &source).await;

    suite.publish(&repository, Some(&signer));
    let elsewhere = format!("deb {SIGNED_BY} http://packages.example.invalid/debian stable main\n");
    let entry = format!(
        "match = \"packages.example.invalid/debian\"\nmirror = \"{}\"",
        repository.url()
    );
    found_by("a mirror", &entry, &elsewhere).await;
    let gone = Repository::start().await;
    gone.remove("");
    let entry = format!("{LOOPBACK}\narchive = [\"{}\"]", repository.url());
    found_by("an archive", &entry, &suite.source(&gone, SIGNED_BY)).await;

    // Nobody who allows what is unsigned means what was forged.
    let forged = signer
        .clear_sign(&suite.release())
        .replace("Origin: kit", "Origin: kat");
    repository.put("dists/stable/InRelease", forged);
    let setup = Mirror::setup()
        .no_repositories()
        .repository(&format!("{LOOPBACK}\nunsigned = \"allow\""));
    let said = scan(&setup, &outdated(&source, &signer).await.build(), &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.stdout);
}

/// A mirror whose rules differ in `on_failure`: `strict/` denies, the rest serves originals.
async fn mirror(registry: &Registry, setup: Setup) -> Mirror {
    let rule = |name: &str, pattern: &str, on_failure: &str| {
        format!(
            "name = \"{name}\"\nmatch = \"{pattern}\"\naction = \"patch\"\nwait = \"20s\"\non_timeout = \"deny\"\non_failure = \"{on_failure}\""
        )
    };
    setup
        .upstream(UPSTREAM, &registry.url())
        .default_upstream(UPSTREAM)
        .rule(&rule("strict", "*/strict/**", "deny"))
        .rule(&rule("lax", "**", "serve-original"))
        .start()
        .await
}

async fn get(mirror: &Mirror, repository: &str, number: usize) -> Response {
    let path = format!("/v2/{repository}/manifests/v{number}");
    mirror.client().send("GET", &path, &[("accept", ACCEPT)]).await
}
