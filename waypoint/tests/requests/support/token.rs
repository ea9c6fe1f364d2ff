//! Who issues tokens to end users: his keys, and what they sign.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key, with its name.
pub(crate) struct Key {
    name: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    /// A new key for RS256.
    pub(crate) fn rsa(name: &'static str) -> Self {
        Self { name, pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    /// A new key for ES256.
    pub(crate) fn ec(name: &'static str) -> Self {
        Self { name, pair: Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    /// A new key for EdDSA.
    pub(crate) fn ed(name: &'static str) -> Self {
        Self { name, pair: Pair::Ed(Ed25519KeyPair::generate().unwrap()) }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// Its public half.
    pub(crate) fn public(&self) -> Value {
        match &self.pair {
            Pair::Rsa(pair) => {
                // SEQUENCE { INTEGER, INTEGER } (RFC 8017 appendix A.1.1), of 2048 bits and 65537.
                let der = pair.public_key().as_ref();
                let modulus = encoded(&der[der.len() - 5 - 256..der.len() - 5]);
                json!({"kty": "RSA", "kid": self.name, "n": modulus, "e": "AQAB"})
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": self.name, "x": encoded(x), "y": encoded(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.name, "x": encoded(pair.public_key().as_ref())})
            }
        }
    }

    /// A token that says `payload`.
    pub(crate) fn sign(&self, payload: &Value) -> String {
        let signed = unsigned(&json!({"alg": self.algorithm(), "kid": self.name, "typ": "JWT"}), payload);
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", encoded(&signature))
    }

    /// A token that claims not to need a signature.
    pub(crate) fn none(&self, payload: &Value) -> String {
        unsigned(&json!({"alg": "none", "kid": self.name}), payload) + "."
    }

    /// A token that is signed by HS256, the secret being what everybody knows: the public key.
    pub(crate) fn confused(&self, payload: &Value) -> String {
        let signed = unsigned(&json!({"alg": "HS256", "kid": self.name}), payload);
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.public().to_string().as_bytes());
        let signature = encoded(aws_lc_rs::hmac::sign(&secret, signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }
}

/// The set of `keys`, as issuers publish it.
pub(crate) fn jwks(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>()}).to_string()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn unsigned(header: &Value, payload: &Value) -> String {
    format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(payload.to_string().as_bytes()))
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
