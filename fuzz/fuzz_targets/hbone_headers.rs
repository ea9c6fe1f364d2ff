//! Arbitrary header values to their readers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ambit_fuzz::hbone::headers(bytes));
