//! The `Range` request header for blobs, reduced to what registries serve: one range of bytes
//! ([RFC 9110, section 14](https://www.rfc-editor.org/rfc/rfc9110#section-14)).
//!
//! What is no single, well-formed byte range is ignored, as the RFC asks; what lies past the end is unsatisfiable.

/// A satisfiable range of a representation: `first..=last`, both within its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, inclusive.
    pub last: u64,
}

/// The range cannot be satisfied: answer 416 with `Content-Range: bytes */size`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the range `{header}` lies outside of the {size} bytes that there are")]
pub struct Unsatisfiable {
    header: String,
    /// How many bytes there are.
    pub size: u64,
}

impl ByteRange {
    /// Reads a `Range` header against a representation of `size` bytes. `Ok(None)` means: send everything.
    ///
    /// # Errors
    /// [`Unsatisfiable`] when the header is a single byte range that selects nothing.
    pub fn parse(header: &str, size: u64) -> Result<Option<Self>, Unsatisfiable> {
        let Some((unit, set)) = header.split_once('=') else {
            return Ok(None);
        };
        let Some((first, last)) = set.trim().split_once('-') else {
            return Ok(None);
        };
        if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
            return Ok(None);
        }
        let unsatisfiable = || Unsatisfiable {
            header: header.chars().take(80).collect(),
            size,
        };
        let range = match (number(first), number(last)) {
            (Some(Some(first)), Some(None)) => Self {
                first,
                last: size.saturating_sub(1),
            },
            (Some(Some(first)), Some(Some(last))) if first <= last => Self {
                first,
                last: last.min(size.saturating_sub(1)),
            },
            (Some(None), Some(Some(0))) => return Err(unsatisfiable()),
            (Some(None), Some(Some(suffix))) => Self {
                first: size.saturating_sub(suffix),
                last: size.saturating_sub(1),
            },
            _ => return Ok(None),
        };
        if range.first >= size {
            Err(unsatisfiable())
        } else {
            Ok(Some(range))
        }
    }

    /// Number of bytes in the range, at least one.
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// `Some(None)` for nothing, `Some(Some(n))` for digits (saturating), `None` for anything else.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let some = |first, last| Ok(Some(ByteRange { first, last }));
        let gone = |header: &str| {
            Err(Unsatisfiable {
                header: header.into(),
                size: 10,
            })
        };
        for (header, expected) in [
            ("bytes=0-4", some(0, 4)),
            ("bytes=4-", some(4, 9)),
            ("bytes=-3", some(7, 9)),
            ("bytes=-30", some(0, 9)),
            ("bytes=0-99", some(0, 9)),
            ("Bytes=9-9", some(9, 9)),
            ("bytes=0-99999999999999999999999", some(0, 9)),
            ("bytes=10-", gone("bytes=10-")),
            ("bytes=-0", gone("bytes=-0")),
            ("bytes=5-4", Ok(None)),
            ("bytes=0-1,3-4", Ok(None)),
            ("bytes=a-b", Ok(None)),
            ("bytes", Ok(None)),
            ("items=0-1", Ok(None)),
            ("bytes=--1", Ok(None)),
        ] {
            assert_eq!(ByteRange::parse(header, 10), expected, "{header}");
        }
    }

    #[test]
    fn nothing_can_be_selected_from_an_empty_blob() {
        assert!(ByteRange::parse("bytes=0-", 0).is_err());
        assert!(ByteRange::parse("bytes=-1", 0).is_err());
    }
}
