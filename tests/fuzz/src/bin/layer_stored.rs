//! Fuzzes the target `layer_stored`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("layer_stored", input));
