//! Queries as resolvers send them, and as nobody should.

use super::*;

const A_TYPE: u16 = 1;
const AAAA_TYPE: u16 = 28;
const MOST: u16 = u16::MAX;

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

fn addresses(count: u8) -> Content {
    Content::known(Vec::new(), (0..count).map(|last| IpAddr::from([10, 0, 0, last])).collect())
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

#[test]
fn a_question_is_read_and_answered() {
    let asked = query("Reviews.Shop.svc", A_TYPE, None);
    let query = Query::read(&asked).unwrap();
    assert_eq!((query.name.as_str(), query.family(), query.kind()), ("reviews.shop.svc", Some(Family::V4), "a"));
    let both = ["10.96.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    let answer = query.answer(&Content::known(Vec::new(), both.into()), 512).unwrap();
    assert_eq!(answer[..12], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(answer[12..asked.len()], asked[12..], "the question, in its own case");
    assert_eq!(answer[asked.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 96, 0, 7]);
    assert!(answers(&answer, &asked) && !answers(&asked, &asked) && !answers(&answer[..11], &asked));
}

#[test]
fn the_other_family_is_answered_with_nothing() {
    let asked = query("reviews", AAAA_TYPE, Some(1232));
    let query = Query::read(&asked).unwrap();
    let answer = query.answer(&addresses(1), 512).unwrap();
    assert_eq!(answer[2..12], [0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(answer[answer.len() - 11..], [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0], "EDNS is answered with EDNS");
    assert_eq!(query.datagram_limit(), 1232);
}

#[test]
fn what_does_not_fit_is_left_out_and_said_to_be() {
    for (edns, fit) in [(None, 30), (Some(1232), 75), (Some(u16::MAX), 200)] {
        let asked = query("a.b", A_TYPE, edns);
        let query = Query::read(&asked).unwrap();
        let answer = query.answer(&addresses(200), query.datagram_limit()).unwrap();
        assert!(answer.len() <= query.datagram_limit().into());
        assert_eq!(answer[11], u8::from(edns.is_some()), "there is room for EDNS");
        assert_eq!((answer[2] & 2 != 0, answer[7]), (fit < 200, fit), "{edns:?}");
        assert_eq!(query.answer(&addresses(200), MOST).unwrap()[7], 200, "{edns:?}");
    }
}

#[test]
fn an_alias_is_answered_with_its_target_and_that_ones_addresses() {
    let asked = query("Mail.shop", A_TYPE, None);
    let query = Query::read(&asked).unwrap();
    let known = Content::known(names(&["post.shop", "smtp.example"]), vec![[10, 0, 0, 1].into(), [0; 16].into()]);
    let answer = Message::from_vec(&query.answer(&known, 512).unwrap()).unwrap();
    let records: Vec<String> = answer.answers.iter().map(ToString::to_string).collect();
    let expected =
        ["Mail.shop. 30 IN CNAME post.shop.", "post.shop. 30 IN CNAME smtp.example.", "smtp.example. 30 IN A 10.0.0.1"];
    assert_eq!(records, expected);
    assert!(query.answer(&Content::known(names(&["a..b"]), Vec::new()), 512).is_none(), "no name");
}

#[test]
fn what_a_server_says_of_a_target_is_said_of_the_alias() {
    let asked = query("mail.shop", AAAA_TYPE, Some(1232));
    let query = Query::read(&asked).unwrap();
    let (targets, question) = (names(&["smtp.example"]), query.about("smtp.example").unwrap());
    assert_eq!(question[..12], [0xab, 0xcd, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let server = Query::read(&question).unwrap();
    assert_eq!((server.name.as_str(), server.family()), ("smtp.example", Some(Family::V6)));

    // The server, too, has an alias of the target, and an address that may be kept for less.
    let address = "2001:db8::7".parse().unwrap();
    let content = Content { ttl: 7, ..Content::known(names(&["mx.provider"]), vec![address]) };
    let said = server.answer(&content, 512).unwrap();
    let answer = query.answer(&Content::learned(targets.clone(), &said).unwrap(), 512).unwrap();
    assert!(answers(&answer, &asked));
    let answer = Message::from_vec(&answer).unwrap();
    let records: Vec<String> = answer.answers.iter().map(ToString::to_string).collect();
    assert_eq!(records, ["mail.shop. 30 IN CNAME smtp.example.", "smtp.example. 7 IN AAAA 2001:db8::7"]);

    let none = Content { code: ResponseCode::NXDomain, truncated: true, ..Content::known(Vec::new(), Vec::new()) };
    let said = server.answer(&none, 512).unwrap();
    let answer = query.answer(&Content::learned(targets, &said).unwrap(), 512).unwrap();
    assert_eq!((answer[2..4].to_vec(), answer[7]), (vec![0x87, 0x83], 1), "truncated, no such name, and the alias");
    assert_eq!(Content::learned(names(&["other.example"]), &said), None, "an answer to something else");
}

#[test]
fn what_is_no_single_question_is_not_answered() {
    let good = query("a.b", A_TYPE, Some(512));
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
    let long = query(&["a"; 128].join("."), A_TYPE, None);
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
    let good = query("details.shop.svc.cluster.local", AAAA_TYPE, Some(4096));
    for _ in 0..200_000 {
        let mut bytes = good.clone();
        bytes.truncate(draw.random_range(0..=good.len()));
        for _ in 0..draw.random_range(0..6) {
            if let Some(byte) = bytes.len().checked_sub(1).map(|last| draw.random_range(0..=last)) {
                bytes[byte] = draw.random();
            }
        }
        if let Some(query) = Query::read(&bytes) {
            let answer = query.answer(&addresses(3), query.datagram_limit()).unwrap();
            assert!(answer.len() <= query.datagram_limit().into() && answers(&answer, &bytes));
        }
        // As an answer, too.
        bytes.iter_mut().skip(2).take(1).for_each(|flags| *flags |= 0x80);
        Content::learned(names(&["details.shop.svc.cluster.local"]), &bytes);
        bytes.iter_mut().skip(2).take(1).for_each(|flags| *flags &= 0x7f);
        assert!(failure(&bytes).is_none_or(|failed| answers(&failed, &bytes)));
    }
}
