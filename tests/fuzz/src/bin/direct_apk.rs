//! Fuzzes the target `direct_apk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("direct_apk", input));
