//! Every message whole, cut at every byte, and damaged at every byte.

use super::*;

const METHODS: [&[u8]; 3] = [&[5, 1, 0], &[5, 3, 2, 1, 0], &[5, 2, 0, 0xff]];

fn requests() -> Vec<(Vec<u8>, &'static str)> {
    let v6 = "fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mapped = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let named = |name: &str| [&[5, 1, 0, 3, name.len() as u8], name.as_bytes(), &[0x1f, 0x90]].concat();
    let long = format!("{}.{}", "a".repeat(63), "b".repeat(63));
    vec![
        (vec![5, 1, 0, 1, 10, 0, 0, 1, 0, 80], "10.0.0.1:80"),
        ([&[5, 1, 0, 4], &v6[..], &[0, 80]].concat(), "[fd00::1]:80"),
        ([&[5, 1, 0, 4], &mapped[..], &[0, 80]].concat(), "10.0.0.1:80"),
        (named("Reviews.Shop.svc.cluster.local."), "reviews.shop.svc.cluster.local:8080"),
        (named("a"), "a:8080"),
        (named(&long), Box::leak(format!("{long}:8080").into_boxed_str())),
        (named("10.0.0.1"), "10.0.0.1:8080"),
        (named("fd00::1"), "[fd00::1]:8080"),
    ]
}

/// `parse` asks for the rest of every prefix of `message`, and never for more.
fn grows<T: std::fmt::Debug>(message: &[u8], parse: impl Fn(&[u8]) -> Result<Read<T>, Error>) {
    for length in 0..message.len() {
        match parse(&message[..length]).unwrap() {
            Read::Lacks(more) => {
                assert!((1..=message.len() - length).contains(&more), "{length} of {message:?}: {more}")
            }
            Read::Whole(value) => panic!("{length} of {message:?} is {value:?}"),
        }
    }
}

#[test]
fn messages_are_read_from_every_prefix_on() {
    for message in METHODS {
        grows(message, methods);
        assert_eq!(methods(message).unwrap(), Read::Whole(()));
    }
    for (message, expected) in requests() {
        grows(&message, request);
        assert_eq!(request(&message).unwrap(), Read::Whole(expected.parse().unwrap()));
    }
}

#[test]
fn what_is_not_served_is_known_as_soon_as_it_is_said() {
    let told = |error: &Error| (Reply::from(error), error.to_string());
    assert!(matches!(methods(&[5, 0]), Err(Error::Methods)));
    assert!(matches!(methods(&[5, 2, 1, 2]), Err(Error::Methods)));
    assert!(matches!(methods(b"GET / HTTP/1.1"), Err(Error::Version(b'G'))));
    assert!(matches!(request(&[4]), Err(Error::Version(4))));
    for command in [0, 2, 3, 255] {
        let error = request(&[5, command, 0, 1]).unwrap_err();
        assert_eq!(told(&error), (Reply::CommandNotSupported, format!("command {command}, not CONNECT")));
    }
    for kind in [0, 2, 5, 255] {
        let error = request(&[5, 1, 0, kind]).unwrap_err();
        assert_eq!(told(&error), (Reply::AddressTypeNotSupported, format!("address type {kind}")));
    }
    let no_destination: [&[u8]; 6] = [
        &[5, 1, 0, 1, 10, 0, 0, 1, 0, 0],
        &[5, 1, 0, 3, 0, 0, 80],
        &[5, 1, 0, 3, 1, 0xff, 0, 80],
        &[5, 1, 0, 3, 1, b' ', 0, 80],
        &[5, 1, 0, 3, 3, b'a', b':', b'1', 0, 80],
        &[5, 1, 0, 3, 3, b'a', b'.', b'.', 0, 80],
    ];
    for message in no_destination {
        assert!(matches!(request(message), Err(Error::Destination)), "{message:?}");
    }
}

#[test]
fn no_damage_makes_a_message_longer_than_its_protocol_has_them() {
    for (message, _) in requests() {
        for place in 0..message.len() {
            for damage in [0x01, 0x80, 0xff] {
                let mut message = message.clone();
                message[place] ^= damage;
                if let Ok(Read::Lacks(more)) = request(&message) {
                    assert!(message.len() + more <= 4 + 1 + 255 + 2, "{message:?}");
                }
            }
        }
    }
}

#[test]
fn no_bytes_bring_it_down() {
    use rand::{Rng as _, SeedableRng as _};
    let mut draw = rand::rngs::SmallRng::seed_from_u64(1928);
    let requests = requests();
    for _ in 0..200_000 {
        let (message, _) = &requests[draw.random_range(0..requests.len())];
        let mut bytes = message[..draw.random_range(0..=message.len())].to_vec();
        bytes.extend((0..draw.random_range(0..4)).map(|_| draw.random::<u8>()));
        for _ in 0..draw.random_range(0..6) {
            if let Some(byte) = bytes.len().checked_sub(1).map(|last| draw.random_range(0..=last)) {
                bytes[byte] = draw.random();
            }
        }
        for lacking in [request(&bytes).map(lacking), methods(&bytes).map(lacking)].into_iter().flatten() {
            assert!(lacking.is_none_or(|more| more > 0), "nothing more would come of {bytes:?}");
        }
        if let Ok(Read::Whole(destination)) = request(&bytes) {
            assert_eq!(destination.to_string().parse(), Ok(destination), "{bytes:?}");
        }
    }
}

/// How many bytes are lacking at least; none if it is whole.
fn lacking<T>(read: Read<T>) -> Option<usize> {
    match read {
        Read::Lacks(more) => Some(more),
        Read::Whole(_) => None,
    }
}

#[test]
fn every_reason_has_a_reply_and_none_is_success() {
    for reason in Reason::ALL {
        assert_ne!(Reply::from(*reason), Reply::Succeeded, "{}", reason.code());
    }
    let said = |reason: Reason| Reply::from(reason).message()[1];
    assert_eq!(said(Reason::NoPolicyMatched), 2);
    assert_eq!(said(Reason::NoRoute), 3);
    assert_eq!(said(Reason::UnknownHost), 4);
    assert_eq!(said(Reason::ConnectionRefused), 5);
    assert_eq!(Reply::Succeeded.message(), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}
