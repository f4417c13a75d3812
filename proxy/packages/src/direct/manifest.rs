//! Images with lists of rpm packages in place of a database (distroless Mariner and Azure Linux): which packages may do without their
//! scripts there, and the lists as they are afterwards. The lists do not name files, so what only an old version had stays.

use crate::inventory::replaces;
use crate::layer::{Error, Files, Tree};
use crate::rpm::{self, Head, MANIFEST, NAMES, Script};

use super::fragment::Fragment;

/// A cache of libraries, which only ldconfig could bring up to date.
const CACHE: &str = "etc/ld.so.cache";
/// What rpm runs for packages with libraries.
const LDCONFIG: [&str; 2] = ["/sbin/ldconfig", "/usr/sbin/ldconfig"];

/// Whether an image has such a list.
pub(super) fn is_there(files: &Files) -> bool {
    matches!(files.read(MANIFEST), Ok(Some(bytes)) if !bytes.is_empty())
}

/// The packages of an image's list; a list that cannot be read has none.
pub(super) fn all(files: &Files) -> Result<Vec<Fragment>, Error> {
    let text = files.read(MANIFEST)?.unwrap_or_default();
    let packages = rpm::read_manifest(MANIFEST, text).unwrap_or_default();
    let fragments = packages
        .into_iter()
        .map(|package| Fragment::listed(MANIFEST, package.name, package.architecture));
    Ok(fragments.collect())
}

/// Why a package cannot be taken; nothing when it can.
pub(super) fn refusal(tree: &Tree, head: &Head) -> Option<String> {
    let has_cache = tree.place(CACHE).is_some_and(|place| tree.get(&place).is_some());
    let scripts = head.scripts.installed.iter().chain(&head.scripts.erased);
    for Script { when, program } in scripts {
        if !LDCONFIG.contains(&program.as_str()) {
            return Some(format!(
                "its script {when} cannot run in an image without a package manager, and is not known to be needless there"
            ));
        }
        if has_cache {
            return Some(format!(
                "the image has /{CACHE}, which only ldconfig could bring up to date"
            ));
        }
    }
    // Whom a name of the image is, its database of users would tell; packages of such images are root's.
    let foreign = |entry: &&rpm::Entry| !entry.is_ghost() && (entry.user != "root" || entry.group != "root");
    if let Some(entry) = head.entries.iter().find(foreign) {
        return Some(format!("its {} belongs to {}:{}", entry.path, entry.user, entry.group));
    }
    let capable = head.entries.iter().find(|entry| !entry.capabilities.is_empty())?;
    Some(format!(
        "its {} has capabilities, which are not written here",
        capable.path
    ))
}

/// The lists with these packages, by architecture before, in place of the older ones; with their paths.
pub(super) fn renewed(files: &Files, new: &[(&str, &Head)]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut lists = Vec::new();
    let text = files.read(MANIFEST)?.unwrap_or_default();
    let old = rpm::read_manifest(MANIFEST, text).unwrap_or_default();
    let renewed = |line: &str| {
        let mut fields = line.split('\t');
        let (name, _, installed) = (fields.next()?, fields.next()?, fields.next()?);
        let architecture = fields.nth(4)?;
        let is_it = |(own, head): &&(&str, &Head)| head.package.name == name && *own == architecture;
        let (_, head) = new.iter().find(is_it)?;
        Some(rpm::manifest_line(head, installed))
    };
    lists.push((MANIFEST.to_owned(), edited(text, renewed)));
    if let Some(names) = files.read(NAMES)? {
        let renewed = |line: &str| {
            let is_it = |(own, head): &&(&str, &Head)| {
                let replaced = |package: &&rpm::Package| {
                    let same = package.name == head.package.name && package.architecture == *own;
                    same && replaces(&head.package.architecture, own)
                };
                old.iter()
                    .find(replaced)
                    .is_some_and(|package| rpm::full_name(package) == line)
            };
            let (_, head) = new.iter().find(is_it)?;
            Some(rpm::full_name(&head.package))
        };
        lists.push((NAMES.to_owned(), edited(names, renewed)));
    }
    Ok(lists)
}

/// A text with other lines where there are any, in order where it was.
fn edited(text: &[u8], renewed: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let old: Vec<&str> = text.lines().collect();
    let mut lines: Vec<String> = old
        .iter()
        .map(|line| renewed(line).unwrap_or_else(|| (*line).to_owned()))
        .collect();
    if old.is_sorted() {
        lines.sort();
    }
    let mut edited = lines.join("\n");
    if text.ends_with('\n') {
        edited.push('\n');
    }
    edited.into_bytes()
}
