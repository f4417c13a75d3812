//! Fuzzes the target `apt_packages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("apt_packages", input));
