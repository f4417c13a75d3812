//! How bad an advisory is: the distribution's own word where there is one, else the highest of its CVSS vectors.

use std::str::FromStr;

use super::record::Score;
use crate::findings::Severity;

/// The longest vector that is taken, in bytes: one with all metrics of version 4 is about 200.
const MAX_VECTOR: usize = 512;

/// The severity that some scores give together.
pub(super) fn of(scores: &[Score]) -> Severity {
    let words = scores.iter().map(|score| Severity::of(&score.score)).max();
    let word = words.unwrap_or_default();
    if word != Severity::Unknown {
        return word;
    }
    scores
        .iter()
        .map(|score| of_vector(&score.score))
        .max()
        .unwrap_or_default()
}

fn of_vector(vector: &str) -> Severity {
    if vector.len() > MAX_VECTOR {
        return Severity::Unknown;
    }
    match cvss::Cvss::from_str(vector).map(|vector| vector.severity()) {
        Ok(cvss::Severity::None) => Severity::Negligible,
        Ok(cvss::Severity::Low) => Severity::Low,
        Ok(cvss::Severity::Medium) => Severity::Medium,
        Ok(cvss::Severity::High) => Severity::High,
        Ok(cvss::Severity::Critical) => Severity::Critical,
        Err(_) => Severity::Unknown,
    }
}
