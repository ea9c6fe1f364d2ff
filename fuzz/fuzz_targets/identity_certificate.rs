//! Arbitrary root certificates.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::identity::certificate(bytes);
});
