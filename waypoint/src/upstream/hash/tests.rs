//! What is hashed, and what a client without a cookie is given.

use std::collections::BTreeSet;
use std::time::Duration;

use ambit_model::route::{Arrival, Client, Gateway};

use super::*;

fn of(key: &HashKey, path: &str, fields: &[(&str, &str)], source: Option<&str>) -> Option<u64> {
    let gateway = Gateway::Mesh;
    let request = Request {
        arrival: Arrival { gateway: &gateway, port: 80, client: Client::default() },
        method: "GET",
        scheme: "http",
        authority: "shop",
        path,
        claims: None,
        fields,
    };
    key_hash(key, &request, source.map(|address| address.parse().unwrap()))
}

fn cookie(ttl: Option<u64>) -> Cookie {
    Cookie { name: "user".into(), path: None, ttl: ttl.map(Duration::from_secs), attributes: Vec::new() }
}

#[test]
fn the_same_key_has_the_same_hash_and_no_key_has_none() {
    let header = HashKey::Header("x-user".into());
    assert_eq!(of(&header, "/", &[("X-User", "ann")], None), Some(hash(b"ann")));
    assert_eq!(of(&header, "/", &[("x-user", "")], None), Some(hash(b"")));
    assert_eq!(of(&header, "/", &[("x-users", "ann")], None), None);
    let parameter = HashKey::Parameter("user".into());
    assert_eq!(of(&parameter, "/?a=b&user=ann#user=bob", &[], None), Some(hash(b"ann")));
    assert_eq!(of(&parameter, "/?users=ann", &[], None), None);
    let source = |address| of(&HashKey::SourceIp, "/", &[], address);
    assert_eq!(source(Some("10.0.0.1")), source(Some("::ffff:10.0.0.1")));
    assert_ne!(source(Some("10.0.0.1")), source(Some("10.0.0.2")));
    assert_eq!(source(None), None);
}

#[test]
fn a_cookie_is_found_among_others_with_and_without_quotes() {
    let key = HashKey::Cookie(cookie(Some(0)));
    for (sent, expected) in [
        (&["user=ann"][..], Some("ann")),
        (&["a=b; user=ann; c=d"], Some("ann")),
        (&["a=b;user=\"ann\""], Some("ann")),
        (&["a=b", "user=ann"], Some("ann")),
        (&["user=a=b"], Some("a=b")),
        (&["users=ann; superuser=ann"], None),
        (&["user"], None),
        (&["user="], None),
        (&[], None),
    ] {
        let fields: Vec<_> = sent.iter().map(|crumb| ("cookie", *crumb)).collect();
        assert_eq!(of(&key, "/", &fields, None), expected.map(|value| hash(value.as_bytes())), "{sent:?}");
    }
    // Where none is given, an empty one is one.
    assert_eq!(of(&HashKey::Cookie(cookie(None)), "/", &[("cookie", "user=")], None), Some(hash(b"")));
}

#[test]
fn a_cookie_that_is_given_leads_back_to_the_same_endpoint() {
    let whole = Cookie {
        path: Some("/shop".into()),
        attributes: vec![("SameSite".into(), Some("Strict".into())), ("Secure".into(), None)],
        ..cookie(Some(90))
    };
    for (cookie, expected) in [
        (cookie(Some(0)), "user=\"00000000000000ff\"; HttpOnly"),
        (whole, "user=\"00000000000000ff\"; Max-Age=90; Path=/shop; SameSite=Strict; Secure; HttpOnly"),
    ] {
        let key = HashKey::Cookie(cookie);
        let given = given_cookie(&key, 255).unwrap();
        assert_eq!(given.set_cookie, expected);
        let sent_back = given.set_cookie.split(';').next().unwrap();
        assert_eq!(of(&key, "/", &[("cookie", sent_back)], None), Some(given.hash));
    }
    assert_eq!(given_cookie(&HashKey::Cookie(cookie(None)), 255), None);
    assert_eq!(given_cookie(&HashKey::SourceIp, 255), None);
}

#[test]
fn hashes_are_the_same_in_every_version() {
    // Another version that hashed otherwise would have every session move while replicas of both run.
    assert_eq!([hash(b""), hash(b"ann")], [0xc381_7c01_6ba4_ff30, 0xb409_0a0b_a3f8_393c]);
    let hashes: BTreeSet<u64> = (0..10_000_u32).map(|number| hash(number.to_string().as_bytes())).collect();
    assert_eq!(hashes.len(), 10_000);
}
