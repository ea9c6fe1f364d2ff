//! Arbitrary chains that a CA answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::identity::chain(bytes);
});
