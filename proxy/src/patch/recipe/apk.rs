//! Alpine and its like: what runs in the image to upgrade the packages of a plan, with apk 2 and 3 alike.
//!
//! `world` is left as it is: `fix --upgrade` upgrades packages by their names without a word in it, and does so in every version of apk;
//! `upgrade` takes names since 2.12 only, and before that would upgrade everything. Changed configuration files stay, and what
//! the new version brings lies beside them as `.apk-new`, as always with apk. Index and package caches live on a mount below `/dev`.

use patchport_buildkit::llb::{Exec, Network, Sharing, State};

use super::{MOUNT, PACKAGES, REPOSITORIES, Recipe, script};
use crate::plan::Plan;

/// Upgrades the packages that are its arguments from the mounted part of the image's repositories. apk verifies the indexes with the
/// image's keys. A package that it wants and that is not there makes it fail: then the image's own repositories may have it.
const INSTALL: &str = r#"
apk --no-network --no-progress --repositories-file "$REPOSITORIES" fix --upgrade "$@" < /dev/null || exit 84
"#;

/// The same from the image's repositories. `update` fails when one of them cannot be read, or an outdated image would pass for a
/// current one. `cache clean` bounds what the cache grows to.
const UPGRADE: &str = r#"
mkdir -p "$M/cache"
run() { apk --no-progress --cache-dir "$M/cache" "$@" < /dev/null; }
if [ -n "${DETOUR:-}" ]; then
  if [ -n "${SSL_CERT_FILE:-}" ] && [ -e /etc/apk/ca.pem ]; then
    echo "its own /etc/apk/ca.pem takes the place of any other certificate authority" >&2; exit 85
  fi
  keys=
  if [ -d "$DETOUR/keys" ]; then keys="--keys-dir $DETOUR/keys"; fi
  run() { apk --no-progress --cache-dir "$M/cache" --repositories-file "$DETOUR/repositories" $keys "$@" < /dev/null; }
fi
run update || exit 81
run fix --upgrade "$@" || exit 83
run cache clean > /dev/null 2>&1 || true
"#;

/// `apk`.
pub(super) struct Apk;

impl Recipe for Apk {
    fn upgrade(&self, image: &State, plan: &Plan, run: &str) -> Option<Exec> {
        let cache = format!("patchport-apk-{}-{}", plan.platform.architecture, plan.cache);
        let exec = script(image, plan, UPGRADE, names(plan), run).env("M", MOUNT);
        Some(exec.cache(format!("{MOUNT}/cache"), cache, Sharing::Locked))
    }

    fn install(&self, image: &State, plan: &Plan, _: &[String], run: &str) -> Option<Exec> {
        let exec =
            script(image, plan, INSTALL, names(plan), run).env("REPOSITORIES", format!("{PACKAGES}/{REPOSITORIES}"));
        Some(exec.network(Network::None))
    }
}

/// The names of the packages.
fn names(plan: &Plan) -> impl Iterator<Item = String> {
    plan.upgrades.iter().map(|upgrade| upgrade.name.clone())
}
