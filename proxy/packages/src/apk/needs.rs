//! The files that upgrades come to: those of the packages themselves, and of what they newly need. An estimate that apk's own solver
//! has the last word on: where more than one package would do, there is no answer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::outdated::{candidates, kept_back};
use super::{Configuration, Constraint, Index, Offer, Repository, world};
use crate::inventory::Installed;
use crate::version::{Family, Version};

/// More packages than any upgrade comes to.
const MAX: usize = 10_000;

/// A package with the number of its repository in what was given.
pub type Taken<'a> = (usize, Offer<'a>);

/// The packages that upgrades to at least these versions (name, version) come to, and after them what they need. Nothing where the
/// indexes do not offer them, or leave a choice.
#[must_use]
pub fn sources<'a>(
    installed: &[Installed],
    configuration: &Configuration,
    indexes: &[(&'a Repository, &'a Index)],
    wanted: &[(&str, &Version)],
) -> Option<Vec<Taken<'a>>> {
    let by_name: HashMap<&str, &Installed> = installed.iter().map(|package| (&*package.name, package)).collect();
    let mut taken: Vec<Taken<'a>> = Vec::new();
    for (name, least) in wanted {
        let (number, offer, version) = newest(by_name.get(name)?, configuration, indexes)?;
        if version < **least {
            return None;
        }
        taken.push((number, offer));
    }
    let mut from = 0;
    while from < taken.len() {
        let needs = taken.get(from..).unwrap_or_default().iter();
        let needs: Option<Vec<Constraint>> = needs
            .map(|(_, offer)| constraints(offer.depends))
            .collect::<Option<Vec<_>>>()
            .map(|all| {
                let needs = all.into_iter().flatten();
                needs.filter(|need| !need.conflict).collect()
            });
        let needs = needs?;
        from = taken.len();
        let providers = providers(indexes, &needs);
        for need in &needs {
            let found = providers.get(&*need.name).map(Vec::as_slice).unwrap_or_default();
            more(need, found, &by_name, configuration, indexes, &mut taken)?;
        }
        if taken.len() > MAX {
            return None;
        }
    }
    Some(taken)
}

/// Takes the package that a need newly calls for; nothing when that is not certain.
fn more<'a>(
    need: &Constraint,
    providers: &[(usize, Offer<'a>, bool)],
    installed: &HashMap<&str, &Installed>,
    configuration: &Configuration,
    indexes: &[(&'a Repository, &'a Index)],
    taken: &mut Vec<Taken<'a>>,
) -> Option<()> {
    let is_taken = |name: &str| taken.iter().any(|(_, offer)| offer.name == name);
    let fits = |offer: &Offer<'_>| providers.iter().any(|(_, other, fits)| *fits && other == offer);
    if taken.iter().any(|(_, offer)| fits(offer)) {
        return Some(());
    }
    // What is upgraded anyway will not be there in its installed version.
    let own = installed.get(&*need.name).filter(|own| !is_taken(&own.name));
    if own.is_some_and(|own| need.allows(&own.version, "")) {
        return Some(());
    }
    let names: BTreeSet<&str> = providers.iter().map(|(_, offer, _)| offer.name).collect();
    let mut there = names
        .iter()
        .filter_map(|name| installed.get(name))
        .filter(|own| !is_taken(&own.name));
    if let Some(there) = there.next() {
        if own.is_none() && need.bound == super::Bound::Any {
            return Some(());
        }
        let (number, offer, _) = newest(there, configuration, indexes)?;
        return fits(&offer).then(|| taken.push((number, offer)));
    }
    let mut new: BTreeMap<&str, (usize, Offer<'a>, Version)> = BTreeMap::new();
    for (number, offer, _) in providers.iter().filter(|(_, _, fits)| *fits) {
        let (repository, _) = indexes.get(*number)?;
        let version = Version::parse(Family::Apk, offer.version).ok()?;
        // Only what `world` names with a tag comes from tagged repositories.
        if repository.tag.is_some() || installed.contains_key(offer.name) {
            continue;
        }
        let known = new.get(offer.name).is_some_and(|(_, _, known)| *known >= version);
        if !known {
            new.insert(offer.name, (*number, *offer, version));
        }
    }
    let mut new = new.into_values();
    let (number, offer, _) = new.next()?;
    new.next().is_none().then(|| taken.push((number, offer)))
}

/// The newest version of an installed package that apk may take.
fn newest<'a>(
    package: &Installed,
    configuration: &Configuration,
    indexes: &[(&'a Repository, &'a Index)],
) -> Option<(usize, Offer<'a>, Version)> {
    let constraints: Vec<&Constraint> = configuration.of(&package.name).collect();
    let tag = configuration.tag(&package.name);
    let numbered = indexes.iter().enumerate();
    let all = numbered
        .filter(|(_, (repository, _))| repository.tag.as_ref() == tag)
        .flat_map(|(number, (repository, index))| {
            candidates(package, repository, index).map(move |candidate| (number, candidate))
        });
    let may = all.filter(|(_, candidate)| kept_back(package, configuration, &constraints, candidate).is_none());
    let newest = may.reduce(|one, other| if other.1.version > one.1.version { other } else { one })?;
    Some((newest.0, newest.1.offer, newest.1.version))
}

/// Who provides what is needed: repository, package, and whether it does so in a version that fits.
fn providers<'n, 'a>(
    indexes: &[(&Repository, &'a Index)],
    needs: &'n [Constraint],
) -> HashMap<&'n str, Vec<(usize, Offer<'a>, bool)>> {
    let names: HashSet<&str> = needs.iter().map(|need| &*need.name).collect();
    let mut found: HashMap<&str, Vec<(usize, Offer<'a>, bool)>> = HashMap::new();
    for (number, (_, index)) in indexes.iter().enumerate() {
        for offer in index.offers() {
            let own = names.get(offer.name).map(|name| (*name, Some(offer.version)));
            let provided = offer.provides.split(' ').filter_map(|word| {
                let (name, version) = word
                    .split_once('=')
                    .map_or((word, None), |(name, version)| (name, Some(version)));
                Some((*names.get(name)?, version))
            });
            for (name, version) in own.into_iter().chain(provided) {
                let version = version.and_then(|version| Version::parse(Family::Apk, version).ok());
                let fits = needs
                    .iter()
                    .filter(|need| need.name == name)
                    .all(|need| match &version {
                        Some(version) => need.allows(version, offer.checksum),
                        None => need.bound == super::Bound::Any,
                    });
                found.entry(name).or_default().push((number, offer, fits));
            }
        }
    }
    found
}

/// Dependencies, as an index and a database have them; nothing when they are malformed.
pub(crate) fn constraints(text: &str) -> Option<Vec<Constraint>> {
    world::parse("dependencies", text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::sources;
    use crate::apk::index::Builder;
    use crate::apk::{Configuration, Format, Index, Offer, Repository};
    use crate::inventory::{Installed, Source};
    use crate::version::{Family, Version};

    fn version(text: &str) -> Version {
        Version::parse(Family::Apk, text).unwrap()
    }

    fn installed(name: &str, number: &str) -> Installed {
        let (name, version) = (name.to_owned(), version(number));
        Installed {
            source: Source {
                name: name.clone(),
                version: version.clone(),
            },
            name,
            version,
            architecture: "x86_64".to_owned(),
            origin: None,
        }
    }

    /// An index of packages: name, version, what they need, what they provide.
    fn index(offers: &[(&str, &str, &str, &str)]) -> Index {
        let mut builder = Builder::new(1 << 20);
        for &(name, version, depends, provides) in offers {
            builder.add(&Offer {
                name,
                version,
                architecture: "x86_64",
                origin: "",
                checksum: "Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                depends,
                provides,
                size: 1,
            });
        }
        builder.finish("index", String::new()).unwrap()
    }

    #[test]
    fn what_an_upgrade_comes_to() {
        let there = [installed("app", "1.0-r0"), installed("lib", "1.0-r0")];
        let app = |needs| ("app", "1.1-r0", needs, "");
        let lib = ("lib", "1.1-r0", "", "so:lib.so.1=1.1");
        let cases: [(&str, Vec<_>, Option<&[&str]>); 9] = [
            ("nothing more", vec![app("")], Some(&["app"])),
            ("what is there", vec![app("so:lib.so.1"), lib], Some(&["app"])),
            (
                "a newer one of what is there",
                vec![app("lib=1.1-r0"), lib],
                Some(&["app", "lib"]),
            ),
            ("one that is nowhere", vec![app("gone")], None),
            ("a version that is nowhere", vec![app("lib>2"), lib], None),
            (
                "a new one",
                vec![app("new"), ("new", "1-r0", "more", ""), ("more", "1-r0", "", "")],
                Some(&["app", "new", "more"]),
            ),
            (
                "the one that provides it",
                vec![app("cmd:new"), ("new", "1-r0", "", "cmd:new=1-r0")],
                Some(&["app", "new"]),
            ),
            (
                "a choice",
                vec![app("cmd:x"), ("a", "1-r0", "", "cmd:x"), ("b", "1-r0", "", "cmd:x")],
                None,
            ),
            (
                "a conflict",
                vec![app("!enemy"), ("enemy", "1-r0", "", "")],
                Some(&["app"]),
            ),
        ];
        let repository = Repository {
            url: "http://apk.example.org".to_owned(),
            format: Format::V2,
            tag: None,
        };
        for (name, offers, expected) in cases {
            let index = index(&offers);
            let indexes = [(&repository, &index)];
            let found = sources(
                &there,
                &Configuration::default(),
                &indexes,
                &[("app", &version("1.1-r0"))],
            );
            let found = found.map(|taken| taken.iter().map(|(_, offer)| offer.name).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        let index = index(&[app("")]);
        let newer = [("app", &version("1.2-r0"))];
        assert!(sources(&there, &Configuration::default(), &[(&repository, &index)], &newer).is_none());
    }
}
