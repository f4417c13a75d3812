//! Debian and Ubuntu: what runs in the image to upgrade the packages of a plan from its own sources.
//!
//! Non-interactive, holds and changed configuration files kept, nothing removed, no service started. Lists, archives and
//! logs live on mounts below `/dev`, which is no part of an image, so that the layer holds what the packages changed.

use patchport_buildkit::llb::{Exec, Sharing, State};

use crate::plan::{Plan, Upgrade};

/// The folder of our mounts in the container; runc mounts a fresh `/dev`, so nothing of it is left in the image.
const MOUNT: &str = "/dev/patchport";

/// The script, run by the image's own `sh`. The packages are its arguments: no name or version ever becomes a part of it.
///
/// * `Error-Mode=any`, and the look for `W:` lines for an apt that does not know it: a source that cannot be read must
///   fail the patch, or an outdated image would pass for a current one.
/// * `install --only-upgrade` of exactly the plan's versions: what they need comes along, new packages too; nothing is removed, and
///   what is on hold stays.
/// * `policy-rc.d` keeps services from being started; an image's own that does so is left alone, another is moved aside.
/// * `autoclean` bounds what the cache of archives grows to.
/// * A sandbox user of apt's own could not write to the mounts.
const SCRIPT: &str = r#"
set -eu
umask 022
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
apt() { apt-get -y -q -c "$M/log/apt.conf" "$@" < /dev/null; }

if ! apt update > "$M/log/update" 2>&1; then cat "$M/log/update" >&2; exit 81; fi
if grep -q -e '^W: Failed to fetch' -e '^E: ' -e '^W: Some index files failed' "$M/log/update"; then
  cat "$M/log/update" >&2; exit 81
fi
if ! apt --simulate --no-remove --only-upgrade install "$@" > "$M/log/plan" 2>&1; then cat "$M/log/plan" >&2; exit 82; fi
grep -e '^Inst ' "$M/log/plan" || { echo "nothing to upgrade"; exit 0; }

policy=/usr/sbin/policy-rc.d
answer=0
[ ! -x "$policy" ] || "$policy" patchport start < /dev/null > /dev/null 2>&1 || answer=$?
if [ "$answer" != 101 ]; then
  restore() {
    rm -f "$policy"
    if [ -e "$policy.patchport" ] || [ -L "$policy.patchport" ]; then mv "$policy.patchport" "$policy"; fi
  }
  trap restore EXIT
  if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$policy.patchport"; fi
  printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod 755 "$policy"
fi
apt --no-remove --only-upgrade install "$@" || exit 83
apt autoclean > /dev/null || true
"#;

/// The exit code that says that the sources do not give what was planned.
pub const NOT_OFFERED: i64 = 82;

/// What a failed exit code of the script means.
pub fn explain(code: i64) -> Option<&'static str> {
    match code {
        81 => Some("the image's package sources could not be read (apt-get update)"),
        NOT_OFFERED => Some("the image's package sources do not give these upgrades (apt-get --simulate install)"),
        83 => Some("the upgrade failed (apt-get install)"),
        126 | 127 => Some("the image has no shell or no apt-get"),
        _ => None,
    }
}

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

/// The upgrade of an image. `run` differs from run to run: the package sources may have changed since the last, and
/// BuildKit must not answer from its cache.
pub fn upgrade(image: &State, plan: &Plan, run: &str) -> Exec {
    let cache = |what: &str| format!("patchport-apt-{what}-{}-{}", plan.platform.architecture, plan.cache);
    let script = ["/bin/sh", "-c", SCRIPT, "patchport"].map(str::to_owned);
    image
        .exec(script.into_iter().chain(plan.upgrades.iter().map(argument)))
        .name(format!("upgrade {} {} packages", plan.distribution, plan.suite))
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
        .env("LC_ALL", "C")
        .env("HOME", "/root")
        .env("M", MOUNT)
        .env("PATCHPORT_RUN", run)
        .cache(format!("{MOUNT}/cache"), cache("cache"), Sharing::Locked)
        .cache(format!("{MOUNT}/lists"), cache("lists"), Sharing::Locked)
        .tmpfs(format!("{MOUNT}/log"), Some(64 * 1024 * 1024))
        // Signature checks of older releases need a `/tmp` to write to, and what scripts leave there is no patch.
        .tmpfs("/tmp", None)
}
