//! Answers of the API and what is made of them.

use serde_json::json;

use super::*;

const AUDIENCE: &str = "istio-ca";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000)
}

/// A token that says `claims` of itself.
fn token(claims: &Value) -> String {
    format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn bound(audience: &str, expires: u64) -> String {
    let pod = json!({"namespace": "shop", "pod": {"name": "web", "uid": "u"}});
    token(&json!({"aud": [audience], "exp": expires, "kubernetes.io": pod}))
}

fn good() -> Value {
    json!({
        "authenticated": true,
        "audiences": [AUDIENCE],
        "user": {
            "username": "system:serviceaccount:shop:web",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["web"],
                "authentication.kubernetes.io/pod-uid": ["u"],
            },
        },
    })
}

fn refusal(status: &Value, token: &str) -> Refusal {
    read(status, token, AUDIENCE, now()).unwrap_err()
}

#[test]
fn a_token_is_its_accounts_and_its_pods() {
    let account: Account = "shop/web".parse().unwrap();
    let pod = Some(Bound { name: "web".to_owned(), uid: "u".to_owned() });
    let read_of = |status: &Value| read(status, "t", AUDIENCE, now());
    assert_eq!(read_of(&good()), Ok(Bearer { account: account.clone(), pod }));
    let mut unbound = good();
    unbound["user"]["extra"] = json!({});
    assert_eq!(read_of(&unbound), Ok(Bearer { account, pod: None }));
}

#[test]
fn who_did_not_look_at_the_audience_has_not_accepted_the_token() {
    for audiences in [json!(null), json!([]), json!(["https://kubernetes.default.svc"])] {
        let mut status = good();
        status["audiences"] = audiences;
        let found = vec!["other".to_owned()];
        let expected = Refusal::WrongAudience { expected: AUDIENCE.to_owned(), found };
        assert_eq!(refusal(&status, &bound("other", 2_000_000)), expected);
    }
}

#[test]
fn only_service_accounts_are_told() {
    for user in ["system:node:a", "admin", "system:serviceaccount:shop", "system:serviceaccount:a:b:c"] {
        let mut status = good();
        status["user"]["username"] = json!(user);
        let said = refusal(&status, "t").to_string();
        assert!(said.contains(user) && said.contains("no service account"), "{said}");
    }
}

#[test]
fn each_refusal_has_a_code_of_its_own_and_says_what_to_do() {
    let refused = |error: &str| json!({"authenticated": false, "error": error});
    let invalidated = refused("[invalid bearer token, Token has been invalidated]");
    let unknown = refused("invalid bearer token");
    let cases = [
        (&unknown, "garbage".to_owned(), "unauthenticated", "give the pod a projected one"),
        (&unknown, "a.!!.c".to_owned(), "unauthenticated", "give the pod a projected one"),
        (&unknown, bound("other", 2_000_000), "wrong-audience", "with audience: istio-ca"),
        (&unknown, bound(AUDIENCE, 999_999), "token-expired", "which the kubelet replaces in time"),
        (&invalidated, bound(AUDIENCE, 2_000_000), "pod-gone", "the pod shop/web"),
        (&unknown, bound(AUDIENCE, 2_000_000), "unauthenticated", "is it a token of this cluster?"),
    ];
    for (status, token, code, said) in cases {
        let refusal = refusal(status, &token);
        assert_eq!(refusal.code(), code);
        assert!(refusal.to_string().contains(said), "{refusal}");
        assert!(!refusal.to_string().contains(&token), "a token is shown");
    }
}

#[test]
fn an_account_is_written_with_its_namespace() {
    let account: Account = "istio-system/ztunnel".parse().unwrap();
    assert_eq!((account.namespace.as_str(), account.to_string()), ("istio-system", "istio-system/ztunnel".to_owned()));
    for text in ["", "ztunnel", "/ztunnel", "istio-system/", "a/b/c"] {
        assert!(text.parse::<Account>().unwrap_err().contains("NAMESPACE/NAME"), "{text}");
    }
}
