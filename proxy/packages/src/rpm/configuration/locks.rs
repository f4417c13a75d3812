//! What must stay at its version: the lists of dnf's and yum's plugin `versionlock`, and zypper's locks.

use crate::layer::Files;
use crate::rpm::configuration::ini;
use crate::rpm::configuration::{Error, Lock, MAX_PATTERNS, file, malformed, refuse_long, too_many};

pub(crate) const DNF: &str = "etc/dnf/plugins/versionlock.list";
pub(crate) const YUM: &str = "etc/yum/pluginconf.d/versionlock.list";
pub(crate) const ZYPPER: &str = "etc/zypp/locks";

pub(crate) fn read(files: &Files) -> Result<Vec<Lock>, Error> {
    let mut locks = Vec::new();
    for (path, parse) in [
        (DNF, parse_list as fn(&str, &str) -> _),
        (YUM, parse_list),
        (ZYPPER, parse_zypper),
    ] {
        let Some(bytes) = file(files, path)? else { continue };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed(path, ini::Error::NotText))?;
        let found: Vec<String> = parse(path, text)?;
        if found.len() > MAX_PATTERNS {
            return Err(too_many(path, "locks", MAX_PATTERNS));
        }
        refuse_long(path, &found)?;
        locks.extend(found.into_iter().map(|package| Lock {
            package,
            file: path.to_owned(),
        }));
    }
    Ok(locks)
}

/// A package a line. A line that forbids one version only (`!`) is taken for a lock: nobody knows which other one is meant.
fn parse_list(_: &str, text: &str) -> Result<Vec<String>, Error> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|line| line.trim_start_matches('!').to_owned()).collect())
}

/// Paragraphs of fields.
fn parse_zypper(path: &str, text: &str) -> Result<Vec<String>, Error> {
    let mut locks = Vec::new();
    let (mut names, mut kind) = (Vec::new(), "glob");
    let end = [""];
    for (index, line) in text.lines().chain(end).enumerate() {
        let line = line.trim();
        if line.is_empty() {
            match kind {
                "glob" | "exact" => locks.append(&mut names),
                "substring" => locks.extend(names.drain(..).map(|name| format!("*{name}*"))),
                _ => {
                    return Err(Error::Lock {
                        file: path.to_owned(),
                        line: index,
                    });
                }
            }
            kind = "glob";
        } else if let Some((key, value)) = line.split_once(':') {
            match (key.trim(), value.trim()) {
                ("solvable_name", name) => names.push(name.to_owned()),
                ("match_type", value) => kind = value,
                _ => {}
            }
        }
    }
    Ok(locks)
}

/// What a lock may mean: it as it stands, without yum's leading epoch, and the name without version and release.
pub(crate) fn patterns(lock: &str) -> Vec<String> {
    let plain = match lock.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => lock,
    };
    let mut patterns = vec![plain.to_owned()];
    if let [_, _, name] = plain.rsplitn(3, '-').collect::<Vec<_>>()[..] {
        patterns.push(name.to_owned());
    }
    patterns
}
