//! What patching costs, by Copacetic and by Patchport: the same images, the same BuildKit, in turn. Time, bytes of packages, the
//! size of what is new in the image, and what is still outdated in it.
//!
//! Copacetic is done when its result is in a registry, Patchport when its mirror names the patched image. *Cold*: neither BuildKit nor the mirror knows anything.
//! *Warm*: the same once more, with whatever each of them has kept. *Forgotten*: BuildKit is warm, the mirror has a new store.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use patchport_kit::client::{Client, pull};
use patchport_kit::image::Pulled;
use patchport_kit::mirror::Setup;
use patchport_kit::process::run as ran;
use patchport_kit::{Mirror, Registry};
use tokio::time::Instant;

use crate::measure::{MIB, line, median};

mod images;

use images::Outdated;

/// Who patches, with what, and how often.
#[derive(clap::Args)]
pub(crate) struct Parts {
    /// The program `copa`.
    #[arg(long)]
    copa: PathBuf,
    /// The socket of a BuildKit that may be emptied.
    #[arg(long)]
    buildkit: PathBuf,
    /// The registry that has the Debian and takes what Copacetic makes, `HOST:PORT`.
    #[arg(long)]
    registry: String,
    /// The Debian, `REPOSITORY:TAG`.
    #[arg(long)]
    debian: String,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Seconds of every run, and bytes that were fetched in it.
#[derive(Default)]
struct Taken {
    seconds: Vec<f64>,
    bytes: Vec<f64>,
}

impl Taken {
    fn add(&mut self, outdated: &Outdated, (start, before): (Instant, u64)) -> anyhow::Result<()> {
        self.seconds.push(start.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        self.bytes.push((outdated.fetched()? - before) as f64);
        Ok(())
    }
}

pub(crate) fn run(parts: &Parts) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (registry, scratch) = (Registry::start().await, tempfile::tempdir()?);
        compare(parts, &images::debian(&parts.registry, &parts.debian)).await?;
        compare(parts, &images::alpine(&registry).await).await?;
        compare(parts, &images::distroless(&registry, scratch.path())).await
    })
}

/// Both on one image.
async fn compare(parts: &Parts, outdated: &Outdated) -> anyhow::Result<()> {
    let (mut copa, mut own) = ([(); 2].map(|()| Taken::default()), [(); 3].map(|()| Taken::default()));
    let mut patched = None;
    for _ in 0..parts.runs {
        parts.forget_all();
        for taken in &mut copa {
            let start = (Instant::now(), outdated.fetched()?);
            parts.by_copa(outdated);
            taken.add(outdated, start)?;
        }
        parts.forget_all();
        let [cold, warm, forgotten] = &mut own;
        let mut mirror = parts.mirror(outdated).start().await;
        for taken in [cold, warm] {
            let start = (Instant::now(), outdated.fetched()?);
            answered(&mirror, outdated).await;
            taken.add(outdated, start)?;
            patched = Some(pulled(&mirror, outdated).await);
        }
        mirror.sigterm().await;
        let mirror = parts.mirror(outdated).start().await;
        let start = (Instant::now(), outdated.fetched()?);
        answered(&mirror, outdated).await;
        forgotten.add(outdated, start)?;
    }
    table(outdated, copa, own);
    let (repository, tag) = outdated.name_and_tag();
    let original = pull(&Client::new(&outdated.registry), repository, tag).await;
    let by_copa = pull(&Client::new(&parts.registry), &parts.result(outdated), "patched").await;
    let patched = patched.context("there was a run")?;
    let what = format!("{}: the new layers", outdated.name);
    let peer = Some(("copa", new_bytes(&original, &by_copa)));
    line(&what, new_bytes(&original, &patched), "MiB", peer, "<= 1.00 x copa");
    let what = format!("{}: outdated before", outdated.name);
    line(&what, parts.left(outdated, &original).await?, "", None, "");
    let left = parts.left(outdated, &by_copa).await?;
    line(&format!("{}: left by copa", outdated.name), left, "", None, "");
    let what = format!("{}: left", outdated.name);
    line(&what, parts.left(outdated, &patched).await?, "", None, "not more");
    Ok(())
}

fn table(outdated: &Outdated, copa: [Taken; 2], own: [Taken; 3]) {
    let [copa_cold, copa_warm] = copa;
    let [cold, warm, forgotten] = own;
    let warm_seconds = median(copa_warm.seconds.clone());
    for (what, taken, copa, promised) in [
        ("cold", cold, copa_cold, "<= 0.50 x copa"),
        ("warm", warm, copa_warm, "<= 0.25 x copa"),
    ] {
        let (seconds, bytes) = (median(copa.seconds), median(copa.bytes) / MIB);
        line(&format!("{}, {what}: copa", outdated.name), seconds, "s", None, "");
        let name = format!("{}, {what}", outdated.name);
        line(&name, median(taken.seconds), "s", Some(("copa", seconds)), promised);
        line(&format!("{name}: packages, copa"), bytes, "MiB", None, "");
        let peer = Some(("copa", bytes));
        line(&format!("{name}: packages"), median(taken.bytes) / MIB, "MiB", peer, "");
    }
    let name = format!("{}, warm but for a new store", outdated.name);
    line(
        &name,
        median(forgotten.seconds),
        "s",
        Some(("copa, warm", warm_seconds)),
        "",
    );
}

/// Asks for the tag until the answer is the patched image.
async fn answered(mirror: &Mirror, outdated: &Outdated) {
    let (repository, tag) = outdated.name_and_tag();
    let path = format!("/v2/up.test/{repository}/manifests/{tag}");
    while mirror.client().head(&path).await.status != 200 {}
}

/// Pulls the patched image.
async fn pulled(mirror: &Mirror, outdated: &Outdated) -> Pulled {
    let (repository, tag) = outdated.name_and_tag();
    pull(&mirror.client(), &format!("up.test/{repository}"), tag).await
}

/// The bytes of the layers that an image has more than its original, in MiB.
fn new_bytes(original: &Pulled, patched: &Pulled) -> f64 {
    let new = patched.layers.iter().skip(original.layers.len());
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
    let bytes = new.map(|layer| layer.len()).sum::<usize>() as f64;
    bytes / MIB
}

impl Parts {
    fn buildkit(&self) -> String {
        format!("unix://{}", self.buildkit.display())
    }

    fn forget_all(&self) {
        ran(Command::new("buildctl").args(["--addr", &self.buildkit(), "prune", "--all"]));
    }

    /// The repository of Copacetic's result.
    fn result(&self, outdated: &Outdated) -> String {
        format!("bench/copa-{}", outdated.name.to_lowercase())
    }

    fn by_copa(&self, outdated: &Outdated) {
        let tag = format!("{}/{}:patched", self.registry, self.result(outdated));
        let mut copa = Command::new(&self.copa);
        copa.args(["patch", "--image"])
            .arg(format!("{}/{}", outdated.registry, outdated.path));
        copa.args(["--tag", &tag, "--addr", &self.buildkit(), "--push", "--timeout", "10m"]);
        ran(&mut copa);
    }

    /// A mirror that denies what it has not patched.
    fn mirror(&self, outdated: &Outdated) -> Setup {
        let setup = Mirror::setup()
            .upstream("up.test", &format!("http://{}", outdated.registry))
            .buildkit(&self.buildkit())
            .rule("name = \"all\"\nmatch = [\"**\"]\naction = \"patch\"\nwait = \"25s\"\non_timeout = \"deny\"\non_failure = \"deny\"");
        outdated.told(setup)
    }

    /// How many packages of an image are outdated.
    async fn left(&self, outdated: &Outdated, image: &Pulled) -> anyhow::Result<f64> {
        let folder = tempfile::tempdir()?;
        patchport_kit::scanner::write_pulled(image, folder.path());
        let place = format!("oci:{}", Path::display(folder.path()));
        let said = self.mirror(outdated).run(&["scan", "--format", "json", &place]).await;
        anyhow::ensure!(said.code.is_some(), "scan ended: {}", said.stderr);
        let report: serde_json::Value = serde_json::from_str(&said.stdout).context(said.stderr)?;
        let findings = report["findings"].as_array().context("a report has findings")?;
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        Ok(findings.len() as f64)
    }
}
