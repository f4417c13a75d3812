//! Fuzzes the target `rpm_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("rpm_file", input));
