//! Fuzzes the target `apk_package`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("apk_package", input));
