//! rpm of a helper image on the file system of another: the helper is the root, read-only; the image is a mount, and only what
//! changes there is kept. Scripts of packages run in the image, with what the image has.

use patchport_buildkit::llb::{Exec, Network, State};

use super::{MOUNT, script};
use crate::patch::Helping;
use crate::plan::Plan;

/// Where the image is mounted.
const TARGET: &str = "/dev/patchport/target";

/// Upgrades the packages in `$T`; the arguments are the names of what is installed, `--`, and the files.
///
/// * The helper's rpm has to find what is installed before it changes anything: it may know another kind of database only.
/// * Signatures are checked against the keys in the image's own database; where the image is stricter than the helper, as the image
///   says.
/// * Where the image's tools leave documentation out, so does this.
const INSTALL: &str = r#"
own() { rpm --root "$T" --dbpath "/$DBPATH" --define "_db_backend $BACKEND" "$@" < /dev/null; }
if [ -n "$DEVICES" ]; then
  mknod -m 666 "$T/dev/null" c 1 3 && mknod -m 666 "$T/dev/zero" c 1 5 && mknod -m 666 "$T/dev/full" c 1 7 &&
    mknod -m 666 "$T/dev/random" c 1 8 && mknod -m 666 "$T/dev/urandom" c 1 9
fi > /dev/null 2>&1 || true
while [ "$1" != -- ]; do
  own --query "$1" > /dev/null 2>&1 || { own --query "$1" >&2 || true; exit 86; }
  shift
done
shift
docs=
level=
for file in "$T"/etc/dnf/dnf.conf "$T"/usr/share/dnf5/libdnf.conf.d/*.conf "$T"/etc/yum.conf "$T"/etc/tdnf/tdnf.conf \
  "$T"/etc/zypp/zypp.conf "$T"/usr/lib/rpm/macros "$T"/usr/lib/rpm/*/macros "$T"/usr/lib/rpm/macros.d/* \
  "$T"/etc/rpm/macros.* "$T"/etc/rpm/macros; do
  [ -f "$file" ] && [ -r "$file" ] || continue
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      tsflags*=*nodocs* | rpm.install.excludedocs*=*yes*) docs=--excludedocs ;;
      %_pkgverify_level*all*) level=all ;;
      %_pkgverify_level*signature*) level=signature ;;
    esac
  done < "$file"
done
own --upgrade ${SCRIPTS:+--define "_tmppath $SCRIPTS"} ${level:+--define "_pkgverify_level $level"} $docs "$@" || exit 84
"#;

/// The upgrade of a plan, from fetched packages whose files are at `paths`.
pub(in crate::patch) fn install(
    helper: &State,
    image: &State,
    helping: &Helping,
    plan: &Plan,
    paths: &[String],
    run: &str,
) -> Exec {
    let names = plan.upgrades.iter().map(|upgrade| upgrade.name.clone());
    let arguments = names.chain(["--".to_owned()]).chain(paths.iter().cloned());
    let (folder, backend) = database(helping.database);
    let has_devices = helping.covered.contains(&"dev");
    let mut exec = script(helper, plan, INSTALL, arguments, run)
        .name(format!(
            "upgrade {} {} packages by a helper",
            plan.distribution, plan.suite
        ))
        .env("HOME", format!("{MOUNT}/home"))
        .env("T", TARGET)
        .env("DBPATH", folder)
        .env("BACKEND", backend)
        .env("DEVICES", if has_devices { "yes" } else { "" })
        // Where rpm writes scripts to run them: below a mount, so that nothing of them is left.
        .env("SCRIPTS", if has_devices { "/dev" } else { "" })
        .output(TARGET, image)
        .tmpfs("/run", None)
        .tmpfs("/var/tmp", None)
        .network(Network::None);
    for directory in &helping.covered {
        exec = exec.tmpfs(format!("{TARGET}/{directory}"), None);
    }
    exec
}

/// The folder of a database, and what rpm calls its kind.
fn database(path: &str) -> (&str, &'static str) {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let backend = match file {
        "rpmdb.sqlite" => "sqlite",
        "Packages.db" => "ndb",
        _ => "bdb",
    };
    (folder, backend)
}

#[cfg(test)]
mod tests {
    use super::database;

    #[test]
    fn every_database_has_its_folder_and_its_kind() {
        for (path, expected) in [
            ("var/lib/rpm/rpmdb.sqlite", ("var/lib/rpm", "sqlite")),
            ("usr/lib/sysimage/rpm/Packages.db", ("usr/lib/sysimage/rpm", "ndb")),
            ("var/lib/rpm/Packages", ("var/lib/rpm", "bdb")),
        ] {
            assert_eq!(database(path), expected);
        }
    }
}
