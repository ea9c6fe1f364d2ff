//! SPIFFE identities and the trust domains that a mesh accepts. Knows nothing of keys or certificates.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A SPIFFE trust domain: 1 to 255 characters of `a-z 0-9 . - _` (SPIFFE-ID section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The trust domain as text, such as `cluster.local`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(Arc::from("cluster.local"))
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(legal) {
            return Err(IdentityError::TrustDomain(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TrustDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Who a workload is: a Kubernetes service account in a trust domain, written
/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The trust domain that vouches for it.
    pub trust_domain: TrustDomain,
    /// The service account's namespace.
    pub namespace: Arc<str>,
    /// The service account's name.
    pub service_account: Arc<str>,
}

impl Identity {
    /// The identity of `service_account` in `namespace`, vouched for by `trust_domain`.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, namespace: &str, service_account: &str) -> Self {
        Self { trust_domain, namespace: Arc::from(namespace), service_account: Arc::from(service_account) }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || IdentityError::Malformed(text.to_owned());
        let rest = text.strip_prefix("spiffe://").ok_or_else(malformed)?;
        let mut parts = rest.split('/');
        let trust_domain = parts.next().unwrap_or_default().parse()?;
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None)
                if !namespace.is_empty() && !account.is_empty() =>
            {
                Ok(Self::new(trust_domain, namespace, account))
            }
            _ => Err(malformed()),
        }
    }
}

/// The trust domains whose identities this mesh accepts: its own and its aliases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustDomains {
    /// The domain that this mesh's own certificates carry.
    pub own: TrustDomain,
    /// Domains that count as the own one (Istio MeshConfig `trustDomainAliases`).
    pub aliases: Vec<TrustDomain>,
}

impl TrustDomains {
    /// True if identities of `domain` are this mesh's.
    #[must_use]
    pub fn accepts(&self, domain: &TrustDomain) -> bool {
        self.own == *domain || self.aliases.contains(domain)
    }

    /// True if `presented` is `expected`, an accepted alias of the trust domain counting as the domain itself.
    #[must_use]
    pub fn same(&self, expected: &Identity, presented: &Identity) -> bool {
        let domain = expected.trust_domain == presented.trust_domain
            || (self.accepts(&expected.trust_domain) && self.accepts(&presented.trust_domain));
        domain && expected.namespace == presented.namespace && expected.service_account == presented.service_account
    }
}

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The trust domain holds characters that SPIFFE does not allow; correct the setting or the certificate.
    #[error("{0:?} is no SPIFFE trust domain: 1 to 255 characters of a-z 0-9 . - _ are allowed")]
    TrustDomain(String),
    /// The text is not of the form Istio gives workloads; the peer's issuer writes other SPIFFE paths.
    #[error("{0:?} is no workload identity: expected spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    Malformed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_as_written() {
        let text = "spiffe://cluster.local/ns/shop/sa/bookinfo-reviews";
        assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
    }

    #[test]
    fn other_spiffe_paths_are_refused() {
        for text in [
            "",
            "cluster.local/ns/a/sa/b",
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/a/sa/",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_alias_counts_as_the_own_trust_domain_and_nothing_else_does() {
        let domains =
            TrustDomains { own: "new.example".parse().unwrap(), aliases: vec!["old.example".parse().unwrap()] };
        let of = |domain: &str, account: &str| Identity::new(domain.parse().unwrap(), "shop", account);
        assert!(domains.same(&of("new.example", "a"), &of("old.example", "a")));
        assert!(!domains.same(&of("new.example", "a"), &of("old.example", "b")));
        assert!(!domains.same(&of("new.example", "a"), &of("foreign.example", "a")));
        assert!(!domains.accepts(&"foreign.example".parse().unwrap()));
    }
}
