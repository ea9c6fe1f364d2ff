//! One Secret, as far as it matters to TLS: which of its keys say what (as Istio's `credentialName` has it), and nothing of what
//! the values are. Shows no value to anybody who prints it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::yaml::{Node, Value};

/// The keys that matter.
const KEYS: [&str; 9] = ["ca.crl", "ca.crt", "cacert", "cert", "crl", "key", "tls.crt", "tls.key", "tls.ocsp-staple"];

/// The types that never hold a certificate for clients from outside.
pub(crate) const LEFT_OUT: [&str; 4] = [
    "helm.sh/release.v1",
    "kubernetes.io/service-account-token",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/dockercfg",
];

/// The keys of a certificate, its key and what its issuer says of it: of those that are there the first count.
const CERTIFICATES: [(&str, &str, Option<&str>); 2] =
    [("cert", "key", None), ("tls.crt", "tls.key", Some("tls.ocsp-staple"))];

/// The keys of authorities and their revocation lists, likewise.
const AUTHORITIES: [(&str, &str); 2] = [("cacert", "crl"), ("ca.crt", "ca.crl")];

/// A Secret.
#[derive(PartialEq, Eq)]
pub struct Secret {
    data: BTreeMap<&'static str, Wiped>,
}

/// A certificate that can be shown, as texts that nobody has read yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The certificate and what leads to its root, in PEM.
    pub certificate: &'a [u8],
    /// Its key, in PEM.
    pub key: &'a [u8],
    /// What its issuer says of its standing (OCSP), in DER.
    pub staple: Option<&'a [u8]>,
}

/// Who may sign others' certificates, as texts that nobody has read yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Authorities<'a> {
    /// Their own certificates, in PEM.
    pub certificates: &'a [u8],
    /// Lists of what they have revoked, in PEM.
    pub revoked: Option<&'a [u8]>,
}

/// What a Secret has not, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// It is no Secret of a certificate; name another, or make it so.
    #[error("it has neither the keys tls.crt and tls.key nor cert and key: make it by kubectl create secret tls")]
    Certificate,
    /// It has one half of a certificate; add the other.
    #[error("it has {has} but not {lacks}: add that key, since neither is of use alone")]
    Half {
        /// The key that is there.
        has: &'static str,
        /// The one that belongs to it.
        lacks: &'static str,
    },
    /// A key has no content; write it.
    #[error("its key {0} is empty: put there what it is for, in PEM")]
    Empty(&'static str),
    /// It does not say who may sign; add that.
    #[error(
        "it has neither the key ca.crt nor cacert: put there the certificates of those who sign clients' certificates"
    )]
    Authorities,
}

impl Secret {
    /// The Secret of these keys and values, as far as they matter.
    pub fn new<'a>(data: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let kept = data.into_iter().filter_map(|(key, value)| {
            let key = KEYS.into_iter().find(|known| *known == key)?;
            Some((key, Wiped(value.to_vec())))
        });
        Self { data: kept.collect() }
    }

    /// What is kept of the Secret that is written as `node`; none, if its type holds no certificates.
    ///
    /// # Errors
    /// The field that holds what it must not.
    pub(crate) fn read(node: &Node<'_>) -> Result<Option<Self>, String> {
        if node.text("type").is_some_and(|kind| LEFT_OUT.contains(&kind)) {
            return Ok(None);
        }
        let mut data = BTreeMap::new();
        for key in KEYS {
            // Where both say something, the API takes what is written in clear.
            let value = match (text(node, "stringData", key)?, text(node, "data", key)?) {
                (Some(clear), _) => clear.as_bytes().to_vec(),
                (None, Some(encoded)) => decoded(encoded).ok_or_else(|| format!("data[{key}] is no base64"))?,
                (None, None) => continue,
            };
            data.insert(key, Wiped(value));
        }
        Ok(Some(Self { data }))
    }

    /// The certificate that it holds, by the keys `cert` and `key`, or else `tls.crt` and `tls.key`.
    ///
    /// # Errors
    /// What is missing.
    pub fn credential(&self) -> Result<Credential<'_>, Lack> {
        for (certificate, key, staple) in CERTIFICATES {
            if let (Some(certificate), Some(key)) = (self.value(certificate), self.value(key)) {
                return Ok(Credential { certificate, key, staple: staple.and_then(|staple| self.value(staple)) });
            }
        }
        for (certificate, key, _) in CERTIFICATES {
            match (self.data.get(certificate), self.data.get(key)) {
                (None, None) => {}
                (Some(_), None) => return Err(Lack::Half { has: certificate, lacks: key }),
                (None, Some(_)) => return Err(Lack::Half { has: key, lacks: certificate }),
                (Some(found), Some(_)) => return Err(Lack::Empty(if found.0.is_empty() { certificate } else { key })),
            }
        }
        Err(Lack::Certificate)
    }

    /// The authorities that it holds, by the keys `ca.crt` and `ca.crl`, or else `cacert` and `crl`.
    ///
    /// # Errors
    /// What is missing.
    pub fn authorities(&self) -> Result<Authorities<'_>, Lack> {
        for (certificates, lists) in AUTHORITIES {
            if let Some(certificates) = self.value(certificates) {
                return Ok(Authorities { certificates, revoked: self.value(lists) });
            }
        }
        let empty = AUTHORITIES.into_iter().find(|(certificates, _)| self.data.contains_key(certificates));
        Err(empty.map_or(Lack::Authorities, |(certificates, _)| Lack::Empty(certificates)))
    }

    /// The value of `key`, unless it is empty.
    fn value(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(|value| value.0.as_slice()).filter(|value| !value.is_empty())
    }
}

/// Names the keys, never a value.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys()).finish()
    }
}

/// A value, of which nothing is left in memory when it is dropped.
#[derive(PartialEq, Eq)]
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        // Otherwise a compiler may leave out what nobody reads any more.
        std::hint::black_box(&self.0);
    }
}

/// The text of `key` in `field`, if there is one.
fn text<'a>(node: &'a Node<'_>, field: &str, key: &str) -> Result<Option<&'a str>, String> {
    match node.get(field).and_then(|data| data.get(key)).map(|entry| &entry.value) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{field}[{key}] is no text: quote it")),
    }
}

/// What `text` says in base64 (RFC 4648 section 4), wherever its lines are broken.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}
