//! A range of versions: the events at which a vulnerability came and went, as OSV's schema evaluates them.

use crate::version::Version;

/// What happens at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Versions from this one on are affected; none: from the beginning.
    Introduced(Option<Version>),
    /// Versions from this one on are not.
    Fixed(Version),
    /// Versions after this one are not.
    LastAffected(Version),
}

/// Events in the order of their versions.
#[derive(Debug)]
pub(super) struct Range(Box<[Event]>);

impl Event {
    fn version(&self) -> Option<&Version> {
        match self {
            Self::Introduced(version) => version.as_ref(),
            Self::Fixed(version) | Self::LastAffected(version) => Some(version),
        }
    }

    /// Orders events at the same version: a fix ends what came before, the last affected version what comes there.
    fn rank(&self) -> u8 {
        match self {
            Self::Fixed(_) => 0,
            Self::Introduced(_) => 1,
            Self::LastAffected(_) => 2,
        }
    }
}

impl Range {
    pub(super) fn new(mut events: Vec<Event>) -> Self {
        events.sort_by(|one, other| {
            let by_version = one.version().cmp(&other.version());
            by_version.then(one.rank().cmp(&other.rank()))
        });
        Self(events.into_boxed_slice())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a version is one of those with a fix.
    pub(super) fn has_fix(&self, version: &Version) -> bool {
        let is_it = |event: &Event| matches!(event, Event::Fixed(fixed) if fixed == version);
        self.0.iter().any(is_it)
    }

    /// Whether a version is in the range; then the first fixed version after it, if any.
    pub(super) fn fix(&self, version: &Version) -> Option<Option<&Version>> {
        let mut affected = false;
        for event in &self.0 {
            match event {
                Event::Introduced(from) if from.as_ref().is_none_or(|from| from <= version) => affected = true,
                Event::Fixed(fixed) if fixed <= version => affected = false,
                Event::LastAffected(last) if last < version => affected = false,
                Event::Introduced(_) | Event::Fixed(_) | Event::LastAffected(_) => {}
            }
        }
        let mut fixes = self.0.iter().filter_map(|event| match event {
            Event::Fixed(fixed) if fixed > version => Some(fixed),
            _ => None,
        });
        affected.then(|| fixes.next())
    }
}
