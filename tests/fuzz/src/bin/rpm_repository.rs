//! Fuzzes the target `rpm_repository`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("rpm_repository", input));
