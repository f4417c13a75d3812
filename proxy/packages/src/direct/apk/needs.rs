//! What packages need of each other, and must not be with: whether that is so once others have taken their place. apk itself would not
//! begin an upgrade after which it is not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::Incoming;
use super::{Installed, Paragraph};
use crate::apk::{Bound, Constraint, Head, constraints};
use crate::version::{Family, Version};

impl Installed<'_> {
    /// What packages lack once these are there, and which of the new ones would be to blame, with words for people.
    pub(in crate::direct) fn unmet<F>(&self, incoming: &[Incoming<F>]) -> Vec<(String, String)> {
        let heads: BTreeMap<&str, &Head> = incoming
            .iter()
            .filter_map(|package| Some((package.name.as_str(), package.about.apk()?)))
            .collect();
        let stay = || {
            self.paragraphs
                .iter()
                .filter(|own| !heads.contains_key(own.name.as_str()))
        };
        let mut before = Offered::default();
        self.paragraphs.iter().for_each(|own| before.add(own));
        let mut after = Offered::default();
        stay().for_each(|own| after.add(own));
        for (name, head) in &heads {
            after.add_new(name, head);
        }
        let mut blamed = Vec::new();
        for (name, head) in &heads {
            let needs: Vec<&str> = head.all("depend").collect();
            let broken = constraints(&needs.join(" ")).map_or(Some(String::new()), |needs| {
                needs
                    .iter()
                    .find(|need| !after.meets(need, name))
                    .map(|need| need.name.clone())
            });
            blamed.extend(broken.map(|need| {
                (
                    (*name).to_owned(),
                    format!("what it needs or must not be with, {need}, is not so in the image"),
                )
            }));
        }
        for own in stay() {
            let needs = constraints(&own.depends).unwrap_or_default();
            let broken = |need: &&Constraint| before.meets(need, &own.name) && !after.meets(need, &own.name);
            for need in needs.iter().filter(broken) {
                let makers = before.by(&need.name).chain(after.by(&need.name));
                let makers: BTreeSet<&str> = makers.filter(|name| heads.contains_key(name)).collect();
                let reason = format!("{} needs {} as it is", own.name, need.name);
                blamed.extend(makers.into_iter().map(|name| (name.to_owned(), reason.clone())));
            }
        }
        blamed
    }
}

/// Who provides what, and in which version.
#[derive(Default)]
struct Offered {
    by_name: HashMap<String, Vec<(String, Option<Version>, String)>>,
}

impl Offered {
    fn add(&mut self, own: &Paragraph<'_>) {
        self.put(&own.name, own.version.clone(), &own.name, &own.checksum);
        self.provided(&own.name, &own.provides, &own.checksum);
    }

    fn add_new(&mut self, name: &str, head: &Head) {
        let version = head
            .field("pkgver")
            .and_then(|text| Version::parse(Family::Apk, text).ok());
        self.put(name, version, name, &head.checksum);
        for provides in head.all("provides") {
            self.provided(name, provides, &head.checksum);
        }
    }

    fn provided(&mut self, by: &str, words: &str, checksum: &str) {
        for word in words.split(' ').filter(|word| !word.is_empty()) {
            let (name, version) = word.split_once('=').unwrap_or((word, ""));
            self.put(name, Version::parse(Family::Apk, version).ok(), by, checksum);
        }
    }

    fn put(&mut self, name: &str, version: Option<Version>, by: &str, checksum: &str) {
        let known = self.by_name.entry(name.to_owned()).or_default();
        known.push((by.to_owned(), version, checksum.to_owned()));
    }

    /// Whether what a package needs is there, or what it must not be with is not.
    fn meets(&self, need: &Constraint, name: &str) -> bool {
        let known = self.by_name.get(&need.name).map(Vec::as_slice).unwrap_or_default();
        let allows = |(_, version, checksum): &(String, Option<Version>, String)| match version {
            Some(version) => need.allows(version, checksum),
            None => (need.bound == Bound::Any) != need.conflict,
        };
        if need.conflict {
            known.iter().filter(|(by, ..)| by != name).all(allows)
        } else {
            known.iter().any(allows)
        }
    }

    /// Who provides it.
    fn by(&self, name: &str) -> impl Iterator<Item = &str> {
        self.by_name.get(name).into_iter().flatten().map(|(by, ..)| by.as_str())
    }
}
