//! Arch Linux and its like: what runs in the image to upgrade it with its own pacman.
//!
//! All of it: a distribution that rolls supports no upgrade of some packages only, which may leave the others without the libraries
//! that they were built for. What the image ignores (`IgnorePkg`, `IgnoreGroup`) stays, changed configuration files stay and the new
//! ones lie beside them as `.pacnew`. Packages are cached on a mount below `/dev`; pacman verifies them as the image says.

use patchport_buildkit::llb::{Exec, Sharing, State};

use super::{MOUNT, Recipe, script};
use crate::plan::Plan;

/// The lists must be those of now; `db.lck` of an image that was interrupted is no reason to give up. Where pacman fetches as another
/// user, that one could not write to the mount: its sandbox is switched off, the build's stays.
const SCRIPT: &str = r#"
mkdir -p "$M/cache"
more=
if pacman --sync --help 2> /dev/null | grep -q -e --disable-sandbox; then more=--disable-sandbox; fi
rm -f /var/lib/pacman/db.lck
if [ -n "${DETOUR:-}" ]; then more="$more --config $DETOUR/pacman.conf"; fi
pacman="pacman --noconfirm --noprogressbar --color never --cachedir $M/cache --logfile /dev/null $more"
$pacman --sync --refresh < /dev/null || exit 81
$pacman --sync --sysupgrade < /dev/null || exit 83
$pacman --sync --clean < /dev/null > /dev/null 2>&1 || true
"#;

/// `pacman`.
pub(super) struct Pacman;

impl Recipe for Pacman {
    fn upgrade(&self, image: &State, plan: &Plan, run: &str) -> Option<Exec> {
        let cache = format!("patchport-pacman-{}-{}", plan.platform.architecture, plan.cache);
        let exec = script(image, plan, SCRIPT, [], run).env("M", MOUNT).cache(
            format!("{MOUNT}/cache"),
            cache,
            Sharing::Locked,
        );
        Some(exec)
    }

    fn install(&self, _: &State, _: &Plan, _: &[String], _: &str) -> Option<Exec> {
        None
    }
}
