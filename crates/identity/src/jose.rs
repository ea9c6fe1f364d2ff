//! Signed tokens of end users (RFC 7519, in the compact form of RFC 7515) and their verification: by public keys alone,
//! never by a secret that is shared and never by nothing (RFC 8725 section 2.1). Says what is wrong in the words of Envoy's.
//! Knows no request, fetches nothing and has no clock.

mod keys;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub use keys::{Algorithm, Keys};

/// How far the clock of an issuer may be from ours (Envoy, `clock_skew_seconds`).
const SKEW: Duration = Duration::from_secs(60);

/// Why a token is not taken, in the words of Envoy's jwt_authn. All but [`Self::UnknownKey`], [`Self::NoKeys`] and
/// [`Self::KeysNotFetched`], which may be the operator's to mend, are the client's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has not three parts.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    /// Its header is no base64url.
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderEncoding,
    /// Its header is no JSON object.
    #[error("Jwt header is an invalid JSON")]
    Header,
    /// Its header names no algorithm.
    #[error("Jwt header [alg] field is required and must be a string")]
    NoAlgorithm,
    /// Its algorithm is none that is taken: another, `none`, or one with a secret that is shared.
    #[error("Jwt header [alg] is not supported")]
    Algorithm,
    /// The key's name is no text.
    #[error("Jwt header [kid] field is not a string")]
    KeyName,
    /// It demands an extension to be understood that is not (RFC 7515 section 4.1.11).
    #[error("Jwt header [crit] is not supported")]
    Critical,
    /// Its payload is no base64url.
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadEncoding,
    /// Its payload is no JSON object.
    #[error("Jwt payload is an invalid JSON")]
    Payload,
    /// Its issuer is no text.
    #[error("Jwt payload [iss] field is not a string")]
    IssuerForm,
    /// When it begins to be valid is no time.
    #[error("Jwt payload [nbf] field is not an integer")]
    NotBeforeForm,
    /// When it ends to be valid is no time.
    #[error("Jwt payload [exp] field is not an integer")]
    ExpiryForm,
    /// Whom it is for is neither a text nor a list of texts.
    #[error("Jwt payload [aud] field is not a string or string list")]
    AudienceForm,
    /// Its signature is no base64url.
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureEncoding,
    /// Nobody asks for tokens of its issuer.
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    /// It is not valid yet.
    #[error("Jwt not yet valid")]
    NotYetValid,
    /// It is not valid any more.
    #[error("Jwt is expired")]
    Expired,
    /// It is for somebody else.
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    /// None of the issuer's keys has its name and algorithm.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    UnknownKey,
    /// Its signature is not by the key.
    #[error("Jwt verification fails")]
    Signature,
    /// There is no key that could have signed anything.
    #[error("Jwks doesn't have any valid public key")]
    NoKeys,
    /// The issuer's keys could not be fetched.
    #[error("Jwks remote fetch is failed")]
    KeysNotFetched,
}

/// A token as it was read: nothing of it is verified but by [`Self::verify`].
#[derive(Debug)]
pub struct Token {
    algorithm: Algorithm,
    key_name: Option<Box<str>>,
    /// The header and the payload, as they are signed.
    signed: Box<str>,
    signature: Vec<u8>,
    payload: Arc<Map<String, Value>>,
    not_before: Option<Duration>,
    expiry: Option<Duration>,
    audiences: Vec<Box<str>>,
}

impl Token {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is no token, or none of an algorithm that is taken.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Form)?;
        let (header, payload) = signed.split_once('.').filter(|(_, rest)| !rest.contains('.')).ok_or(Fault::Form)?;
        let header = object(header, Fault::HeaderEncoding, Fault::Header)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Fault::NoAlgorithm)?;
        let algorithm = Algorithm::named(algorithm).ok_or(Fault::Algorithm)?;
        let key_name = match header.get("kid") {
            None => None,
            Some(Value::String(name)) => Some(Box::from(name.as_str())),
            Some(_) => return Err(Fault::KeyName),
        };
        if header.contains_key("crit") {
            return Err(Fault::Critical);
        }
        let payload = object(payload, Fault::PayloadEncoding, Fault::Payload)?;
        if payload.get("iss").is_some_and(|issuer| !issuer.is_string()) {
            return Err(Fault::IssuerForm);
        }
        let not_before = time(&payload, "nbf", Fault::NotBeforeForm)?;
        let expiry = time(&payload, "exp", Fault::ExpiryForm)?;
        let audiences = audiences(&payload)?;
        let signature = decoded(signature).ok_or(Fault::SignatureEncoding)?;
        let (signed, payload) = (Box::from(signed), Arc::new(payload));
        Ok(Self { algorithm, key_name, signed, signature, payload, not_before, expiry, audiences })
    }

    /// Whoever has issued it, as it says; empty if it does not.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.payload.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// What it says.
    #[must_use]
    pub fn payload(&self) -> &Arc<Map<String, Value>> {
        &self.payload
    }

    /// The same as the token has it: in base64url.
    #[must_use]
    pub fn encoded_payload(&self) -> &str {
        self.signed.split_once('.').map_or("", |(_, payload)| payload)
    }

    /// Is it valid at `now`, give or take a minute? One that does not say until when is for ever.
    ///
    /// # Errors
    /// It is not valid yet, or not any more.
    pub fn check_time(&self, now: SystemTime) -> Result<(), Fault> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.not_before.is_some_and(|begin| now + SKEW < begin) {
            return Err(Fault::NotYetValid);
        }
        if self.expiry.is_some_and(|end| now > end.saturating_add(SKEW)) {
            return Err(Fault::Expired);
        }
        Ok(())
    }

    /// Is it for one of `audiences`? Where there are none it is for whoever it comes to. A scheme of HTTP before an audience
    /// and a slash behind it make no difference, as with Envoy.
    ///
    /// # Errors
    /// It is for somebody else.
    pub fn check_audience<A: AsRef<str>>(&self, audiences: &[A]) -> Result<(), Fault> {
        let own = |wanted: &A| self.audiences.iter().any(|own| bare(own) == bare(wanted.as_ref()));
        if audiences.is_empty() || audiences.iter().any(own) { Ok(()) } else { Err(Fault::Audience) }
    }

    /// Is it signed by one of `keys`: one of its name, if both have one, and of its algorithm?
    ///
    /// # Errors
    /// It is not, or there is no such key.
    pub fn verify(&self, keys: &Keys) -> Result<(), Fault> {
        let mut fault = Fault::UnknownKey;
        for key in keys.fitting(self.algorithm, self.key_name.as_deref()) {
            if key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature) {
                return Ok(());
            }
            fault = Fault::Signature;
        }
        Err(fault)
    }
}

/// What tells `text` apart from any other.
#[must_use]
pub fn fingerprint(text: &str) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    fingerprint
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn object(text: &str, encoding: Fault, form: Fault) -> Result<Map<String, Value>, Fault> {
    let bytes = decoded(text).ok_or(encoding)?;
    serde_json::from_slice(&bytes).map_err(|_| form)
}

/// A NumericDate (RFC 7519 section 2), since 1970.
fn time(payload: &Map<String, Value>, name: &str, fault: Fault) -> Result<Option<Duration>, Fault> {
    let Some(value) = payload.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(fault)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| fault)
}

fn audiences(payload: &Map<String, Value>) -> Result<Vec<Box<str>>, Fault> {
    let text = |value: &Value| value.as_str().map(Box::from).ok_or(Fault::AudienceForm);
    match payload.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(one) => Ok(vec![text(one)?]),
    }
}

fn bare(audience: &str) -> &str {
    let name = audience.strip_prefix("http://").or_else(|| audience.strip_prefix("https://")).unwrap_or(audience);
    name.strip_suffix('/').unwrap_or(name)
}

#[cfg(test)]
mod tests;
