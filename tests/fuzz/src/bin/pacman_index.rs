//! Fuzzes the target `pacman_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("pacman_index", input));
