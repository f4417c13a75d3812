//! Fuzzes the target `layer_changes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("layer_changes", input));
