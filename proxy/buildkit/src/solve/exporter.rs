//! How the result is written: BuildKit's `oci` exporter into our session, with the attributes that a patch uses.

use std::collections::BTreeMap;

/// How new layers are compressed. Layers of the base image keep their bytes in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar.
    Uncompressed,
    /// gzip, which every client reads.
    Gzip,
    /// Zstandard: smaller and faster; clients since 2021 read it.
    Zstd,
}

/// The attributes of the exporter. The last value of an attribute stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    attrs: BTreeMap<String, String>,
}

impl Default for Exporter {
    fn default() -> Self {
        Self {
            attrs: BTreeMap::from([("tar".to_owned(), "false".to_owned())]),
        }
    }
}

impl Exporter {
    /// An exporter that compresses new layers so.
    pub fn new(compression: Compression) -> Self {
        let name = match compression {
            Compression::Uncompressed => "uncompressed",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        };
        Self::default().attr("compression", name)
    }

    /// The image's configuration as JSON, instead of a default one. BuildKit takes it for the base image's as well,
    /// so that layers it does not know keep their history.
    #[must_use]
    pub fn config(self, json: &str) -> Self {
        self.attr("containerimage.config", json)
            .attr("containerimage.base.config", json)
    }

    /// Timestamps of configuration and new layers are this, in seconds since 1970, or earlier (v0.13 and later).
    #[must_use]
    pub fn source_date_epoch(self, seconds: u64) -> Self {
        self.attr("source-date-epoch", seconds.to_string())
            .attr("rewrite-timestamp", "true")
    }

    /// Any other attribute. `tar` stays `false`: the result is written blob by blob.
    #[must_use]
    pub fn attr(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attrs.insert(name.into(), value.into());
        self.attrs.insert("tar".to_owned(), "false".to_owned());
        self
    }

    pub(crate) fn attrs(&self) -> impl Iterator<Item = (String, String)> {
        self.attrs.iter().map(|(name, value)| (name.clone(), value.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_reach_the_wire_and_tar_stays_off() {
        let exporter = Exporter::new(Compression::Zstd)
            .config("{}")
            .source_date_epoch(7)
            .attr("tar", "true");
        let attrs: Vec<_> = exporter.attrs().collect();
        let expected = [
            ("compression", "zstd"),
            ("containerimage.base.config", "{}"),
            ("containerimage.config", "{}"),
            ("rewrite-timestamp", "true"),
            ("source-date-epoch", "7"),
            ("tar", "false"),
        ];
        assert_eq!(attrs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
