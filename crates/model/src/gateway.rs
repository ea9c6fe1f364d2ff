//! Gateways at the edge of the mesh (Istio `networking.istio.io` Gateway): which pods serve one, on which ports, for which
//! hosts, and how TLS is ended there. What they all say together to one pod is [`listeners`]; to which of them a request goes
//! is [`bound`]. Knows no bytes, no keys and no certificates: it names them.

mod listener;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Serialize, Serializer};

pub use listener::{Bound, Conflict, Contested, Listener, Served, Speaks, bound, listeners};

use crate::route::{Host, RuleKey};
use crate::workload::Workload;

/// Every Gateway. Copies share their structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateways(OrdMap<RuleKey, Arc<Gateway>>);

impl Gateways {
    /// Adds, replaces or removes the Gateway `key`. False if that changes nothing.
    pub fn set(&mut self, key: &RuleKey, new: Option<Arc<Gateway>>) -> bool {
        if self.0.get(key) == new.as_ref() {
            return false;
        }
        match new {
            Some(new) => drop(self.0.insert(key.clone(), new)),
            None => drop(self.0.remove(key)),
        }
        true
    }

    /// The Gateway `key`.
    #[must_use]
    pub fn get(&self, key: &RuleKey) -> Option<&Arc<Gateway>> {
        self.0.get(key)
    }

    /// True if `pod` serves one that says by labels which pods do.
    #[must_use]
    pub fn are_served_by(&self, pod: &Workload) -> bool {
        self.iter().any(|gateway| !gateway.selector.is_empty() && gateway.selects(&pod.labels))
    }

    /// True if `other` is a copy of these, neither having been changed since. Costs nothing; false may be an error.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// Every one, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.0.values()
    }
}

/// A Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// Its namespace and name.
    pub key: RuleKey,
    /// `metadata.creationTimestamp` (RFC 3339, UTC): of two that contradict each other the older counts, one without a date
    /// being older than all.
    pub created: Option<Arc<str>>,
    /// `selector`: the labels of the pods that serve it, of whatever namespace; empty for those of every gateway.
    pub selector: BTreeMap<Arc<str>, Arc<str>>,
    /// `servers`, in order.
    pub servers: Vec<Arc<Server>>,
}

impl Gateway {
    /// True if a pod with these labels serves it.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// A port, and what is served there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// `name`
    pub name: Option<Arc<str>>,
    /// `port.number`: what clients dial. Where that is a port of the Service in front of the pods, they listen on its
    /// `targetPort`.
    pub port: u16,
    /// `port.name`
    pub port_name: Arc<str>,
    /// `bind`: the address that is listened on; none for all.
    pub bind: Option<IpAddr>,
    /// `hosts`, in order.
    pub hosts: Vec<ServerHost>,
    /// `port.protocol` and `tls.mode`.
    pub protocol: Protocol,
}

/// A host that a server is for, and whose VirtualServices may be bound to it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerHost {
    /// The namespace whose VirtualServices may (`ns/host`, `./host`); none for those of all (`*/host`, `host`).
    pub namespace: Option<Arc<str>>,
    /// The host.
    pub host: Host,
}

impl fmt::Display for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.host),
            None => self.host.fmt(f),
        }
    }
}

/// What a server speaks with its clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// HTTP in clear: protocols `HTTP`, `HTTP2`, `GRPC`, `GRPC-WEB`.
    Http {
        /// `tls.httpsRedirect`: every request is sent to `https`.
        redirect: bool,
    },
    /// HTTP within TLS that is ended here: `HTTPS`.
    Https(Arc<Tls>),
    /// Bytes within TLS that is ended here: `TLS`.
    Tls(Arc<Tls>),
    /// TLS that goes on to where its SNI is routed: `HTTPS` or `TLS` of mode `PASSTHROUGH`.
    Passthrough,
    /// Bytes: `TCP`, `MONGO` and others without an HTTP.
    Tcp,
}

/// How TLS is ended (Istio `ServerTLSSettings`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Tls {
    /// What clients are shown, at least one: of several the first that a client can check.
    pub certificates: Vec<Certificate>,
    /// Who clients have to be.
    pub clients: Clients,
    /// `minProtocolVersion`
    pub min: TlsVersion,
    /// `maxProtocolVersion`
    pub max: TlsVersion,
    /// `cipherSuites` of TLS 1.2; empty for all.
    pub cipher_suites: Vec<CipherSuite>,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Certificate {
    /// `credentialName`: in the Secret of this name, of the pod's namespace; or `kubernetes://`, a namespace, `/` and the name,
    /// where the namespace is written.
    Secret(Arc<str>),
    /// `serverCertificate` and `privateKey`: in these files of the pod.
    Files {
        /// The certificate and what leads to its root.
        certificate: Arc<str>,
        /// The key.
        key: Arc<str>,
    },
    /// Mode `ISTIO_MUTUAL`: the pod's own of the mesh.
    Mesh,
}

/// Who clients have to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Clients {
    /// `SIMPLE`: anybody.
    Anybody,
    /// `OPTIONAL_MUTUAL`: anybody, but who shows a certificate shows one of these.
    Perhaps(Proof),
    /// `MUTUAL`, `ISTIO_MUTUAL`: who shows one of these.
    Proven(Proof),
}

/// What a client's certificate has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Proof {
    /// Who has to have signed it.
    pub authorities: Authorities,
    /// `caCrl`: a file of the pod with revocation lists.
    pub revoked: Option<Arc<str>>,
    /// `subjectAltNames` of which it must carry one; empty for any.
    pub subject_alt_names: Vec<Arc<str>>,
    /// `verifyCertificateSpki`: SHA-256 of its public key. One of these or of [`Self::hashes`] it must have; where both are
    /// empty, any.
    pub spki: Vec<[u8; 32]>,
    /// `verifyCertificateHash`: SHA-256 of the whole, like [`Self::spki`].
    pub hashes: Vec<[u8; 32]>,
}

/// Where the certificates are of those who sign clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Authorities {
    /// With the server's own: key `ca.crt` or `cacert` of its Secret, or of the Secret of the same name and `-cacert`.
    WithCertificate(Arc<str>),
    /// `caCertCredentialName`: in the Secret of this name.
    Secret(Arc<str>),
    /// `caCertificates`: in this file of the pod.
    File(Arc<str>),
    /// Mode `ISTIO_MUTUAL`: the mesh's own.
    Mesh,
}

/// A version of TLS that can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum TlsVersion {
    /// `TLSV1_2`
    V1_2,
    /// `TLSV1_3`
    V1_3,
}

macro_rules! cipher_suites {
    ($($name:ident = $text:literal,)+) => {
        /// A cipher suite of TLS 1.2 that can be spoken. Those of TLS 1.3 are not chosen among.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CipherSuite { $(
            #[doc = concat!("`", $text, "`")]
            $name,
        )+ }

        impl CipherSuite {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name, as OpenSSL and Istio write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The one of this name, if it can be spoken.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|suite| suite.as_str() == name)
            }
        }
    };
}

cipher_suites! {
    EcdheEcdsaAes128Gcm = "ECDHE-ECDSA-AES128-GCM-SHA256",
    EcdheRsaAes128Gcm = "ECDHE-RSA-AES128-GCM-SHA256",
    EcdheEcdsaAes256Gcm = "ECDHE-ECDSA-AES256-GCM-SHA384",
    EcdheRsaAes256Gcm = "ECDHE-RSA-AES256-GCM-SHA384",
    EcdheEcdsaChaCha20 = "ECDHE-ECDSA-CHACHA20-POLY1305",
    EcdheRsaChaCha20 = "ECDHE-RSA-CHACHA20-POLY1305",
}

impl Serialize for CipherSuite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
