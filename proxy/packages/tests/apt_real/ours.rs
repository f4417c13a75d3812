//! What this crate makes of a scene, on the way that the proxy takes: files of a layer, configuration, targets, indexes.

use patchport_packages::apt::{self, Configuration, Index, Release, Target};
use patchport_packages::findings::{Finding, Findings, Status};
use patchport_packages::inventory::Inventory;
use patchport_packages::layer::{self, Compression, Files, Limits, Wanted};

use crate::kit::{Repository, Scene};

/// More than any scene has, in bytes.
const LIMIT: u64 = 1 << 20;

/// What is found in a scene, without new packages and with them.
pub(crate) fn findings(scene: &Scene) -> [Findings; 2] {
    let files = files(scene);
    let inventory = Inventory::read(&files).expect("the scene has an inventory");
    let configuration = Configuration::read(&files).expect("the configuration is one of apt");
    let native = &scene.architectures[0];
    let indexes: Vec<(Target, Release, Index)> = apt::targets(&configuration, native)
        .into_iter()
        .filter_map(|target| loaded(scene, target))
        .collect();
    let repositories: Vec<apt::Repository<'_>> = indexes
        .iter()
        .map(|(target, release, index)| apt::Repository { target, release, index })
        .collect();
    let packages: Vec<_> = inventory.packages.iter().collect();
    [
        apt::plain_upgrade(&packages, &inventory.held, &configuration, &repositories, native),
        apt::outdated(&packages, &inventory.held, &configuration, &repositories, native),
    ]
}

/// What of it would be done, as `name:architecture version`, sorted. The architecture is that of what is installed.
pub(crate) fn upgrades(findings: &Findings) -> Vec<String> {
    let fixable = findings
        .findings
        .iter()
        .filter(|finding| finding.status == Status::Fixable);
    let shown =
        |Finding {
             package,
             architecture,
             fixed,
             ..
         }: &Finding| { format!("{package}:{architecture} {}", fixed.as_ref().expect("a version")) };
    fixable.map(shown).collect()
}

/// The index of a target; nothing where the repository has none for the architecture.
fn loaded(scene: &Scene, target: Target) -> Option<(Target, Release, Index)> {
    let rest = target
        .uri
        .strip_prefix(&format!("http://{}/", scene.address()))
        .expect("a repository of the scene");
    let number: usize = rest.trim_end_matches('/').parse().expect("its number");
    let repository: &Repository = &scene.repositories[number];
    assert_eq!(
        target.release().trim_start_matches("./"),
        repository.folder(),
        "{target:?}"
    );
    let release = Release::parse(repository.release_text().as_bytes()).expect("a release");
    release.files(&target.packages()).first()?;
    let text = &repository.packages.get(&target.architecture)?;
    let plain = apt::decompress("Packages", text.as_bytes(), LIMIT).expect("no compression");
    let index = Index::parse(plain, LIMIT).expect("an index");
    assert_eq!(index.skipped(), 0, "{text}");
    Some((target, release, index))
}

/// The files of an image that has those of a scene.
fn files(scene: &Scene) -> Files {
    let mut layer = tar::Builder::new(Vec::new());
    let release = ("etc/os-release", "ID=debian\nVERSION_ID=12\n");
    let files = scene.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    for (path, text) in files.chain([release]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        layer.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    // dpkg's list of architectures is not among what an inventory needs.
    let wanted = Wanted::new(scene.files.keys().map(String::as_str).chain(["etc/os-release"]), []);
    let tar = layer.into_inner().unwrap();
    let read = layer::read(tar.as_slice(), Compression::None, &wanted, &Limits::default());
    layer::merge([&read.expect("a layer")])
}
