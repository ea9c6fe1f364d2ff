//! The hosts that routes and rules are for: names, which may begin with a wildcard.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A host: a name in lower case, `*.` and a name, or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

impl Host {
    /// The host that an object of `namespace` means by `written`: a name without a dot is the Service of that name in
    /// its own namespace, whose suffix is `domain`.
    #[must_use]
    pub fn resolved(written: &str, namespace: &str, domain: &str) -> Self {
        let written = written.to_ascii_lowercase();
        let short = !written.is_empty() && !written.contains(['.', '*']) && written.parse::<IpAddr>().is_err();
        Self(Arc::from(if short { format!("{written}.{namespace}.svc.{domain}") } else { written }))
    }

    /// The host that is `written`, which is never a short name.
    #[must_use]
    pub fn literal(written: &str) -> Self {
        Self(Arc::from(written.to_ascii_lowercase()))
    }

    /// The host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host as shared text.
    #[must_use]
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// True if it stands for more than one name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// True if it stands for `name`: the same, or one that ends as the wildcard does. `*.com` also stands for
    /// `*.example.com`.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self.0.strip_prefix('*') {
            None => self.0.eq_ignore_ascii_case(name),
            Some(suffix) => {
                let name = name.strip_prefix('*').unwrap_or(name);
                let start = name.len().checked_sub(suffix.len());
                start.and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The hosts under which `name`, in lower case, may be found, the closest first: itself, the wildcards around it from the
/// longest suffix to the shortest, and `*`.
pub(crate) fn around(name: &str) -> impl Iterator<Item = Host> + '_ {
    let itself = std::iter::once(Host(Arc::from(name)));
    let suffixes = name.match_indices('.').filter_map(|(place, _)| name.get(place..));
    let wider = suffixes.map(|suffix| format!("*{suffix}")).filter(move |wildcard| wildcard != name);
    itself.chain(wider.map(|wildcard| Host(Arc::from(wildcard)))).chain(std::iter::once(Host(Arc::from("*"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_one_of_the_objects_own_namespace() {
        for (written, resolved) in [
            ("reviews", "reviews.shop.svc.cluster.local"),
            ("Reviews", "reviews.shop.svc.cluster.local"),
            ("reviews.other.svc.cluster.local", "reviews.other.svc.cluster.local"),
            ("Example.COM", "example.com"),
            ("*.example.com", "*.example.com"),
            ("*", "*"),
            ("fd00::7", "fd00::7"),
        ] {
            assert_eq!(Host::resolved(written, "shop", "cluster.local").as_str(), resolved, "{written}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_ends_as_it_does() {
        let covers = |host: &str, name: &str| Host::resolved(host, "shop", "cluster.local").covers(name);
        for (host, name) in [
            ("a.example", "A.example"),
            ("*.example", "a.example"),
            ("*.example", "b.a.example"),
            ("*.example", "*.a.example"),
            ("*.example", "*.example"),
            ("*", "anything"),
        ] {
            assert!(covers(host, name), "{host} {name}");
        }
        for (host, name) in [
            ("a.example", "b.example"),
            ("a.example", "b.a.example"),
            ("*.example", "example"),
            ("*.a.example", "*.example"),
            ("*.a.example", "a.example"),
        ] {
            assert!(!covers(host, name), "{host} {name}");
        }
    }

    #[test]
    fn the_closest_host_is_looked_for_first() {
        let around = |name| around(name).map(|host| host.to_string()).collect::<Vec<_>>();
        assert_eq!(around("b.a.example"), ["b.a.example", "*.a.example", "*.example", "*"]);
        assert_eq!(around("*.a.example"), ["*.a.example", "*.example", "*"]);
        assert_eq!(around("localhost"), ["localhost", "*"]);
    }
}
