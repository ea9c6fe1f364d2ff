//! Queries as resolvers send them, and as nobody should.

use super::*;

/// A query with this ID for `name` of the type `kind`, with EDNS of this size.
fn query(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.split('.') {
        message.push(label.len().try_into().unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    if let Some(size) = edns {
        message.extend([0, 0, 41]);
        message.extend(size.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}

fn addresses(count: u8) -> Vec<IpAddr> {
    (0..count).map(|last| IpAddr::from([10, 0, 0, last])).collect()
}

#[test]
fn a_question_is_read_and_answered() {
    let asked = query("Reviews.Shop.svc", A, None);
    let query = Query::read(&asked).unwrap();
    assert_eq!((query.name.as_str(), query.family(), query.kind()), ("reviews.shop.svc", Some(Family::V4), "a"));
    let both = ["10.96.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    let answer = query.answer(&both, 512);
    assert_eq!(answer[..12], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(answer[12..asked.len()], asked[12..], "the question, in its own case");
    assert_eq!(answer[asked.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 96, 0, 7]);
    assert!(answers(&answer, &asked) && !answers(&asked, &asked) && !answers(&answer[..11], &asked));
}

#[test]
fn the_other_family_is_answered_with_nothing() {
    let asked = query("reviews", AAAA, Some(1232));
    let query = Query::read(&asked).unwrap();
    let answer = query.answer(&addresses(1), 512);
    assert_eq!(answer[2..12], [0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(answer[answer.len() - 11..], [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0], "EDNS is answered with EDNS");
    assert_eq!(query.datagram_limit(), 1232);
}

#[test]
fn what_does_not_fit_is_left_out_and_said_to_be() {
    for (edns, fit) in [(None, 30), (Some(1232), 75), (Some(u16::MAX), 200)] {
        let asked = query("a.b", A, edns);
        let query = Query::read(&asked).unwrap();
        let answer = query.answer(&addresses(200), query.datagram_limit());
        assert!(answer.len() <= query.datagram_limit());
        assert_eq!((answer[2] & 2 != 0, answer[7]), (fit < 200, fit), "{edns:?}");
        assert_eq!(query.answer(&addresses(200), usize::MAX)[7], 200, "{edns:?}");
    }
}

#[test]
fn what_is_no_single_question_is_not_answered() {
    let good = query("a.b", A, Some(512));
    assert!(Query::read(&good).is_some());
    for end in 0..good.len() {
        assert_eq!(Query::read(&good[..end]), None, "cut at {end}");
    }
    // Response, other opcode, two questions, an answer, two additional records, a pointer, a reserved label type, a dot
    // within a label, no OPT, EDNS 1.
    for (at, value) in
        [(2, 0x81), (2, 0x29), (5, 2), (7, 1), (11, 2), (12, 0xc0), (12, 0x40), (13, b'.'), (23, 1), (27, 1)]
    {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Query::read(&bad), None, "{at} = {value}");
    }
    let long = query(&["a"; 128].join("."), A, None);
    assert_eq!(Query::read(&long), None);
}

#[test]
fn a_failure_repeats_what_it_understood() {
    let asked = query("a.b", 99, None);
    let failed = failure(&asked).unwrap();
    assert_eq!(failed[..12], [0xab, 0xcd, 0x81, 0x02, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(failed[12..], asked[12..]);
    assert_eq!(failure(&asked[..12]).unwrap()[4..], [0; 8]);
    assert_eq!(failure(&asked[..11]), None);
    assert_eq!(failure(&failed), None, "never an answer to an answer");
}

#[test]
fn no_bytes_bring_it_down() {
    use rand::{Rng as _, SeedableRng as _};
    let mut draw = rand::rngs::SmallRng::seed_from_u64(53);
    let good = query("details.shop.svc.cluster.local", AAAA, Some(4096));
    for _ in 0..200_000 {
        let mut bytes = good.clone();
        bytes.truncate(draw.random_range(0..=good.len()));
        for _ in 0..draw.random_range(0..6) {
            if let Some(byte) = bytes.len().checked_sub(1).map(|last| draw.random_range(0..=last)) {
                bytes[byte] = draw.random();
            }
        }
        if let Some(query) = Query::read(&bytes) {
            let answer = query.answer(&addresses(3), query.datagram_limit());
            assert!(answer.len() <= query.datagram_limit() && answers(&answer, &bytes));
        }
        assert!(failure(&bytes).is_none_or(|failed| answers(&failed, &bytes)));
    }
}
