//! Fuzzes the target `rpm_database`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("rpm_database", input));
