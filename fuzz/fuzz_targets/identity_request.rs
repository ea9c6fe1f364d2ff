//! Arbitrary requests to the CA.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::identity::request(bytes);
});
