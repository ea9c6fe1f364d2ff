//! RequestAuthentications (Istio's `TestValidateRequestAuthentication`).

use super::*;

#[test]
fn request_authentications() {
    let rule = |rule: Value| of(json!({ "jwtRules": [rule] }));
    let with = |more: Value| {
        let mut whole = json!({"issuer": "https://foo.com", "jwksUri": "https://foo.com/keys"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule(whole)
    };
    let uri = |uri: &str| with(json!({ "jwksUri": uri }));
    let at = "spec.jwtRules[0].";
    let refused = |path: &str| Refused(Box::leak(format!("{at}{path}").into_boxed_str()));
    let warned = |path: &str| Warned(Box::leak(format!("{at}{path}").into_boxed_str()));
    let keys = r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#;
    check(
        Kind::RequestAuthentication,
        vec![
            ("empty spec", of(json!({})), Accepted),
            ("default name with non empty selector", of(json!({"selector": {"matchLabels": {"app": "a"}}})), Accepted),
            ("empty jwt rule", rule(json!({})), refused("issuer: is missing")),
            ("empty issuer", with(json!({"issuer": ""})), Accepted),
            ("empty issuer with inline keys", rule(json!({"jwks": keys})), refused("issuer: is missing")),
            ("bad JwksUri - no protocol", uri("foo.com"), refused("jwksUri: ")),
            ("bad JwksUri - invalid protocol", uri("xyz://foo"), refused("jwksUri: ")),
            ("bad JwksUri - no host", uri("http:///keys"), refused("jwksUri: ")),
            ("bad JwksUri - bad port", uri("http://foo.com:a/keys"), refused("jwksUri: ")),
            ("bad JwksUri - somebody's name", uri("http://user@foo.com/keys"), refused("jwksUri: ")),
            ("JwksUri with port", uri("http://foo.com:8080/keys?a=b"), Accepted),
            ("JwksUri of IPv6", uri("http://[fd00::1]:8080/keys"), Accepted),
            ("IST0175", uri("http://169.254.169.254/keys"), warned("jwksUri: is an address")),
            ("IST0175", uri("http://[::1]/keys"), warned("jwksUri: is an address")),
            ("IST0175", uri("http://localhost:15000/"), warned("jwksUri: is an address")),
            ("a name of Protobuf's", rule(json!({"issuer": "a", "jwks_uri": "https://foo.com"})), Accepted),
            ("the name twice", with(json!({"jwks_uri": "https://foo.com"})), refused("jwks_uri: ")),
            ("jwks", rule(json!({"issuer": "foo.com", "jwks": keys})), Accepted),
            ("jwks beside jwksUri", with(json!({"jwks": keys})), refused("jwksUri: stands beside")),
            ("bad jwks", rule(json!({"issuer": "foo.com", "jwks": "foo"})), refused("jwks: is no set")),
            ("jwks without keys", rule(json!({"issuer": "foo.com", "jwks": "{}"})), refused("jwks: is no set")),
            ("discovery", rule(json!({"issuer": "https://foo.com"})), Accepted),
            ("issuer without a place of its keys", rule(json!({"issuer": "foo@bar"})), warned("issuer: is no URL")),
            ("empty audience", with(json!({"audiences": ["foo", ""]})), refused("audiences[1]: ")),
            ("empty location", with(json!({"fromHeaders": [{"name": ""}]})), refused("fromHeaders[0].name: ")),
            ("prefix", with(json!({"fromHeaders": [{"name": "x-foo", "prefix": "Bearer "}]})), Accepted),
            ("empty param", with(json!({"fromParams": [""]})), refused("fromParams[0]: ")),
            ("empty cookie", with(json!({"fromCookies": ["foo", ""]})), refused("fromCookies[1]: ")),
            ("output header", with(json!({"outputPayloadToHeader": "x y"})), refused("outputPayloadToHeader: ")),
            (
                "bad claim to header",
                with(json!({"outputClaimToHeaders": [{"header": "", "claim": "sub"}]})),
                refused("outputClaimToHeaders[0].header: "),
            ),
            (
                "empty claim to header",
                with(json!({"outputClaimToHeaders": [{"header": "x-sub", "claim": ""}]})),
                refused("outputClaimToHeaders[0].claim: "),
            ),
            ("timeout", with(json!({"timeout": "500ms"})), Accepted),
            ("timeout", with(json!({"timeout": "1us"})), refused("timeout: ")),
            (
                "empty space delimited claim",
                with(json!({"spaceDelimitedClaims": [""]})),
                refused("spaceDelimitedClaims[0]: "),
            ),
            ("no such field", with(json!({"jwksURI": "a"})), refused("jwksURI: is no field")),
            (
                "target and selector",
                of(
                    json!({"selector": {"matchLabels": {"app": "a"}}, "targetRefs": [{"kind": "Service", "name": "a"}]}),
                ),
                Refused("spec.selector: "),
            ),
        ],
    );
}

#[test]
fn what_a_rule_says_and_what_it_says_by_saying_nothing() {
    use ambit_model::policy::token::{KeySource, Location};
    let spec = json!({"jwtRules": [
        {"issuer": "https://a", "forwardOriginalToken": true, "timeout": "1s", "spaceDelimitedClaims": ["roles"],
         "fromHeaders": [{"name": "X-Token", "prefix": "t "}], "fromParams": ["p"], "fromCookies": ["c"],
         "outputPayloadToHeader": "X-P", "outputClaimToHeaders": [{"header": "X-S", "claim": "a.b"}]},
        {"issuer": "b", "jwksUri": "https://b/keys", "audiences": ["x"]},
    ]});
    let Resource::RequestAuthentication(read) = read(Kind::RequestAuthentication, of(spec)).unwrap().resource else {
        panic!("another kind")
    };
    let [first, second] = &read.rules[..] else { panic!("{:?}", read.rules) };
    assert_eq!(first.keys, KeySource::Discovered("https://a".into()));
    let field = |name: &str, prefix: &str| Location::Field(name.into(), prefix.into());
    let all = [field("x-token", "t "), Location::Parameter("p".into()), Location::Cookie("c".into())];
    assert_eq!(first.locations, all);
    assert!(first.forwards && first.timeout.as_secs() == 1 && first.space_delimited.len() == 3);
    assert_eq!(
        (first.payload_field.as_deref(), &*first.claim_fields),
        (Some("x-p"), &[("x-s".into(), "a.b".into())][..])
    );
    assert_eq!(second.keys, KeySource::At("https://b/keys".into()));
    assert_eq!(second.locations, [field("authorization", "Bearer "), Location::Parameter("access_token".into())]);
    assert!(!second.forwards && second.timeout.as_secs() == 5 && second.payload_field.is_none());
    assert_eq!(second.audiences, ["x".into()]);
}
