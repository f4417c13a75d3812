//! rpm's family: what runs in the image to upgrade the packages of a plan, by rpm itself or by what stands above it.
//!
//! Changed configuration files stay (rpm keeps them, with the new one beside as `.rpmnew`), nothing is removed, locks of versions
//! are honoured. Metadata, packages and logs live on mounts below `/dev`, which is no part of an image.

use patchport_buildkit::llb::{Exec, Network, Sharing, State};

use super::{MOUNT, Recipe, script};
use crate::plan::{Plan, Upgrade};

/// Installs the files that are its arguments with rpm alone. What they need is there or among them, or rpm says so: then the image's
/// own tool may know better.
///
/// * Signatures are checked as the image's rpm checks them, against the keys in its own database; each file is what the signed index
///   says, whatever rpm makes of its signature.
/// * Where the image's tool leaves documentation out, so does this.
const INSTALL: &str = r#"
command -v rpm > /dev/null || { echo "the image has no rpm" >&2; exit 84; }
docs=
for file in /etc/dnf/dnf.conf /usr/share/dnf5/libdnf.conf.d/*.conf /etc/yum.conf /etc/tdnf/tdnf.conf /etc/zypp/zypp.conf; do
  [ -r "$file" ] || continue
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      tsflags*=*nodocs* | rpm.install.excludedocs*=*yes*) docs=--excludedocs ;;
    esac
  done < "$file"
done
rpm --upgrade $docs "$@" < /dev/null || exit 84
"#;

/// dnf 4 and 5. A repository that cannot be read must fail the patch, or an outdated image would pass for a current one; all is
/// resolved and downloaded before anything changes. The history of transactions is a log, and is not kept.
const DNF: &str = r#"
run() {
  "$TOOL" -y --setopt=cachedir="$M/cache" --setopt=logdir="$M/log" --setopt=persistdir="$M/log/state" \
    --setopt=install_weak_deps=False --setopt=best=True --setopt=skip_if_unavailable=False \
    "--setopt=*.skip_if_unavailable=False" --setopt=retries=3 --setopt=timeout=20 \
    ${DETOUR:+--setopt=reposdir="$DETOUR/repos.d"} "$@" < /dev/null
}
if ! run --refresh makecache > "$M/log/update" 2>&1; then cat "$M/log/update" >&2; exit 81; fi
run upgrade --downloadonly "$@" > "$M/log/plan" 2>&1 || { cat "$M/log/plan" >&2; exit 82; }
case $(cat "$M/log/plan") in *"No match for argument"*) cat "$M/log/plan" >&2; exit 82 ;; esac
run upgrade "$@" || exit 83
"#;

/// yum of before dnf.
const YUM: &str = r#"
run() {
  yum -y --setopt=cachedir="$M/cache" --setopt=logfile="$M/log/yum.log" "--setopt=*.skip_if_unavailable=0" \
    --setopt=retries=3 --setopt=timeout=20 ${DETOUR:+--setopt=reposdir="$DETOUR/repos.d"} "$@" < /dev/null
}
run clean expire-cache > /dev/null 2>&1 || true
if ! run makecache > "$M/log/update" 2>&1; then cat "$M/log/update" >&2; exit 81; fi
run update --downloadonly "$@" > "$M/log/plan" 2>&1 || { cat "$M/log/plan" >&2; exit 82; }
case $(cat "$M/log/plan") in *"No Match for argument"* | *"No package "*" available"*) cat "$M/log/plan" >&2; exit 82 ;; esac
run update "$@" || exit 83
"#;

/// microdnf, which reads its repositories as a part of the upgrade.
const MICRODNF: &str = r#"
microdnf clean all > /dev/null 2>&1 || true
if microdnf -y --setopt=install_weak_deps=0 ${DETOUR:+--setopt=reposdir="$DETOUR/repos.d"} upgrade "$@" > "$M/log/upgrade" 2>&1 < /dev/null; then cat "$M/log/upgrade"; exit 0; fi
cat "$M/log/upgrade" >&2
case $(cat "$M/log/upgrade") in
  *"No package matches"* | *"No match for argument"*) exit 82 ;;
  *"cannot update repo"* | *"Failed to download metadata"* | *"was not complete"*) exit 81 ;;
esac
exit 83
"#;

/// tdnf.
const TDNF: &str = r#"
run() { tdnf -y --setopt=cachedir="$M/cache" ${DETOUR:+--setopt=reposdir="$DETOUR/repos.d"} "$@" < /dev/null; }
if ! run --refresh makecache > "$M/log/update" 2>&1; then cat "$M/log/update" >&2; exit 81; fi
run --downloadonly update "$@" > "$M/log/plan" 2>&1 || { cat "$M/log/plan" >&2; exit 82; }
case $(cat "$M/log/plan") in *"not found or not installed"* | *"No matching packages"*) cat "$M/log/plan" >&2; exit 82 ;; esac
run update "$@" || exit 83
"#;

/// zypper. Locks and vendors are those of the image; 100 to 103 are success with something to say.
const ZYPPER: &str = r#"
run() { zypper --non-interactive --cache-dir "$M/cache" ${DETOUR:+--reposd-dir "$DETOUR/repos.d"} "$@" < /dev/null; }
if ! run refresh > "$M/log/update" 2>&1; then cat "$M/log/update" >&2; exit 81; fi
run install --no-recommends --dry-run "$@" > "$M/log/plan" 2>&1 || code=$?
case ${code:-0} in 0 | 10[0-3]) ;; *) cat "$M/log/plan" >&2; exit 82 ;; esac
code=0
run install --no-recommends "$@" || code=$?
case $code in 0 | 10[0-3]) ;; *) exit 83 ;; esac
"#;

/// Has rpm know the operator's keys while the upgrade runs: what the tool takes into the database of keys goes again.
const KEYS: &str = r#"
if [ -n "${DETOUR:-}" ] && ls "$DETOUR"/key-* > /dev/null 2>&1; then
  command -v rpm > /dev/null || { echo "the image has no rpm that could be given keys" >&2; exit 85; }
  known=$(rpm --query --queryformat '%{VERSION}-%{RELEASE} ' gpg-pubkey 2> /dev/null) || known=
  forget() {
    for key in $(rpm --query --queryformat '%{VERSION}-%{RELEASE} ' gpg-pubkey 2> /dev/null); do
      case " $known " in *" $key "*) ;; *) rpm --erase "gpg-pubkey-$key" ;; esac
    done
  }
  trap forget EXIT
  rpm --import "$DETOUR"/key-* || exit 85
fi
"#;

/// A tool of the family.
pub(super) struct Rpm {
    /// What is run.
    program: &'static str,
    /// How it upgrades by itself, if it can; the packages are its arguments.
    script: Option<&'static str>,
    /// A package as it takes it.
    argument: fn(&Upgrade) -> String,
}

pub(super) static DNF_4: Rpm = Rpm::new("dnf", Some(DNF), nevra);
pub(super) static DNF_5: Rpm = Rpm::new("dnf5", Some(DNF), nevra);
pub(super) static ZYPPER_1: Rpm = Rpm::new("zypper", Some(ZYPPER), capability);
pub(super) static TDNF_3: Rpm = Rpm::new("tdnf", Some(TDNF), nevra);
pub(super) static MICRODNF_3: Rpm = Rpm::new("microdnf", Some(MICRODNF), nevra);
pub(super) static YUM_3: Rpm = Rpm::new("yum", Some(YUM), nevra);
pub(super) static RPM: Rpm = Rpm::new("rpm", None, nevra);

impl Rpm {
    const fn new(program: &'static str, script: Option<&'static str>, argument: fn(&Upgrade) -> String) -> Self {
        Self {
            program,
            script,
            argument,
        }
    }
}

/// `name-[epoch:]version-release.architecture`, or without the version where no repository is known to offer just that.
fn nevra(upgrade: &Upgrade) -> String {
    let Upgrade {
        name, architecture, to, ..
    } = upgrade;
    if upgrade.exact {
        format!("{name}-{to}.{architecture}")
    } else {
        format!("{name}.{architecture}")
    }
}

/// `name.architecture=[epoch:]version-release`, or what is at least that.
fn capability(upgrade: &Upgrade) -> String {
    let Upgrade {
        name, architecture, to, ..
    } = upgrade;
    let comparison = if upgrade.exact { "=" } else { ">=" };
    format!("{name}.{architecture}{comparison}{to}")
}

impl Recipe for Rpm {
    fn upgrade(&self, image: &State, plan: &Plan, run: &str) -> Option<Exec> {
        let script = format!("mkdir -p \"$M/log/state\"\n{KEYS}{}", self.script?);
        let cache = format!(
            "patchport-{}-cache-{}-{}",
            self.program, plan.platform.architecture, plan.cache
        );
        let exec = uncompiled(image, plan, &script, plan.upgrades.iter().map(self.argument), run);
        let exec = exec
            .env("M", MOUNT)
            .env("TOOL", self.program)
            .cache(format!("{MOUNT}/cache"), cache, Sharing::Locked)
            .tmpfs(format!("{MOUNT}/log"), Some(64 * 1024 * 1024));
        Some(exec)
    }

    fn install(&self, image: &State, plan: &Plan, paths: &[String], run: &str) -> Option<Exec> {
        let exec = uncompiled(image, plan, INSTALL, paths.iter().cloned(), run);
        Some(exec.network(Network::None))
    }
}

/// A script among tools of which dnf is written in Python, which would compile itself into the image.
fn uncompiled(image: &State, plan: &Plan, text: &str, arguments: impl Iterator<Item = String>, run: &str) -> Exec {
    script(image, plan, text, arguments, run).env("PYTHONDONTWRITEBYTECODE", "1")
}

#[cfg(test)]
mod tests {
    use patchport_packages::Version;
    use patchport_packages::version::Family;

    use super::{Upgrade, capability, nevra};

    #[test]
    fn packages_are_named_with_epoch_release_and_architecture() {
        let version = |text: &str| Version::parse(Family::Rpm, text).unwrap();
        let upgrade = |exact: bool| Upgrade {
            name: "kit-a".to_owned(),
            architecture: "x86_64".to_owned(),
            from: version("1.0-1.el9"),
            to: version("2:1.1~rc1-3.el9"),
            exact,
        };
        assert_eq!(nevra(&upgrade(true)), "kit-a-2:1.1~rc1-3.el9.x86_64");
        assert_eq!(nevra(&upgrade(false)), "kit-a.x86_64");
        assert_eq!(capability(&upgrade(true)), "kit-a.x86_64=2:1.1~rc1-3.el9");
        assert_eq!(capability(&upgrade(false)), "kit-a.x86_64>=2:1.1~rc1-3.el9");
    }
}
