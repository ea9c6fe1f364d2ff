//! The public keys of an issuer (RFC 7517, RFC 7518 section 6, RFC 8037), and what each of them verifies.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};

use super::{Fault, decoded};

/// How a token is signed: by a key whose other half is public (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

/// What verifies a signature.
enum Verifies {
    Rsa(&'static RsaParameters),
    Curve(&'static str, &'static dyn VerificationAlgorithm),
}

impl Algorithm {
    /// Every one of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The algorithm `name`, if it is one of these.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name, as tokens and keys write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    fn verifies(self) -> Verifies {
        match self {
            Self::Rs256 => Verifies::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Verifies::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Verifies::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Verifies::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Verifies::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Verifies::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Verifies::Curve("P-256", &ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Verifies::Curve("P-384", &ECDSA_P384_SHA384_FIXED),
            Self::Es512 => Verifies::Curve("P-521", &ECDSA_P521_SHA512_FIXED),
            Self::EdDsa => Verifies::Curve("Ed25519", &ED25519),
        }
    }
}

/// So many keys a set may have: a token that names none is tried with all of them.
const MOST: usize = 100;

/// The keys of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    name: Option<Box<str>>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<Box<str>>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Curve { name: Box<str>, point: Vec<u8> },
}

impl Keys {
    /// Reads a set of keys (RFC 7517 section 5). Those that are for something else, or cannot be used, are left out: secrets
    /// among them.
    ///
    /// # Errors
    /// It is no set of keys, or none of them can be used.
    pub fn parse(text: &[u8]) -> Result<Self, Fault> {
        Self::published(text).and_then(|keys| if keys.0.is_empty() { Err(Fault::NoKeys) } else { Ok(keys) })
    }

    /// The same of what an issuer publishes, who may have withdrawn all of them. Of very many the first are read.
    ///
    /// # Errors
    /// It is no set of keys.
    pub fn published(text: &[u8]) -> Result<Self, Fault> {
        let set: Value = serde_json::from_slice(text).map_err(|_| Fault::NoKeys)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(Fault::NoKeys)?;
        Ok(Self(keys.iter().filter_map(|key| Key::read(key.as_object()?)).take(MOST).collect()))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The keys that may have signed a token that says this of its key.
    pub(super) fn fitting(&self, algorithm: Algorithm, name: Option<&str>) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            let same = key.name.as_deref().zip(name).is_none_or(|(own, asked)| own == asked);
            same && key.is_for(algorithm)
        })
    }
}

impl Key {
    fn read(key: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        // What is said in another way than by a text is not as if it were not said.
        let is_text = |name: &&str| key.get(*name).is_none_or(Value::is_string);
        if !["use", "alg", "kid"].iter().all(is_text) {
            return None;
        }
        let bytes = |name: &str| decoded(text(name)?);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa { modulus: whole(bytes("n")?)?, exponent: whole(bytes("e")?)? },
            ("EC", Some(name @ ("P-256" | "P-384" | "P-521"))) => {
                // An uncompressed point (SEC 1 section 2.3.3).
                let point = [vec![4], bytes("x")?, bytes("y")?].concat();
                Material::Curve { name: name.into(), point }
            }
            ("OKP", Some(name @ "Ed25519")) => Material::Curve { name: name.into(), point: bytes("x")? },
            _ => return None,
        };
        Some(Self { name: text("kid").map(Box::from), algorithm: text("alg").map(Box::from), material })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match (&self.material, algorithm.verifies()) {
            (Material::Rsa { .. }, Verifies::Rsa(_)) => true,
            (Material::Curve { name, .. }, Verifies::Curve(curve, _)) => **name == *curve,
            _ => false,
        };
        fits && self.algorithm.as_deref().is_none_or(|own| own == algorithm.name())
    }

    /// True if `signature` is by this key, of what is `signed`.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm.verifies()) {
            (Material::Rsa { modulus, exponent }, Verifies::Rsa(parameters)) => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, signed, signature).is_ok()
            }
            (Material::Curve { name, point }, Verifies::Curve(curve, by)) if **name == *curve => {
                UnparsedPublicKey::new(by, point).verify(signed, signature).is_ok()
            }
            _ => false,
        }
    }
}

/// A number without the zeros that some write before it; none if nothing is left.
fn whole(mut number: Vec<u8>) -> Option<Vec<u8>> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    (!number.is_empty()).then_some(number)
}
