//! Debian and Ubuntu: what runs in the image to upgrade the packages of a plan.
//!
//! Non-interactive, holds and changed configuration files kept, nothing removed, no service started. Lists, archives and
//! logs live on mounts below `/dev`, which is no part of an image, so that the layer holds what the packages changed.

use patchport_buildkit::llb::{Exec, Network, Sharing, State};

use super::{MOUNT, Recipe, script};
use crate::plan::{Plan, Upgrade};

/// Keeps services from being started: an image's own `policy-rc.d` that does so is left alone, another is moved aside.
const NO_SERVICES: &str = r#"
policy=/usr/sbin/policy-rc.d
answer=0
[ ! -x "$policy" ] || "$policy" patchport start < /dev/null > /dev/null 2>&1 || answer=$?
if [ "$answer" != 101 ] && [ -d /usr/sbin ]; then
  restore() {
    rm -f "$policy"
    if [ -e "$policy.patchport" ] || [ -L "$policy.patchport" ]; then mv "$policy.patchport" "$policy"; fi
  }
  trap restore EXIT
  if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$policy.patchport"; fi
  printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod 755 "$policy"
fi
"#;

/// Installs the files that are its arguments with dpkg alone. What they need is there or among them, or dpkg says so: then the
/// image's own tool may know better. A package that is new came for another's sake, and apt is told so.
const INSTALL: &str = r#"
new=
for file in "$@"; do
  name=$(dpkg-deb --field "$file" Package)
  dpkg-query --show "$name" > /dev/null 2>&1 || new="$new $name"
done
dpkg --force-confdef --force-confold --force-unsafe-io --auto-deconfigure --log=/dev/null --install "$@" < /dev/null || exit 84
if [ -n "$new" ] && command -v apt-mark > /dev/null; then apt-mark auto $new > /dev/null; fi
"#;

/// The script, run by the image's own `sh`. The packages are its arguments: no name or version ever becomes a part of it.
///
/// * `Error-Mode=any`, and the look for `W:` lines for an apt that does not know it: a source that cannot be read must
///   fail the patch, or an outdated image would pass for a current one.
/// * `install --only-upgrade` of exactly the plan's versions: what they need comes along, new packages too; nothing is removed, and
///   what is on hold stays.
/// * `autoclean` bounds what the cache of archives grows to.
/// * What the operator says of repositories comes last, and so counts; logins of the image's own stay.
/// * A sandbox user of apt's own could not write to the mounts.
const SCRIPT: &str = r#"
mkdir -p "$M/cache/archives/partial" "$M/lists/partial" "$M/log"
cat > "$M/log/apt.conf" <<EOF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::Cache "$M/cache";
Dir::Cache::archives "archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::State::lists "$M/lists";
Dir::Log "$M/log";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Get::List-Cleanup "false";
APT::Keep-Downloaded-Packages "true";
APT::Install-Recommends "false";
APT::Get::Always-Include-Phased-Updates "true";
Acquire::Retries "3";
Acquire::Languages "none";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dpkg::Use-Pty "false";
Dpkg::Options { "--force-confdef"; "--force-confold"; "--force-unsafe-io"; "--log=/dev/null"; };
EOF
if [ -n "${DETOUR:-}" ]; then
  cat "$DETOUR/apt.conf" >> "$M/log/apt.conf"
  if [ -e "$DETOUR/auth.conf" ]; then
    mkdir "$M/log/auth.conf.d"
    for file in /etc/apt/auth.conf.d/*.conf; do [ ! -e "$file" ] || ln -s "$file" "$M/log/auth.conf.d/"; done
    ln -s "$DETOUR/auth.conf" "$M/log/auth.conf.d/00-patchport.conf"
    echo "Dir::Etc::netrcparts \"$M/log/auth.conf.d\";" >> "$M/log/apt.conf"
  fi
fi
apt() { apt-get -y -q -c "$M/log/apt.conf" "$@" < /dev/null; }

if ! apt update > "$M/log/update" 2>&1; then cat "$M/log/update" >&2; exit 81; fi
if grep -q -e '^W: Failed to fetch' -e '^E: ' -e '^W: Some index files failed' "$M/log/update"; then
  cat "$M/log/update" >&2; exit 81
fi
if ! apt --simulate --no-remove --only-upgrade install "$@" > "$M/log/plan" 2>&1; then cat "$M/log/plan" >&2; exit 82; fi
grep -e '^Inst ' "$M/log/plan" || { echo "nothing to upgrade"; exit 0; }
"#;

/// The end of it.
///
/// What is asked for by name counts as wanted for its own sake from then on: marks are put back as they were.
const UPGRADE: &str = r#"
marks=
if command -v apt-mark > /dev/null; then marks=$(apt-mark -c "$M/log/apt.conf" showauto); fi
apt --no-remove --only-upgrade install "$@" || exit 83
if [ -n "$marks" ]; then apt-mark -c "$M/log/apt.conf" auto $marks > /dev/null || exit 83; fi
apt autoclean > /dev/null || true
"#;

/// A package as apt-get takes it: with its version where a repository is known to offer just that.
fn argument(upgrade: &Upgrade) -> String {
    let Upgrade {
        name,
        architecture,
        to,
        exact,
        ..
    } = upgrade;
    // `all` is no architecture of a package's own to apt: it is the native one's.
    let package = if architecture == "all" {
        name.clone()
    } else {
        format!("{name}:{architecture}")
    };
    if *exact { format!("{package}={to}") } else { package }
}

/// `apt-get`, and dpkg for what was fetched.
pub(super) struct Apt;

/// dpkg alone.
pub(super) struct Dpkg;

impl Recipe for Apt {
    fn upgrade(&self, image: &State, plan: &Plan, run: &str) -> Option<Exec> {
        let cache = |what: &str| format!("patchport-apt-{what}-{}-{}", plan.platform.architecture, plan.cache);
        let script = format!("{SCRIPT}{NO_SERVICES}{UPGRADE}");
        let exec = unattended(image, plan, &script, plan.upgrades.iter().map(argument), run);
        let exec = exec
            .env("M", MOUNT)
            .cache(format!("{MOUNT}/cache"), cache("cache"), Sharing::Locked)
            .cache(format!("{MOUNT}/lists"), cache("lists"), Sharing::Locked)
            .tmpfs(format!("{MOUNT}/log"), Some(64 * 1024 * 1024));
        Some(exec)
    }

    fn install(&self, image: &State, plan: &Plan, paths: &[String], run: &str) -> Option<Exec> {
        Dpkg.install(image, plan, paths, run)
    }
}

impl Recipe for Dpkg {
    fn upgrade(&self, _: &State, _: &Plan, _: &str) -> Option<Exec> {
        None
    }

    fn install(&self, image: &State, plan: &Plan, paths: &[String], run: &str) -> Option<Exec> {
        let script = format!("{NO_SERVICES}{INSTALL}");
        let exec = unattended(image, plan, &script, paths.iter().cloned(), run);
        Some(exec.network(Network::None))
    }
}

/// A script that asks nobody anything.
fn unattended(image: &State, plan: &Plan, text: &str, arguments: impl Iterator<Item = String>, run: &str) -> Exec {
    script(image, plan, text, arguments, run)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
}
