//! Tokens of every algorithm, and everything that can be wrong with one.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair,
};
use serde_json::json;

use super::*;

/// The two halves of an issuer's key.
enum Pair {
    Rsa(RsaKeyPair),
    Ec(&'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Pair {
    fn new(algorithm: Algorithm) -> Self {
        let ec = |curve, signing| Self::Ec(curve, EcdsaKeyPair::generate(signing).unwrap());
        match algorithm {
            Algorithm::Es256 => ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ec("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::EdDsa => Self::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        }
    }

    fn public(&self, more: Value) -> Value {
        let mut key = match self {
            Self::Rsa(pair) => {
                // SubjectPublicKey is SEQUENCE { INTEGER, INTEGER } (RFC 8017 appendix A.1.1): 2048 bits, and 65537.
                let der = pair.public_key().as_ref();
                let modulus = &der[der.len() - 5 - 256..der.len() - 5];
                json!({"kty": "RSA", "n": encoded(modulus), "e": "AQAB"})
            }
            Self::Ec(curve, pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y)})
            }
            Self::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key())}),
        };
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn sign(&self, algorithm: Algorithm, signed: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding = match algorithm {
                    Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    Algorithm::Ps384 => &RSA_PSS_SHA384,
                    Algorithm::Ps512 => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(_, pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        }
    }

    fn token(&self, algorithm: Algorithm, header: Value, payload: &Value) -> String {
        let mut whole = json!({"alg": algorithm.name()});
        whole.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let signed = format!("{}.{}", encoded(whole.to_string()), encoded(payload.to_string()));
        let signature = self.sign(algorithm, &signed);
        format!("{signed}.{}", encoded(signature))
    }
}

fn keys(keys: &[Value]) -> Keys {
    Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn verified(token: &str, keys: &Keys) -> Result<(), Fault> {
    Token::parse(token)?.verify(keys)
}

#[test]
fn every_algorithm_is_verified_by_its_own_key_and_by_no_other() {
    for algorithm in Algorithm::ALL {
        let (own, other) = (Pair::new(algorithm), Pair::new(algorithm));
        let token = own.token(algorithm, json!({"kid": "a"}), &json!({"iss": "i", "sub": "s"}));
        let named = |pair: &Pair, kid: &str| pair.public(json!({"kid": kid, "alg": algorithm.name(), "use": "sig"}));
        let of = |all: &[Value]| verified(&token, &keys(all));
        assert_eq!(of(&[named(&other, "b"), named(&own, "a")]), Ok(()), "{algorithm:?}");
        assert_eq!(of(&[named(&other, "a")]), Err(Fault::Signature), "{algorithm:?}");
        assert_eq!(of(&[named(&own, "b")]), Err(Fault::UnknownKey), "{algorithm:?}");
        assert_eq!(of(&[other.public(json!({})), own.public(json!({}))]), Ok(()), "{algorithm:?}: without names");
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(verified(&format!("{signed}."), &keys(&[named(&own, "a")])), Err(Fault::Signature), "{algorithm:?}");
        let changed =
            token.replacen(&encoded(json!({"iss": "i", "sub": "s"}).to_string()), &encoded("{\"sub\":\"x\"}"), 1);
        assert_eq!(verified(&changed, &keys(&[named(&own, "a")])), Err(Fault::Signature), "{algorithm:?}");
    }
}

#[test]
fn a_key_is_for_its_own_algorithm() {
    let pair = Pair::new(Algorithm::Rs256);
    let token = pair.token(Algorithm::Ps256, json!({}), &json!({}));
    assert_eq!(verified(&token, &keys(&[pair.public(json!({"alg": "RS256"}))])), Err(Fault::UnknownKey));
    assert_eq!(verified(&token, &keys(&[pair.public(json!({"alg": "PS256"}))])), Ok(()));
    let curve = Pair::new(Algorithm::Es256);
    assert_eq!(verified(&token, &keys(&[curve.public(json!({}))])), Err(Fault::UnknownKey));
}

#[test]
fn no_algorithm_is_taken_that_anybody_could_sign_by() {
    let pair = Pair::new(Algorithm::Rs256);
    let all = keys(&[pair.public(json!({"kid": "a"}))]);
    for algorithm in ["none", "None", "", "HS256", "HS384", "HS512", "RS1", "ES256K", "rs256", "RSA-OAEP", "dir"] {
        let header = encoded(json!({"alg": algorithm, "kid": "a"}).to_string());
        for signature in [String::new(), encoded("x"), encoded([0; 32])] {
            let token = format!("{header}.{}.{signature}", encoded("{}"));
            assert_eq!(verified(&token, &all), Err(Fault::Algorithm), "{algorithm}");
        }
    }
}

#[test]
fn what_is_no_token_is_told_so() {
    let (header, payload) = (encoded(r#"{"alg":"RS256"}"#), encoded("{}"));
    let with = |header: &str, payload: &str| format!("{}.{}.AA", encoded(header), encoded(payload));
    let says = |payload: &str| with(r#"{"alg":"RS256"}"#, payload);
    for (token, fault) in [
        (String::new(), Fault::Form),
        ("a".to_owned(), Fault::Form),
        ("a.b".to_owned(), Fault::Form),
        ("a.b.c.d".to_owned(), Fault::Form),
        (format!("!.{payload}.AA"), Fault::HeaderEncoding),
        (with("[]", "{}"), Fault::Header),
        (with("{", "{}"), Fault::Header),
        (with("{}", "{}"), Fault::NoAlgorithm),
        (with(r#"{"alg":1}"#, "{}"), Fault::NoAlgorithm),
        (with(r#"{"alg":"RS256","kid":1}"#, "{}"), Fault::KeyName),
        (with(r#"{"alg":"RS256","crit":["b64"]}"#, "{}"), Fault::Critical),
        (format!("{header}.!.AA"), Fault::PayloadEncoding),
        (format!("{header}.{payload}=.AA"), Fault::PayloadEncoding),
        (says("[]"), Fault::Payload),
        (says(r#"{"iss":1}"#), Fault::IssuerForm),
        (says(r#"{"exp":"1"}"#), Fault::ExpiryForm),
        (says(r#"{"exp":-1}"#), Fault::ExpiryForm),
        (says(r#"{"nbf":1e300}"#), Fault::NotBeforeForm),
        (says(r#"{"aud":{}}"#), Fault::AudienceForm),
        (says(r#"{"aud":["a",1]}"#), Fault::AudienceForm),
        (format!("{header}.{payload}.A"), Fault::SignatureEncoding),
    ] {
        assert_eq!(Token::parse(&token).map(drop), Err(fault), "{token}");
    }
}

fn unsigned(payload: &Value) -> Token {
    let header = encoded(r#"{"alg":"RS256"}"#);
    Token::parse(&format!("{header}.{}.AA", encoded(payload.to_string()))).unwrap()
}

#[test]
fn a_token_is_valid_in_its_time_give_or_take_a_minute() {
    let now = UNIX_EPOCH + Duration::from_secs(1000);
    for (payload, expected) in [
        (json!({}), Ok(())),
        (json!({"exp": 940}), Ok(())),
        (json!({"exp": 939}), Err(Fault::Expired)),
        (json!({"exp": 0}), Err(Fault::Expired)),
        (json!({"nbf": 1060}), Ok(())),
        (json!({"nbf": 1061}), Err(Fault::NotYetValid)),
        (json!({"nbf": 2000, "exp": 1}), Err(Fault::NotYetValid)),
        (json!({"exp": 1e15}), Ok(())),
    ] {
        assert_eq!(unsigned(&payload).check_time(now), expected, "{payload}");
    }
}

#[test]
fn a_token_is_for_one_of_the_audiences_if_any_is_asked_for() {
    let ok = Ok(());
    for (payload, audiences, expected) in [
        (json!({}), &[][..], ok),
        (json!({"aud": "a"}), &[], ok),
        (json!({"aud": "a"}), &["b", "a"], ok),
        (json!({"aud": ["x", "a"]}), &["a"], ok),
        (json!({"aud": "https://a/"}), &["a"], ok),
        (json!({"aud": "a"}), &["http://a/"], ok),
        (json!({"aud": "a"}), &["b"], Err(Fault::Audience)),
        (json!({"aud": "ab"}), &["a"], Err(Fault::Audience)),
        (json!({"aud": []}), &["a"], Err(Fault::Audience)),
        (json!({}), &["a"], Err(Fault::Audience)),
    ] {
        assert_eq!(unsigned(&payload).check_audience(audiences), expected, "{payload} {audiences:?}");
    }
}

#[test]
fn of_a_set_the_keys_that_sign_are_kept_and_no_secrets() {
    let pair = Pair::new(Algorithm::Es256);
    let secret = json!({"kty": "oct", "k": encoded("secret"), "alg": "HS256"});
    let of = |all: &[Value]| Keys::parse(json!({ "keys": all }).to_string().as_bytes()).map(|keys| keys.count());
    assert_eq!(of(&[secret.clone(), pair.public(json!({})), pair.public(json!({"use": "enc"}))]), Ok(1));
    for nothing in
        [&[][..], &[secret], &[json!({"kty": "RSA", "n": "", "e": "AQAB"})], &[json!(1)], &[json!({"kty": "EC"})]]
    {
        assert_eq!(of(nothing), Err(Fault::NoKeys), "{nothing:?}");
    }
    for text in ["", "[]", "{}", r#"{"keys":1}"#, "{\"keys\":[", "<html>"] {
        assert_eq!(Keys::parse(text.as_bytes()), Err(Fault::NoKeys), "{text}");
    }
}
