//! What the fuzz targets of policies and rules do, on some thousand random and nearly right inputs in every run of the tests.

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
#[path = "../../../fuzz/src/requests.rs"]
mod requests;
#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzz targets")]
#[path = "../../../fuzz/src/translation.rs"]
mod targets;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const VALID: [&str; 4] = [
    r#"{"metadata":{"name":"p","namespace":"shop","annotations":{"istio.io/dry-run":"true"}},"spec":{"action":"DENY",
    "selector":{"matchLabels":{"app":"db"}},"rules":[{"from":[{"source":{"principals":["*/sa/web"],"notNamespaces":["a*"],
    "ipBlocks":["10.0.0.0/8","fd00::/64"]}},{"source":{"serviceAccounts":["shop/web","web"]}}],
    "to":[{"operation":{"ports":["80","443"],"notPorts":["81"],"methods":["GET"]}}],
    "when":[{"key":"source.labels[app]","values":["web"],"notValues":["x"]},{"key":"destination.port","values":["80"]}]}]}}"#,
    r#"{"metadata":{"name":"p","namespace":"istio-system","creationTimestamp":"2024-01-01T00:00:00Z"},"spec":{
    "selector":{"matchLabels":{"app":"db"}},"mtls":{"mode":"STRICT"},"portLevelMtls":{"80":{"mode":"PERMISSIVE"}}}}"#,
    r#"{"metadata":{"name":"p"},"spec":{"targetRefs":[{"kind":"Service","name":"web"}],"rules":[{}]}}"#,
    r#"{"metadata":{"name":"p"},"spec":{"targetRefs":[{"kind":"Service","name":"web"}],"jwtRules":[{"issuer":"https://a",
    "jwksUri":"https://a.example:8443/keys","audiences":["web"],"fromHeaders":[{"name":"x-token","prefix":"t "}],
    "fromCookies":["t"],"outputClaimToHeaders":[{"header":"x-sub","claim":"a.b"}],"timeout":"1s"},
    {"issuer":"b","jwks":"{\"keys\":[]}"}]}}"#,
];

const RULES: [&str; 5] = [
    include_str!("../../../fuzz/seeds/rules/virtual_service.json"),
    include_str!("../../../fuzz/seeds/rules/delegate.json"),
    include_str!("../../../fuzz/seeds/rules/destination_rule.json"),
    include_str!("../../../fuzz/seeds/rules/http_route.json"),
    include_str!("../../../fuzz/seeds/rules/gateway.json"),
];

/// What stands in policies, and what should not.
const WORDS: &[&[u8]] = &[
    b"*",
    b"**",
    b"\"",
    b"[]",
    b"{}",
    b"null",
    b"\"notIpBlocks\":[\"::/0\"],",
    b"\"\"",
    b"0",
    b"65536",
    b"/129",
    b"-1",
    b"spiffe://",
    b"\"not\":[\"x\"],",
    b"\xc3\xa9",
    b"\"notPorts\":[],",
    b"source.labels[",
    b"]",
    b"UNSET",
    b"AUDIT",
];

/// What stands in rules for traffic, and what should not.
const OF_RULES: &[&[u8]] = &[
    b"*",
    b"*.",
    b"\"",
    b"[]",
    b"{}",
    b"null",
    b"0",
    b"-1",
    b"65536",
    b"4294967296",
    b"1e308",
    b"99999999999999h",
    b"0.0000001s",
    b"(",
    b"(?i)",
    b"{1000}",
    b"\\\\9",
    b"\\u0000",
    b"%",
    b"\xc3\xa9",
];

/// Heads of requests: method, authority and path, and fields.
const HEADS: [&str; 4] = [
    "GET reviews:9080 /a/b?q=1\ncookie:a=b; f=on\nh:v",
    "POST evil.example /x/1/y/2/3\nh:xv\norigin:http://a",
    "OPTIONS r /r/../admin",
    "GET a /%61dmin//x;y\\z",
];

/// What stands in paths and fields, and what should not.
const OF_HEADS: &[&[u8]] = &[
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"\\",
    b"%2f",
    b"%5C",
    b"%2e",
    b"%00",
    b"%",
    b"?",
    b"#",
    b";",
    b"xxxxxxxx",
    b"\xff",
    b"\n",
];

/// A few small changes, each by some of what the reader may look for.
fn edits(words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<mutate::Edit>> {
    let by = prop_oneof![select(words).prop_map(<[u8]>::to_vec), vec(any::<u8>(), 0..6)];
    vec((any::<u16>(), 0..12_u8, by), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn policies_and_rules_withstand_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        targets::policy(&bytes);
        targets::rule(&bytes);
    }

    #[test]
    fn routes_and_policies_withstand_any_request(bytes in vec(any::<u8>(), 0..200)) {
        requests::head(&bytes);
    }

    #[test]
    fn routes_and_policies_withstand_nearly_right_requests(valid in select(&HEADS[..]), edits in edits(OF_HEADS)) {
        requests::head(&mutate::mutated(valid.as_bytes(), &edits));
    }

    #[test]
    fn policies_withstand_nearly_right_text(valid in select(&VALID[..]), edits in edits(WORDS)) {
        targets::policy(&mutate::mutated(valid.as_bytes(), &edits));
    }

    #[test]
    fn rules_withstand_nearly_right_text(valid in select(&RULES[..]), edits in edits(OF_RULES)) {
        targets::rule(&mutate::mutated(valid.as_bytes(), &edits));
    }
}

#[test]
fn what_is_right_is_taken() {
    for valid in VALID {
        assert!(targets::policy(valid.as_bytes()), "{valid}");
    }
    for valid in RULES {
        assert!(targets::rule(valid.as_bytes()), "{valid}");
    }
    assert_eq!(HEADS.map(|head| requests::head(head.as_bytes())), [true, false, true, true]);
    assert!(!targets::rule(br#"{"metadata":{"name":"p"},"spec":{"host":"**"}}"#));
    assert!(!targets::policy(br#"{"metadata":{"name":"p"},"spec":{"rule":[]}}"#));
}
