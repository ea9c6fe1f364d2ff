//! Arbitrary certificate revocation lists.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::identity::revocations(bytes);
});
