//! SLSA provenance v1 of a patched image: the original, the plan, and what took part.
//!
//! Says only what is known: packages have a digest where they were fetched by us.

use patchport_oci::{Digest, Manifest};
use patchport_packages::document::{image_url, package_url};
use patchport_packages::inventory::Installed;
use serde_json::{Value, json};

use super::{Account, digest_set};

/// The predicate's type ([SLSA provenance v1](https://slsa.dev/spec/v1.0/provenance)).
pub const TYPE: &str = "https://slsa.dev/provenance/v1";
/// What the parameters of an image's build mean.
const PATCH: &str = "https://patchport.dev/build/patch/v1";
/// What those of an index's build mean.
const INDEX: &str = "https://patchport.dev/build/index/v1";
/// Who builds.
const BUILDER: &str = "https://patchport.dev/builder/v1";

/// The predicate about a patched image.
pub(super) fn predicate(account: &Account<'_>) -> Value {
    let plan = account.plan;
    let upgrades = plan.upgrades.iter().map(|upgrade| {
        json!({
            "package": upgrade.name,
            "architecture": upgrade.architecture,
            "from": upgrade.from.as_str(),
            "to": upgrade.to.as_str(),
        })
    });
    let left_out = account.left_out.iter().map(|left| {
        json!({
            "package": left.name,
            "architecture": left.architecture,
            "installed": left.installed.as_str(),
            "reason": left.reason,
        })
    });
    let packages = changed(account).map(|package| dependency(account, package));
    let helper = account.layer.helper.as_ref();
    let helper = helper.map(|helper| image("helper", &helper.name, &helper.digest));
    let original = image("original", account.name, &account.original.digest);
    let dependencies = [original].into_iter().chain(helper).chain(packages);
    json!({
        "buildDefinition": {
            "buildType": PATCH,
            "externalParameters": {
                "image": format!("{}@{}", account.name, account.original.digest),
                "platform": account.platform.to_string(),
                "majorUpgrades": plan.major_upgrades,
            },
            "internalParameters": {
                "plan": plan.key(),
                "upgrades": upgrades.collect::<Vec<_>>(),
                "leftOut": left_out.collect::<Vec<_>>(),
            },
            "resolvedDependencies": dependencies.collect::<Vec<_>>(),
        },
        "runDetails": {
            "builder": builder(Some(&account.layer.engine)),
            "metadata": { "invocationId": plan.key() },
            "byproducts": [{
                "name": "layer",
                "mediaType": account.layer.media_type,
                "digest": digest_set(&account.layer.digest),
            }],
        },
    })
}

/// The predicate about an index of which `children` (original, patched) were patched.
pub(super) fn index_predicate(name: &str, original: &Manifest, children: &[(&Digest, &Digest)]) -> Value {
    let mut children = children.to_vec();
    children.sort();
    let replaced = children.iter().map(|(from, to)| json!({ "from": from, "to": to }));
    let made = children
        .iter()
        .map(|(_, to)| json!({ "name": "child", "digest": digest_set(to) }));
    json!({
        "buildDefinition": {
            "buildType": INDEX,
            "externalParameters": { "image": format!("{name}@{}", original.digest) },
            "internalParameters": { "replaced": replaced.collect::<Vec<_>>() },
            "resolvedDependencies": [image("original", name, &original.digest)],
        },
        "runDetails": {
            "builder": builder(None),
            "byproducts": made.collect::<Vec<_>>(),
        },
    })
}

fn builder(engine: Option<&str>) -> Value {
    let mut version = json!({ "patchport": env!("CARGO_PKG_VERSION") });
    if let Some(engine) = engine.filter(|engine| !engine.is_empty()) {
        version["engine"] = engine.into();
    }
    json!({ "id": BUILDER, "version": version })
}

/// An image that took part.
fn image(part: &str, name: &str, digest: &Digest) -> Value {
    json!({
        "name": part,
        "uri": image_url(name, &digest.to_string()),
        "digest": digest_set(digest),
    })
}

/// The packages that went into the image.
fn changed<'a>(account: &Account<'a>) -> impl Iterator<Item = &'a Installed> {
    let changes = &account.layer.changes;
    account.after.packages.iter().filter(move |package| {
        let same = |name: &str, architecture: &str| name == package.name && architecture == package.architecture;
        changes.upgraded.iter().any(|step| same(&step.name, &step.architecture))
            || changes.added.iter().any(|added| same(&added.name, &added.architecture))
    })
}

fn dependency(account: &Account<'_>, package: &Installed) -> Value {
    let url = package_url(account.after, package);
    let mut files = account.layer.packages.iter();
    let file = files.find(|file| {
        file.name == package.name
            && file.architecture == package.architecture
            && file.version == package.version.as_str()
    });
    match file {
        Some(file) => json!({
            "name": package.name,
            "uri": url,
            "digest": digest_set(&file.digest),
            "downloadLocation": file.url,
        }),
        None => json!({ "name": package.name, "uri": url }),
    }
}
