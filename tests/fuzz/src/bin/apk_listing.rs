//! Fuzzes the target `apk_listing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("apk_listing", input));
