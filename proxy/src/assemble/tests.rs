//! Tables for assembling; see the file above.
