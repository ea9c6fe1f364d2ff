//! Arbitrary bytes to the server, after a valid preface.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::hbone::serve(bytes);
});
