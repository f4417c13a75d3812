//! How scanners are started, so that their reports can be taken: arguments, environment, and the reason when one fails.
//! Nothing here runs anything. No shell is meant to be involved, and the environment is meant to be these variables alone:
//! a `TRIVY_SEVERITY` or a `.trivyignore` that happens to be around would take findings away without a word.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// The longest reason, in characters.
const MAX_REASON: usize = 300;

/// What a scanner looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A file with [`components`](super::components()) of an inventory. A file, for Trivy reads it twice.
    Components(&'a Path),
    /// A folder with the files of an image, or just its package database, `os-release` and what tells the release besides:
    /// Trivy wants `etc/debian_version`, too.
    Root(&'a Path),
    /// An image as an OCI layout in a folder, or as an archive of docker-save.
    Image(&'a Path),
}

/// A scanner's arguments and its whole environment. To be run in an empty folder, with standard input closed; the report
/// comes on standard output, messages on standard error, and every status but zero is a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The arguments, without the program.
    pub arguments: Vec<OsString>,
    /// The environment, in place of the caller's.
    pub environment: Vec<(&'static str, OsString)>,
}

/// How Trivy is to be run; verified with 0.59.
#[derive(Clone, Copy, Debug)]
pub struct Trivy<'a> {
    /// Its cache folder, which holds the vulnerability database in `db`. Several scans may share it; those of images write to
    /// it and wait for each other.
    pub cache: &'a Path,
    /// A server that has the database, in place of one in the cache folder, and the token it wants.
    pub server: Option<(&'a str, &'a str)>,
    /// How long a scan may take by Trivy's own clock. The caller has to have one, too.
    pub timeout: Duration,
}

impl Trivy<'_> {
    /// A scan of a subject. It never goes to the network but to the server.
    #[must_use]
    pub fn scan(&self, subject: Subject<'_>) -> Invocation {
        let mut arguments = self.arguments(match subject {
            Subject::Components(_) => "sbom",
            Subject::Root(_) => "rootfs",
            Subject::Image(_) => "image",
        });
        arguments.extend(["--scanners=vuln", "--pkg-types=os", "--format=json", "--offline-scan"].map(OsString::from));
        if let Some((address, _)) = self.server {
            arguments.push(format!("--server={address}").into());
        } else {
            arguments.extend(["--skip-db-update", "--skip-java-db-update"].map(OsString::from));
        }
        match subject {
            Subject::Image(path) => arguments.push(option("--input=", path)),
            // After the dashes nothing is an option.
            Subject::Components(path) | Subject::Root(path) => arguments.extend(["--".into(), path.into()]),
        }
        self.invocation(arguments)
    }

    /// Fetches the database, if there is a newer one, from a repository such as `example.org/aquasec/trivy-db:2`. Best into a
    /// cache folder of its own that then takes the place of the old one: nothing says that scans find a whole database meanwhile.
    #[must_use]
    pub fn update(&self, repository: &str, is_insecure: bool) -> Invocation {
        let mut arguments = self.arguments("image");
        arguments.push("--download-db-only".into());
        arguments.push(format!("--db-repository={repository}").into());
        if is_insecure {
            arguments.push("--insecure".into());
        }
        self.invocation(arguments)
    }

    fn arguments(&self, command: &str) -> Vec<OsString> {
        let timeout = format!("--timeout={}ms", self.timeout.as_millis());
        let cache = option("--cache-dir=", self.cache);
        // Neither has anything to say: without them, Trivy takes such files from the folder it runs in.
        let nothing = ["--config=/dev/null", "--ignorefile=/dev/null"].map(OsString::from);
        let mut all = vec![
            command.into(),
            cache,
            timeout.into(),
            "--quiet".into(),
            "--no-progress".into(),
        ];
        all.extend(nothing);
        all
    }

    fn invocation(&self, arguments: Vec<OsString>) -> Invocation {
        let mut environment = vec![("HOME", self.cache.into()), ("NO_COLOR", "1".into())];
        // Not an argument: those can be seen by everybody on the machine.
        environment.extend(self.server.map(|(_, token)| ("TRIVY_TOKEN", token.into())));
        Invocation { arguments, environment }
    }
}

/// A scan by Grype with the database in a folder, by its documentation; no test runs it. Nothing for lists of components,
/// which are in Trivy's words. Grype refuses a database that is older than five days.
#[must_use]
pub fn grype(database: &Path, subject: Subject<'_>) -> Option<Invocation> {
    let target = match subject {
        Subject::Components(_) => return None,
        Subject::Root(path) => option("dir:", path),
        Subject::Image(path) => option("oci-dir:", path),
    };
    let environment = [
        ("GRYPE_CHECK_FOR_APP_UPDATE", "false".into()),
        ("GRYPE_DB_AUTO_UPDATE", "false".into()),
        ("GRYPE_DB_CACHE_DIR", database.into()),
        ("HOME", database.into()),
        ("NO_COLOR", "1".into()),
    ];
    Some(Invocation {
        arguments: vec!["--output=json".into(), "--quiet".into(), target],
        environment: environment.into(),
    })
}

fn option(name: &str, path: &Path) -> OsString {
    let mut text = OsString::from(name);
    text.push(path);
    text
}

/// Why a scanner failed, by what it wrote to standard error: its last message, in one line, without credentials of URLs and
/// without anything that a terminal or a log could mistake.
#[must_use]
pub fn reason(errors: &[u8]) -> String {
    // The end has the reason; a scanner can write without end.
    let end = errors.get(errors.len().saturating_sub(16 * 1024)..).unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_grave = |line: &&str| line.contains("FATAL") || line.contains("ERROR");
    let from = lines.iter().rposition(is_grave);
    let message = lines
        .get(from.unwrap_or(lines.len().saturating_sub(1))..)
        .unwrap_or_default();
    let message = message.join(" ");
    let grave = message.split_once("FATAL").or_else(|| message.split_once("ERROR"));
    let words = grave.map_or(message.as_str(), |(_, words)| words).trim();
    let words = words.strip_prefix("Fatal error").unwrap_or(words).trim();
    if words.is_empty() {
        return "it did not say why".to_owned();
    }
    let plain = words
        .split_whitespace()
        .map(without_credentials)
        .collect::<Vec<_>>()
        .join(" ");
    plain
        .chars()
        .filter(|next| !next.is_control())
        .take(MAX_REASON)
        .collect()
}

/// A word without what stands before `@` in the authority of a URL.
fn without_credentials(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::{Subject, grype, reason};
    use std::path::Path;

    #[test]
    fn reasons() {
        let table = [
            (
                "2026-11-25T13:16:49Z\tINFO\tx\n2026-11-25T13:16:49Z\tFATAL\tFatal error\tinit error: DB error: database error\n",
                "init error: DB error: database error",
            ),
            (
                "2026-11-25T13:16:49Z\tFATAL\tFatal error\timage scan error: 1 error occurred:\n\t* Get \"https://me:secret@example.org/v2/\": refused\n\n",
                "image scan error: 1 error occurred: * Get \"https://example.org/v2/\": refused",
            ),
            (
                "[0001] ERROR failed to load vulnerability db: \u{1b}[31mtoo old\u{1b}[0m",
                "failed to load vulnerability db: [31mtoo old[0m",
            ),
            ("one\ntwo\n", "two"),
            ("", "it did not say why"),
            ("FATAL", "it did not say why"),
        ];
        for (errors, expected) in table {
            assert_eq!(reason(errors.as_bytes()), expected);
        }
        let long = reason(&vec![b'x'; 1_000_000]);
        assert_eq!(long.len(), super::MAX_REASON);
        assert_eq!(reason(&[0xff, b'\n', 0xfe]), "\u{fffd}");
    }

    #[test]
    fn grype_looks_at_folders_only() {
        let (database, subject) = (Path::new("/db"), Path::new("-x y"));
        assert_eq!(grype(database, Subject::Components(subject)), None);
        let seen = grype(database, Subject::Root(subject)).map(|invocation| invocation.arguments);
        assert_eq!(
            seen,
            Some(["--output=json", "--quiet", "dir:-x y"].map(Into::into).to_vec())
        );
    }
}
