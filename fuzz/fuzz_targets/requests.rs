//! Arbitrary heads of requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::requests::head(bytes);
});
