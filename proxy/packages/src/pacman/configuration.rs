//! What `etc/pacman.conf` tells pacman (pacman.conf(5)): its repositories, how far they must be signed, and what is not to be upgraded.
//! Files that it includes are read where the image has them; what is not known here is ignored, as pacman does with a warning.

use serde::{Deserialize, Serialize};

use crate::layer::Files;

/// Where pacman is told.
pub const CONFIGURATION: &str = "etc/pacman.conf";
/// Where images keep what it includes.
pub const INCLUDED: &str = "etc/pacman.d";
/// The keys that pacman verifies with, and those that distributions bring.
pub const KEYS: [&str; 2] = ["etc/pacman.d/gnupg/pubring.gpg", "usr/share/pacman/keyrings"];

/// More patterns, repositories or servers are not read.
const MAX: usize = 1000;
/// How deep files include each other; pacman stops there, too.
const MAX_DEPTH: usize = 10;

/// What pacman is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The repositories, the one that counts first.
    pub repositories: Vec<Repository>,
    /// pacman's word for the machine, the first of several; nothing when pacman is to find out.
    pub architecture: Option<String>,
    /// Patterns of packages that stay as they are.
    pub ignored: Vec<String>,
    /// Patterns of groups whose packages stay as they are.
    pub ignored_groups: Vec<String>,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// Where it is, the best first; `$repo` and `$arch` stand for its name and the machine.
    pub servers: Vec<String>,
    /// How far its packages must be signed.
    pub packages: Level,
    /// How far its list of packages must be signed.
    pub database: Level,
}

/// How far something must be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A signature is not looked at.
    Never,
    /// A signature must be good where there is one.
    Optional,
    /// There must be a good signature.
    Required,
}

/// The levels for packages and for databases.
#[derive(Clone, Copy)]
struct Levels {
    packages: Level,
    database: Level,
}

impl Repository {
    /// Where it is on a machine of this architecture.
    #[must_use]
    pub fn urls(&self, architecture: &str) -> Vec<String> {
        let filled = |server: &String| server.replace("$repo", &self.name).replace("$arch", architecture);
        self.servers.iter().map(filled).collect()
    }

    /// Whether a list that nobody has signed can do no harm that pacman would not notice: the image allows it, and insists on signed
    /// packages, as Arch Linux does.
    #[must_use]
    pub fn allows_unsigned(&self) -> bool {
        self.database == Level::Optional && self.packages == Level::Required
    }
}

impl Levels {
    /// What pacman does when it is told nothing.
    const DEFAULT: Self = Self {
        packages: Level::Optional,
        database: Level::Optional,
    };

    /// These, changed by a `SigLevel`.
    fn changed(mut self, words: &str) -> Self {
        for word in words.split_whitespace() {
            let (packages, database, rest) = match (word.strip_prefix("Package"), word.strip_prefix("Database")) {
                (Some(rest), _) => (true, false, rest),
                (_, Some(rest)) => (false, true, rest),
                _ => (true, true, word),
            };
            let level = match rest {
                "Never" => Level::Never,
                "Optional" => Level::Optional,
                "Required" => Level::Required,
                // Whom to trust is told by the keys that the image has.
                _ => continue,
            };
            if packages {
                self.packages = level;
            }
            if database {
                self.database = level;
            }
        }
        self
    }
}

/// A configuration while it is read.
struct Reader<'a> {
    files: &'a Files,
    found: Configuration,
    section: String,
    options: Levels,
    /// What a repository says of signatures, by its number; the options may come after it.
    own: Vec<Vec<String>>,
}

impl Configuration {
    /// Reads what an image tells pacman; nothing where it has no such file.
    #[must_use]
    pub fn read(files: &Files) -> Option<Self> {
        // A link that leads nowhere tells pacman as little as it tells us.
        let text = files.read(CONFIGURATION).ok().flatten()?;
        let mut reader = Reader {
            files,
            found: Self::default(),
            section: String::new(),
            options: Levels::DEFAULT,
            own: Vec::new(),
        };
        reader.file(text, 0);
        Some(reader.finish())
    }
}

impl Reader<'_> {
    fn file(&mut self, text: &[u8], depth: usize) {
        for line in String::from_utf8_lossy(text).lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                self.begin(section);
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            match (key.trim(), value.trim()) {
                ("Include", pattern) if depth < MAX_DEPTH => self.include(pattern, depth),
                (key, value) => self.set(key, value),
            }
        }
    }

    fn begin(&mut self, section: &str) {
        section.clone_into(&mut self.section);
        let is_new = self.found.repositories.iter().all(|known| known.name != section);
        if section != "options" && is_new && self.found.repositories.len() < MAX {
            self.own.push(Vec::new());
            self.found.repositories.push(Repository {
                name: section.to_owned(),
                servers: Vec::new(),
                packages: Level::Required,
                database: Level::Required,
            });
        }
    }

    fn include(&mut self, pattern: &str, depth: usize) {
        let pattern = pattern.trim_start_matches('/');
        let texts: Vec<Vec<u8>> = match pattern.rsplit_once('/') {
            Some((folder, name)) if name.contains(['*', '?', '[']) => {
                let listed = self.files.list(folder).unwrap_or_default().into_iter();
                let own = |path: &String| fits(name, path.rsplit('/').next().unwrap_or_default());
                listed
                    .filter(|(path, _)| own(path))
                    .map(|(_, bytes)| bytes.to_vec())
                    .collect()
            }
            _ => self
                .files
                .read(pattern)
                .ok()
                .flatten()
                .map(<[u8]>::to_vec)
                .into_iter()
                .collect(),
        };
        for text in texts {
            self.file(&text, depth + 1);
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let found = &mut self.found;
        if self.section == "options" {
            let add = |list: &mut Vec<String>| {
                list.extend(value.split_whitespace().map(str::to_owned));
                list.truncate(MAX);
            };
            match key {
                "IgnorePkg" => add(&mut found.ignored),
                "IgnoreGroup" => add(&mut found.ignored_groups),
                "SigLevel" => self.options = self.options.changed(value),
                "Architecture" => {
                    let first = value.split_whitespace().next().filter(|first| *first != "auto");
                    found.architecture = first.map(str::to_owned);
                }
                _ => {}
            }
            return;
        }
        let Some(at) = found.repositories.iter().position(|known| known.name == self.section) else {
            return;
        };
        match (key, found.repositories.get_mut(at), self.own.get_mut(at)) {
            ("Server", Some(repository), _) if repository.servers.len() < MAX => {
                repository.servers.push(value.trim_end_matches('/').to_owned());
            }
            ("SigLevel", _, Some(own)) => own.push(value.to_owned()),
            _ => {}
        }
    }

    fn finish(mut self) -> Configuration {
        for (repository, own) in self.found.repositories.iter_mut().zip(&self.own) {
            let levels = own.iter().fold(self.options, |levels, words| levels.changed(words));
            (repository.packages, repository.database) = (levels.packages, levels.database);
        }
        self.found
    }
}

/// Whether a name fits a pattern of the shell's with `*` and `?`; one with a set of letters fits what begins as it does.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let pattern = match pattern.split_once('[') {
        Some((start, _)) => format!("{start}*"),
        None => pattern.to_owned(),
    };
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Which lengths of the name the pattern so far fits.
    let mut reached = vec![false; name.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for symbol in pattern {
        let mut next = vec![false; name.len() + 1];
        let mut any = false;
        for (at, next) in next.iter_mut().enumerate() {
            let here = |at: usize| reached.get(at).copied().unwrap_or_default();
            any |= here(at);
            *next = match symbol {
                '*' => any,
                _ => at > 0 && here(at - 1) && (symbol == '?' || name.get(at - 1) == Some(&symbol)),
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Configuration, Level, Repository, fits};
    use crate::layer::{Compression, Files, Limits, Wanted, merge, read};

    fn files(all: &[(&str, &str)]) -> Files {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in all {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let layer = read(&tar[..], Compression::Detect, &Wanted::packages(), &Limits::default());
        merge([layer.unwrap()].iter())
    }

    #[test]
    fn repositories_have_their_servers_and_levels() {
        let files = files(&[
            (
                "etc/pacman.conf",
                "# [no]\n[options]\nArchitecture = x86_64 x86_64_v3\nIgnorePkg = linux  glibc*\n IgnorePkg=icu\nIgnoreGroup = gnome\n\
                 SigLevel = Required DatabaseOptional\n[core]\nInclude = /etc/pacman.d/mirror*\nIgnorePkg = no\n\
                 [own]\nSigLevel = Never\nServer = https://own.example/$repo/\n[strict]\nSigLevel = DatabaseRequired TrustAll\n",
            ),
            (
                "etc/pacman.d/mirrorlist",
                "Server = https://a.example/$repo/os/$arch\n#Server = b\nServer = https://c.example\n",
            ),
        ]);
        let read = Configuration::read(&files).unwrap();
        assert_eq!(read.ignored, ["linux", "glibc*", "icu"]);
        assert_eq!(read.ignored_groups, ["gnome"]);
        assert_eq!(read.architecture.as_deref(), Some("x86_64"));
        let [core, own, strict] = &read.repositories[..] else {
            panic!("{read:?}")
        };
        assert_eq!(
            core.urls("x86_64"),
            ["https://a.example/core/os/x86_64", "https://c.example"]
        );
        assert_eq!(own.urls("x86_64"), ["https://own.example/own"]);
        let levels = |repository: &Repository| (repository.packages, repository.database);
        assert_eq!(levels(core), (Level::Required, Level::Optional));
        assert_eq!(levels(own), (Level::Never, Level::Never));
        assert_eq!(levels(strict), (Level::Required, Level::Required));
        assert!(core.allows_unsigned() && !own.allows_unsigned() && !strict.allows_unsigned());
    }

    #[test]
    fn files_that_include_themselves_come_to_an_end() {
        let files = files(&[(
            "etc/pacman.conf",
            "[core]\nServer = https://a.example\nInclude = /etc/pacman.conf\n",
        )]);
        let read = Configuration::read(&files).unwrap();
        assert_eq!(read.repositories.len(), 1);
        assert_eq!(read.repositories[0].servers.len(), 11);
    }

    #[test]
    fn patterns() {
        let cases = [
            ("linux", "linux", true),
            ("linux", "linux-lts", false),
            ("linux*", "linux-lts", true),
            ("l?b*", "lib32", true),
            ("*", "", true),
            ("?", "", false),
            ("ic[ux]", "icu", true),
            ("*-lts", "linux-lts", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
