//! Fuzzes the target `osv_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| patchport_fuzz_targets::run("osv_record", input));
