//! What the fuzz targets do, on some thousand random inputs in every run of the tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzz targets")]
#[path = "../../../fuzz/src/hbone.rs"]
mod targets;

mod support;

use proptest::prelude::*;
use support::raw;

/// Frames that are nearly right: known kinds, small streams, blocks that begin like a CONNECT.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let block = prop_oneof![
        Just(raw::connect(1, "10.0.0.1:80").split_off(9)),
        Just(b"\x02\x07CONNECT".to_vec()),
        Just(b"\x82\x86\x84\x01\x01a".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let frame = (0..11_u8, prop_oneof![Just(4_u8), Just(5), any::<u8>()], 0..9_u32, block, any::<Option<u16>>())
        .prop_map(|(kind, flags, stream, block, length)| {
            let mut frame = raw::frame(kind, flags, stream, &block);
            // Now and then the length is a lie.
            if let Some(length) = length.filter(|length| length % 8 == 0) {
                frame[1..3].copy_from_slice(&length.to_be_bytes());
            }
            frame
        });
    proptest::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_server_withstands_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        targets::serve(&bytes);
    }

    #[test]
    fn the_server_withstands_nearly_right_frames(bytes in frames()) {
        targets::serve(&bytes);
    }

    #[test]
    fn the_headers_withstand_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        targets::headers(&bytes);
    }

    #[test]
    fn the_headers_withstand_nearly_right_text(text in "([A-Za-z0-9.]{0,8}[=,;\" \\\\-]{0,3}(for|host|k8s.pod.name|00|\n)?){0,12}") {
        targets::headers(text.as_bytes());
    }
}

#[test]
fn a_request_among_the_bytes_is_found() {
    let bytes = [raw::connect(1, "10.0.0.1:80"), raw::connect(3, "bad"), raw::connect(5, "[::1]:1")].concat();
    assert_eq!(targets::serve(&bytes), 3);
}
