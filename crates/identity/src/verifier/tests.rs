//! What the verifier makes of certificates that were tampered with.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::fixtures::{Ca, leaf, now, trust};

const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

proptest! {
    #[test]
    fn a_certificate_with_a_bit_changed_is_refused(place: prop::sample::Index, bit in 0..8_u8, purpose: bool) {
        let ca = Ca::new();
        let certified = ca.certify(&leaf(&[REVIEWS]));
        let store = TrustStore::new(ca.bundle());
        let verifier = Verifier { store, trust: trust("cluster.local", &[]), expected: Expected::Anyone };
        let time = UnixTime::since_unix_epoch(now().duration_since(UNIX_EPOCH).unwrap());
        let usage = || if purpose { KeyUsage::client_auth() } else { KeyUsage::server_auth() };
        verifier.verify(&certified.cert[0], &[], time, usage()).unwrap();

        let mut der = certified.cert[0].to_vec();
        let place = place.index(der.len());
        der[place] ^= 1 << bit;
        prop_assert!(verifier.verify(&der.into(), &[], time, usage()).is_err());
    }
}
