//! The answers that stand: while one does, `HEAD` and `GET` of a tag name the same digest.
//!
//! A client asks with `HEAD`, and a moment later with `GET`; a patch that is published in between must not show until
//! the client had its chance. So an answer for an original stands for a few seconds after it was last given.

use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::{CompResult, Op};
use patchport_oci::{Digest, Manifest, Tag};
use tokio::time::Instant;

use crate::route::Place;

/// How long an answer stands after it was last given.
const SETTLE: Duration = Duration::from_secs(5);
/// How long it stands at most once a newer one was offered.
const SETTLE_AT_MOST: Duration = Duration::from_secs(10);

/// What a tag is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The manifest.
    pub manifest: Manifest,
    /// Why it is not the patched image, when it should be.
    pub warning: Option<String>,
}

#[derive(Clone)]
struct Standing {
    source: Digest,
    answer: Answer,
    /// When the patcher was last asked and had nothing newer.
    confirmed: Instant,
    /// When a client was last told.
    last_given: Instant,
    /// When something newer was first there.
    superseded: Option<Instant>,
}

impl Standing {
    fn stands_at(&self, now: Instant) -> bool {
        let recent = |then: Instant, limit| now.saturating_duration_since(then) < limit;
        recent(self.last_given, SETTLE) && self.superseded.is_none_or(|then| recent(then, SETTLE_AT_MOST))
    }
}

/// The answers that stand, by tag.
pub struct Answers(Cache<(String, String), Standing>);

impl Default for Answers {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(100_000)
                .time_to_idle(SETTLE_AT_MOST)
                .build(),
        )
    }
}

impl Answers {
    /// The answer without a patch that was found for this original a moment ago: the client's next request need not
    /// wait again. However often it is asked for, it holds for a moment only, and then the patcher is asked.
    pub async fn unpatched(&self, place: &Place, tag: &Tag, source: &Digest) -> Option<Answer> {
        let now = Instant::now();
        let usable = |standing: &Standing| {
            let confirmed = now.saturating_duration_since(standing.confirmed) < SETTLE;
            standing.answer.warning.is_some()
                && standing.source == *source
                && confirmed
                && standing.superseded.is_none()
        };
        let key = key(place, tag);
        if !self.0.get(&key).await.is_some_and(|standing| usable(&standing)) {
            return None;
        }
        let given = self.0.entry(key).and_compute_with(|entry| {
            let usable = entry.map(moka::Entry::into_value).filter(usable);
            std::future::ready(usable.map_or(Op::Nop, |standing| {
                Op::Put(Standing {
                    last_given: now,
                    ..standing
                })
            }))
        });
        match given.await {
            CompResult::ReplacedWith(entry) => Some(entry.into_value().answer),
            _ => None,
        }
    }

    /// The answer to give: `fresh`, unless another one for the same original stood when it was `asked` for.
    pub async fn settle(&self, place: &Place, tag: &Tag, source: &Digest, fresh: Answer, asked: Instant) -> Answer {
        let now = Instant::now();
        let entry = self.0.entry(key(place, tag));
        let settled = entry.and_upsert_with(|old| {
            let standing = old
                .map(moka::Entry::into_value)
                .filter(|old| old.source == *source && old.stands_at(asked));
            let standing = match standing {
                Some(old) if old.answer.manifest.digest != fresh.manifest.digest => Standing {
                    last_given: now,
                    superseded: old.superseded.or(Some(now)),
                    ..old
                },
                _ => Standing {
                    source: source.clone(),
                    answer: fresh,
                    confirmed: now,
                    last_given: now,
                    superseded: None,
                },
            };
            std::future::ready(standing)
        });
        settled.await.into_value().answer
    }
}

fn key(place: &Place, tag: &Tag) -> (String, String) {
    (place.to_string(), tag.to_string())
}

#[cfg(test)]
mod tests;
