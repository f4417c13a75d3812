//! Fills a database from records, one after the other, within limits.

use super::record::{self, Record, Specific};
use super::{Advisory, Affected, Database, Error, Problems, Range, ecosystem, range, severity};
use crate::findings::Severity;
use crate::report::is_advisory;
use crate::version::{Family, Version};

/// How many problems are told in words.
const TOLD: usize = 10;

/// How many identifiers of an advisory are kept.
const MAX_IDS: usize = 100;

/// How much is taken. The defaults fit all distributions of OSV together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one record.
    pub record_bytes: u64,
    /// Records, whatever they are about.
    pub records: u64,
    /// Bytes that the database takes in memory, approximately.
    pub kept_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 8 * 1024 * 1024,
            records: 2_000_000,
            kept_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// A database while records come in.
#[derive(Debug, Default)]
pub struct Loader {
    pub(super) limits: Limits,
    database: Database,
    records: u64,
    kept_bytes: u64,
}

impl Loader {
    /// An empty database that will take so much.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes one file. Others than `.json` are passed over; a record that cannot be read is counted and left out, as is a
    /// withdrawn one and what is not about distributions.
    ///
    /// # Errors
    /// [`Error`] when a limit is hit; the database is of no use then.
    pub fn add(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        if !file.ends_with(".json") {
            return Ok(());
        }
        let limit = self.limits.record_bytes;
        if bytes.len() as u64 > limit {
            let file = file.to_owned();
            return Err(Error::RecordTooLarge { file, limit });
        }
        self.records += 1;
        if self.records > self.limits.records {
            return Err(too_much(file, "records", self.limits.records));
        }
        match serde_json::from_slice::<Record>(bytes) {
            Ok(record) => self.take(file, record)?,
            Err(error) => self.database.problems.add(file, &error.to_string()),
        }
        Ok(())
    }

    /// The database.
    #[must_use]
    pub fn finish(self) -> Database {
        self.database
    }

    fn take(&mut self, file: &str, record: Record) -> Result<(), Error> {
        let ids = record.ids();
        if record.withdrawn.is_some() || ids.is_empty() {
            return Ok(());
        }
        let index = u32::try_from(self.database.advisories.len());
        let index = index.map_err(|_| too_much(file, "records", u32::MAX.into()))?;
        let mut taken = 0_u64;
        for affected in record.affected.0 {
            let Some(package) = &affected.package else { continue };
            let Some(family) = ecosystem::family(&package.ecosystem) else {
                continue;
            };
            let (ecosystem, name) = (package.ecosystem.clone(), package.name.clone());
            let Some(entry) = self.entry(file, family, affected, index) else {
                continue;
            };
            taken += entry.size() + ecosystem.len() as u64 + name.len() as u64;
            let packages = self.database.ecosystems.entry(ecosystem.into()).or_default();
            packages.entry(name.into()).or_default().push(entry);
        }
        if taken == 0 {
            return Ok(());
        }
        let own: usize = ids.iter().map(|id| id.len() + size_of::<Box<str>>()).sum();
        self.kept_bytes += taken + own as u64 + size_of::<Advisory>() as u64;
        if self.kept_bytes > self.limits.kept_bytes {
            return Err(too_much(file, "bytes of memory", self.limits.kept_bytes));
        }
        let word = record
            .database_specific
            .as_ref()
            .map(Specific::severity)
            .map(Severity::of)
            .unwrap_or_default();
        let severity = if word == Severity::Unknown {
            severity::of(&record.severity.0)
        } else {
            word
        };
        self.database.advisories.push(Advisory { ids, severity });
        Ok(())
    }

    /// Nothing when it has no versions that can be read.
    fn entry(&mut self, file: &str, family: Family, affected: record::Affected, advisory: u32) -> Option<Affected> {
        let mut reader = Reader {
            family,
            file,
            problems: &mut self.database.problems,
        };
        let ours = affected.ranges.0.into_iter().filter(|range| range.kind == "ECOSYSTEM");
        let ranges: Vec<Range> = ours.filter_map(|range| reader.range(&range)).collect();
        let mut versions = Vec::new();
        if ranges.is_empty() {
            versions.extend(affected.versions.0.iter().filter_map(|text| reader.version(text)));
        }
        if ranges.is_empty() && versions.is_empty() {
            return None;
        }
        let (own, other) = (
            affected.ecosystem_specific.unwrap_or_default(),
            affected.database_specific.unwrap_or_default(),
        );
        let words = [own.urgency(), own.severity(), other.severity()].into_iter();
        let word = words.map(Severity::of).max().unwrap_or_default();
        Some(Affected {
            advisory,
            severity: if word == Severity::Unknown {
                severity::of(&affected.severity.0)
            } else {
                word
            },
            is_over: own.urgency() == "end-of-life",
            binaries: reader.binaries(&own, &ranges),
            ranges: ranges.into(),
            versions: versions.into(),
        })
    }
}

fn too_much(file: &str, what: &'static str, limit: u64) -> Error {
    let file = file.to_owned();
    Error::TooMuch { file, what, limit }
}

impl Record {
    /// Its identifiers, without those that cannot be any.
    fn ids(&self) -> Box<[Box<str>]> {
        let all = std::iter::once(&self.id).chain(&self.aliases.0).chain(&self.upstream.0);
        let mut ids: Vec<Box<str>> = Vec::new();
        for id in all.filter(|id| is_advisory(id)).take(MAX_IDS) {
            if !ids.iter().any(|known| **known == **id) {
                ids.push(id.as_str().into());
            }
        }
        ids.into()
    }
}

impl Affected {
    /// Its size in memory, approximately.
    fn size(&self) -> u64 {
        let text = 32;
        let events: usize = self.ranges.iter().map(Range::len).sum();
        let parts = events * (size_of::<range::Event>() + text)
            + self.versions.len() * (size_of::<Version>() + text)
            + self.binaries.len() * (size_of::<(Box<str>, Version)>() + 2 * text);
        (size_of::<Self>() + self.ranges.len() * size_of::<Range>() + parts) as u64
    }
}

impl Problems {
    fn add(&mut self, file: &str, problem: &str) {
        self.count += 1;
        if self.first.len() < TOLD {
            let problem: String = problem.chars().take(200).collect();
            self.first.push(format!("{file:?}: {problem:?}"));
        }
    }
}

/// Reads the versions of one package in a record.
struct Reader<'a> {
    family: Family,
    file: &'a str,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn version(&mut self, text: &str) -> Option<Version> {
        let version = Version::parse(self.family, text);
        version
            .map_err(|error| self.problems.add(self.file, &error.to_string()))
            .ok()
    }

    /// Nothing when a version in it cannot be read, for half a range says something else.
    fn range(&mut self, range: &record::Range) -> Option<Range> {
        let mut events = Vec::new();
        for event in &range.events.0 {
            if let Some(text) = &event.introduced {
                let version = if text == "0" { None } else { Some(self.version(text)?) };
                events.push(range::Event::Introduced(version));
            }
            if let Some(text) = &event.fixed {
                events.push(range::Event::Fixed(self.version(text)?));
            }
            if let Some(text) = &event.last_affected {
                events.push(range::Event::LastAffected(self.version(text)?));
            }
        }
        (!events.is_empty()).then(|| Range::new(events))
    }

    /// Those that differ from the source package's fixed versions; the others need no entry.
    fn binaries(&self, specific: &Specific, ranges: &[Range]) -> Box<[(Box<str>, Version)]> {
        let fixed = |version: &Version| ranges.iter().any(|range| range.has_fix(version));
        let mut differing: Vec<(Box<str>, Version)> = Vec::new();
        for (name, text) in specific.binaries() {
            let Ok(version) = Version::parse(self.family, text) else {
                continue;
            };
            if !fixed(&version) {
                differing.push((name.into(), version));
            }
        }
        differing.into()
    }
}
