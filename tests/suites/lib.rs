//! Nothing: this crate is its test binary, `suites/main.rs`.
