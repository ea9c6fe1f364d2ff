//! Arbitrary policies.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::translation::policy(bytes);
});
