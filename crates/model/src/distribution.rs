//! How far a service lets its connections go, and how near two places are. Knows neither addresses nor readiness.

use serde::Serialize;

/// What two places have in common: each scope lies within the one before it (Istio `LoadBalancing.Scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Scope {
    /// `topology.kubernetes.io/region`.
    Region,
    /// `topology.kubernetes.io/zone`.
    Zone,
    /// `topology.istio.io/subzone`.
    Subzone,
    /// `spec.nodeName`.
    Node,
}

/// Which of a service's endpoints its clients go to (Istio `LoadBalancing`, routing preference and mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Distribution {
    /// Any, wherever they are.
    #[default]
    Anywhere,
    /// Those that share the narrowest scope with the client, up to this one; what is narrower makes no difference.
    Prefer(Scope),
    /// None but those that share this scope with the client.
    Only(Scope),
}

/// Where something runs. What is not known is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locality<'a> {
    /// The region.
    pub region: &'a str,
    /// The zone.
    pub zone: &'a str,
    /// The subzone.
    pub subzone: &'a str,
    /// The node.
    pub node: &'a str,
}

impl Locality<'_> {
    /// The narrowest scope that both are in, if there is one. What is not known is shared with nobody; but a zone of the
    /// same name is the same unless its region is known to be another, since EndpointSlices name zones alone.
    #[must_use]
    pub fn shared(self, other: Locality<'_>) -> Option<Scope> {
        let known = |place: &str| !place.is_empty();
        let same = |here: &str, there: &str| known(here) && here == there;
        let apart = known(self.region) && known(other.region) && self.region != other.region;
        if same(self.node, other.node) {
            Some(Scope::Node)
        } else if same(self.zone, other.zone) && !apart {
            Some(if same(self.subzone, other.subzone) { Scope::Subzone } else { Scope::Zone })
        } else if same(self.region, other.region) {
            Some(Scope::Region)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `region/zone/node`, and after it a subzone.
    fn at(text: &str) -> Locality<'_> {
        let mut parts = text.split('/');
        let mut next = || parts.next().unwrap_or_default();
        Locality { region: next(), zone: next(), node: next(), subzone: next() }
    }

    #[test]
    fn two_places_share_the_narrowest_scope_that_is_known_of_both() {
        for (here, there, shared) in [
            ("eu/eu-a/n1", "eu/eu-a/n1", Some(Scope::Node)),
            ("eu/eu-a/n1", "eu/eu-a/n2", Some(Scope::Zone)),
            ("eu/eu-a/n1", "eu/eu-b/n2", Some(Scope::Region)),
            ("eu/eu-a/n1", "us/us-a/n2", None),
            // Zones of one name in two regions are two zones; without a region the name alone tells.
            ("eu/a/n1", "us/a/n2", None),
            ("/a/n1", "/a/n2", Some(Scope::Zone)),
            ("eu/a/n1", "/a/", Some(Scope::Zone)),
            // A node is where it is, whatever else is known of it.
            ("eu/eu-a/n1", "//n1", Some(Scope::Node)),
            // Two unknown places are not one place.
            ("//", "//", None),
            ("eu//n1", "eu//n2", Some(Scope::Region)),
            // A subzone is within its zone: elsewhere, one of the same name is another.
            ("eu/a/n1/rack", "eu/a/n2/rack", Some(Scope::Subzone)),
            ("eu/a/n1/rack", "eu/a/n1/rack", Some(Scope::Node)),
            ("eu/a/n1/rack", "eu/b/n2/rack", Some(Scope::Region)),
            ("eu/a/n1/rack", "us/a/n2/rack", None),
            ("eu/a/n1/rack", "eu/a/n2/other", Some(Scope::Zone)),
        ] {
            assert_eq!(at(here).shared(at(there)), shared, "{here} {there}");
            assert_eq!(at(there).shared(at(here)), shared, "{there} {here}");
        }
    }

    #[test]
    fn narrower_is_nearer() {
        assert!(
            None < Some(Scope::Region)
                && Scope::Region < Scope::Zone
                && Scope::Zone < Scope::Subzone
                && Scope::Subzone < Scope::Node
        );
    }
}
