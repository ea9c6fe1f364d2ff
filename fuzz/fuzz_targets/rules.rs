//! Arbitrary VirtualServices and DestinationRules.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ambit_fuzz::translation::rule(bytes);
});
