//! What the fuzz targets do, on some thousand random and nearly right inputs in every run of the tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzz targets")]
#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzz targets")]
#[path = "../../../fuzz/src/identity.rs"]
mod targets;

use std::time::{Duration, UNIX_EPOCH};

use ambit_identity::Authority;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Tags and lengths of DER, and names that are looked for.
const DER: &[&[u8]] = &[
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x01\x00",
    b"\x06\x03\x55\x1d\x11",
    b"\x86\x00",
    b"\x04\x7f",
    b"\x17\x0d991231235959Z",
    b"\xa0\x00",
];
const TEXT: &[&[u8]] =
    &[b"spiffe://", b"/ns/", b"/sa/", b"/", b"%2f", b"..", b"\0", b"A", b"-----END CERTIFICATE-----"];
/// What parts PEM, and what should not.
const PEM: &[&[u8]] =
    &[b"\0", b"\n", b"\r\n", b"-----", b"=", b"-----END X509 CRL-----\n", b"-----BEGIN CERTIFICATE-----\n"];

/// A few small changes, each by some of what the reader may look for.
fn edits(words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<mutate::Edit>> {
    let by = prop_oneof![select(words).prop_map(<[u8]>::to_vec), vec(any::<u8>(), 0..6)];
    vec((any::<u16>(), 0..12_u8, by), 0..4)
}

fn request() -> Vec<u8> {
    let identity = "spiffe://cluster.local/ns/other/sa/admin".parse().unwrap();
    ambit_identity::csr::request(&identity).unwrap().1.der().to_vec()
}

fn root() -> Vec<u8> {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let authority = Authority::generate(&"cluster.local".parse().unwrap(), now).unwrap();
    authority.roots().roots().next().unwrap().to_vec()
}

const CHAIN: &[u8] = include_bytes!("../../../fuzz/seeds/identity_chain/chain.pem");
const LEAF: &[u8] = include_bytes!("../../../fuzz/seeds/identity_chain/leaf.der");
const LIST: &[u8] = include_bytes!("../../../fuzz/seeds/identity_revocations/list.der");
const LIST_IN_PEM: &[u8] = include_bytes!("../../../fuzz/seeds/identity_revocations/list.pem");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_ca_withstands_any_request(bytes in vec(any::<u8>(), 0..300), edits in edits(DER)) {
        targets::request(&bytes);
        static VALID: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        targets::request(&mutate::mutated(VALID.get_or_init(request), &edits));
    }

    #[test]
    fn the_bundle_withstands_any_certificate(bytes in vec(any::<u8>(), 0..300), edits in edits(DER)) {
        targets::certificate(&bytes);
        static VALID: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        targets::certificate(&mutate::mutated(VALID.get_or_init(root), &edits));
    }

    #[test]
    fn any_answer_of_a_ca_is_withstood(bytes in vec(any::<u8>(), 0..300), edits in edits(DER), in_text in edits(PEM)) {
        targets::chain(&bytes);
        targets::chain(&mutate::mutated(LEAF, &edits));
        targets::chain(&mutate::mutated(CHAIN, &in_text));
    }

    #[test]
    fn any_revocation_list_is_withstood(bytes in vec(any::<u8>(), 0..300), edits in edits(DER), in_text in edits(PEM)) {
        targets::revocations(&bytes);
        targets::revocations(&mutate::mutated(LIST, &edits));
        targets::revocations(&mutate::mutated(LIST_IN_PEM, &in_text));
    }

    #[test]
    fn identities_withstand_any_text(text in ".{0,60}", edits in edits(TEXT)) {
        targets::spiffe(text.as_bytes());
        targets::spiffe(&mutate::mutated(b"spiffe://cluster.local/ns/shop/sa/reviews", &edits));
    }
}

#[test]
fn what_is_right_is_taken() {
    assert!(targets::request(&request()));
    assert!(targets::certificate(&root()));
    assert!(targets::spiffe(b"spiffe://cluster.local/ns/shop/sa/reviews"));
    assert!(targets::chain(CHAIN) && targets::chain(LEAF));
    assert!(targets::revocations(LIST) && targets::revocations(LIST_IN_PEM));
    assert!(!targets::chain(LIST_IN_PEM) && !targets::chain(&request()) && !targets::revocations(CHAIN));
    assert!(!targets::request(&root()) && !targets::certificate(&request()) && !targets::spiffe(b"cluster.local"));
}
