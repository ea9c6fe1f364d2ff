//! How load keeps to places: shares by place, or the nearest first (Istio `LocalityLoadBalancerSetting`). Which endpoints
//! are healthy is for whoever balances.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::distribution::{Locality, Scope};

/// `localityLbSetting`, where it is not disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByLocality {
    /// `distribute`: the first that is for the client's place says which share goes where. If anything is here, nothing is
    /// in the others.
    pub distribute: Vec<Distribute>,
    /// `failover`: by region, the one that comes next.
    pub failover: BTreeMap<Arc<str>, Arc<str>>,
    /// `failoverPriority`: endpoints that have more of these as the client has them, from the first on, come first.
    pub failover_priority: Vec<FailoverLabel>,
}

/// Which share of the requests from a place goes where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Distribute {
    /// `from`
    pub from: Place,
    /// `to`, of a hundred together. What is nowhere in it gets nothing.
    pub to: Vec<(Place, u32)>,
}

/// A place and all places within it, written `region/zone/subzone`. None is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The region.
    pub region: Option<Arc<str>>,
    /// The zone.
    pub zone: Option<Arc<str>>,
    /// The subzone.
    pub subzone: Option<Arc<str>>,
}

/// A label of `failoverPriority`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailoverLabel {
    /// The label, such as `topology.kubernetes.io/zone`.
    pub key: Arc<str>,
    /// What endpoints have it compared with, instead of the client's.
    pub value: Option<Arc<str>>,
}

impl Place {
    /// True if `locality` is within it.
    #[must_use]
    pub fn covers(&self, locality: Locality<'_>) -> bool {
        let within = |asked: &Option<Arc<str>>, is: &str| asked.as_ref().is_none_or(|asked| **asked == *is);
        within(&self.region, locality.region)
            && within(&self.zone, locality.zone)
            && within(&self.subzone, locality.subzone)
    }

    /// True if there is a place within both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: &Option<Arc<str>>, b: &Option<Arc<str>>| a.is_none() || b.is_none() || a == b;
        meet(&self.region, &other.region) && meet(&self.zone, &other.zone) && meet(&self.subzone, &other.subzone)
    }
}

impl ByLocality {
    /// The shares of requests from `here`, where there are any.
    #[must_use]
    pub fn shares(&self, here: Locality<'_>) -> Option<&[(Place, u32)]> {
        self.distribute.iter().find(|one| one.from.covers(here)).map(|one| &*one.to)
    }

    /// How late an endpoint `there` comes for a client `here`: 0 for the same subzone, then the zone, the region, the
    /// region that comes next, and the others. `here_labels` and `there_labels` give the labels of both, those of the
    /// topology included.
    pub fn rank<'a>(
        &self,
        (here, there): (Locality<'_>, Locality<'_>),
        here_labels: impl Fn(&str) -> Option<&'a str>,
        there_labels: impl Fn(&str) -> Option<&'a str>,
    ) -> usize {
        let alike = |label: &&FailoverLabel| {
            let wanted = label.value.as_deref().or_else(|| here_labels(&label.key));
            wanted.unwrap_or_default() == there_labels(&label.key).unwrap_or_default()
        };
        let labels = self.failover_priority.len() - self.failover_priority.iter().take_while(alike).count();
        if !self.failover_priority.is_empty() && self.failover.is_empty() {
            return labels;
        }
        labels * 5 + self.distance(here, there)
    }

    fn distance(&self, here: Locality<'_>, there: Locality<'_>) -> usize {
        let anywhere_in_it = |locality: Locality<'_>, scope| match scope {
            Scope::Zone => locality.subzone.is_empty(),
            _ => locality.zone.is_empty() && locality.subzone.is_empty(),
        };
        // On which node it is makes no difference, whoever is near.
        match (Locality { node: "", ..here }).shared(there) {
            Some(Scope::Subzone | Scope::Node) => 0,
            // Places that are known by a wider name alone are one place to Istio, too.
            Some(scope) if anywhere_in_it(here, scope) && anywhere_in_it(there, scope) => 0,
            Some(Scope::Zone) => 1,
            Some(Scope::Region) => 2,
            None => match self.failover.get(here.region) {
                Some(next) if **next != *there.region => 4,
                _ => 3,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Locality<'_> {
        let mut parts = text.split('/');
        let mut next = || parts.next().unwrap_or_default();
        Locality { region: next(), zone: next(), subzone: next(), node: next() }
    }

    fn place(text: &str) -> Place {
        let mut parts = text.split('/').map(|part| Some(part).filter(|part| *part != "*").map(Arc::from));
        Place { region: parts.next().flatten(), zone: parts.next().flatten(), subzone: parts.next().flatten() }
    }

    #[test]
    fn a_place_covers_what_is_within_it() {
        for (wide, narrow, covers) in [
            ("*", "eu/a/1", true),
            ("eu", "eu/a/1", true),
            ("eu/*", "eu/a/1", true),
            ("eu/a", "eu/a/1", true),
            ("eu/a/1", "eu/a/1", true),
            ("eu/b", "eu/a/1", false),
            ("us", "eu/a/1", false),
            ("eu/a/2", "eu/a/1", false),
        ] {
            assert_eq!(place(wide).covers(at(narrow)), covers, "{wide} {narrow}");
            assert_eq!(place(wide).overlaps(&place(narrow)), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn the_nearest_come_first_then_the_region_that_comes_next() {
        let said = ByLocality { failover: BTreeMap::from([("eu".into(), "us".into())]), ..ByLocality::default() };
        for (here, there, plain, with_failover) in [
            ("eu/a/1/n", "eu/a/1/m", 0, 0),
            ("eu/a//n", "eu/a//m", 0, 0),
            ("eu/a//n", "eu/a//n", 0, 0),
            ("eu/a/1", "eu/a/2", 1, 1),
            ("eu/a/1", "eu/b/1", 2, 2),
            ("eu/a/1", "us/a/1", 3, 3),
            ("eu/a/1", "asia/a/1", 3, 4),
            ("us/a/1", "asia/a/1", 3, 3),
        ] {
            let rank = |by: &ByLocality| by.rank((at(here), at(there)), |_| None, |_| None);
            assert_eq!((rank(&ByLocality::default()), rank(&said)), (plain, with_failover), "{here} {there}");
        }
    }

    #[test]
    fn labels_that_are_alike_from_the_first_on_come_first() {
        let label = |key: &str, value: Option<&str>| FailoverLabel { key: key.into(), value: value.map(Arc::from) };
        let by = ByLocality {
            failover_priority: vec![label("network", None), label("version", Some("v2")), label("zone", None)],
            ..ByLocality::default()
        };
        for (there, expected) in [
            ([Some("n1"), Some("v2"), Some("a")], 0),
            ([Some("n1"), Some("v2"), Some("b")], 1),
            ([Some("n1"), Some("v1"), Some("a")], 2),
            ([Some("n2"), Some("v2"), Some("a")], 3),
            ([None, Some("v2"), Some("a")], 3),
        ] {
            let find = |labels: [Option<&'static str>; 3], key: &str| match key {
                "network" => labels[0],
                "version" => labels[1],
                _ => labels[2],
            };
            let here = [Some("n1"), Some("v1"), Some("a")];
            let rank = by.rank((at(""), at("")), |key| find(here, key), |key| find(there, key));
            assert_eq!(rank, expected, "{there:?}");
        }
    }
}
