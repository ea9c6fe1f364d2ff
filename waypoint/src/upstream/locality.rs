//! Which endpoints come first for a client, by where both are (Istio `LocalityLoadBalancerSetting`, Kubernetes
//! `trafficDistribution`; Envoy, "Priority levels" and "Locality weighted load balancing"). Which one of those that are
//! equally near it is, is for the balancer.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::destination::{ByLocality, Place};
use ambit_model::{Distribution, Locality, Workload};

use super::balance::{Draws, Group, Terms};
use super::cluster::{Host, Settings};

/// A tier takes all that comes to it while `1 / OVERPROVISIONED` of it is healthy (Envoy, "overprovisioning factor").
const OVERPROVISIONED: f64 = 1.4;

/// The endpoints as one client sees them.
#[derive(Debug)]
pub(super) struct View {
    /// What of the client made it.
    made_for: Vec<Box<str>>,
    /// The nearest first.
    tiers: Vec<Vec<(f64, Group)>>,
}

impl View {
    /// That of `client`, of `hosts`, ascending by address.
    pub(super) fn new(hosts: &[Arc<Host>], settings: &Settings, client: Option<&Workload>) -> Self {
        let group = |hosts: Vec<Arc<Host>>| Group::new(hosts, &settings.balancer.balance);
        let made_for = facets(settings, client).map(Box::from).collect();
        let here = client.map(Workload::locality).unwrap_or_default();
        let shares = weighed(settings).and_then(|by| by.shares(here));
        if let Some(shares) = shares {
            let part = |(place, share): &(Place, u32)| {
                let within = hosts.iter().filter(|host| place.covers(host.endpoint.locality())).cloned();
                (f64::from(*share), group(within.collect()))
            };
            let parts = shares.iter().map(part).filter(|(_, group)| !group.hosts().is_empty());
            return Self { made_for, tiers: vec![parts.collect()] };
        }
        let mut tiers: BTreeMap<usize, Vec<Arc<Host>>> = BTreeMap::new();
        for host in hosts {
            if let Some(rank) = rank(settings, client, here, host) {
                tiers.entry(rank).or_default().push(host.clone());
            }
        }
        Self { made_for, tiers: tiers.into_values().map(|hosts| vec![(1.0, group(hosts))]).collect() }
    }

    /// True if not everybody sees the endpoints alike.
    pub(super) fn depends_on_place(settings: &Settings) -> bool {
        facets(settings, None).next().is_some()
    }

    /// True if it is `client`'s, too.
    pub(super) fn is_for(&self, settings: &Settings, client: Option<&Workload>) -> bool {
        self.made_for.iter().map(|facet| &**facet).eq(facets(settings, client))
    }

    /// The next endpoint; none if every one is passed over. Without `ejections`, none is known to be ejected.
    pub(super) fn next(&self, terms: &Terms<'_>, draw: u64, ejections: bool) -> Option<&Arc<Host>> {
        // What has the same key keeps to one place, too.
        let mut draws = Draws::new(terms.hash.unwrap_or(draw));
        let healthy = |group: &Group| if ejections { healthy(group.hosts()) } else { 1.0 };
        let first = self.tier(&mut draws, healthy);
        let others = (0..self.tiers.len()).filter(|tier| *tier != first);
        std::iter::once(first).chain(others).find_map(|tier| {
            let groups = self.tiers.get(tier)?;
            let weight = |(share, group): &(f64, Group)| share * (healthy(group) * OVERPROVISIONED).min(1.0);
            let first = drawn(groups.iter().map(weight), &mut draws);
            let others = (0..groups.len()).filter(|group| *group != first);
            let mut order = std::iter::once(first).chain(others).filter_map(|group| groups.get(group));
            order.find_map(|(_, group)| group.next(terms, &mut draws))
        })
    }

    /// The nearest tier, as far as it is healthy enough to take what comes to it; then the next.
    fn tier(&self, draws: &mut Draws, healthy: impl Fn(&Group) -> f64) -> usize {
        if self.tiers.len() < 2 {
            return 0;
        }
        let size = |tier: &[(f64, Group)]| tier.iter().map(|(_, group)| group.hosts().len()).sum::<usize>();
        let health = |tier: &Vec<(f64, Group)>| {
            #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 endpoints")]
            let of = |(_, group): &(f64, Group)| healthy(group) * group.hosts().len() as f64 / size(tier) as f64;
            (tier.iter().map(of).sum::<f64>() * OVERPROVISIONED).min(1.0)
        };
        let total: f64 = self.tiers.iter().map(health).sum::<f64>().min(1.0);
        let mut left = 1.0;
        let load = |tier| {
            let load = (health(tier) / total).min(left);
            left -= load;
            load
        };
        let loads: Vec<f64> = self.tiers.iter().map(load).collect();
        drawn(loads.iter().copied(), draws)
    }
}

/// How much of them is not ejected, from 0 to 1.
fn healthy(hosts: &[Arc<Host>]) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 endpoints")]
    let part = |count: usize| count as f64 / hosts.len().max(1) as f64;
    part(hosts.iter().filter(|host| !host.is_ejected()).count())
}

/// The place of the weight that a random number falls on; the first if there is none.
fn drawn(weights: impl Iterator<Item = f64> + Clone, draws: &mut Draws) -> usize {
    let mut left = draws.unit() * weights.clone().sum::<f64>();
    let mut beyond = weights.map(|weight| {
        left -= weight;
        left < 0.0
    });
    beyond.position(|reached| reached).unwrap_or_default()
}

/// How late `host` comes for `client`, who is `here`; none if it does not at all.
fn rank(settings: &Settings, client: Option<&Workload>, here: Locality<'_>, host: &Host) -> Option<usize> {
    let there = host.endpoint.locality();
    let shared = here.shared(there);
    match settings.distribution {
        Distribution::Only(scope) => (shared >= Some(scope)).then_some(0),
        // The narrower, the nearer: what is nearest is to be first.
        Distribution::Prefer(scope) => {
            Some(shared.min(Some(scope)).map_or(usize::MAX, |shared| usize::MAX - 1 - shared as usize))
        }
        Distribution::Anywhere => {
            let Some(by) = failing_over(settings) else { return Some(0) };
            let far = host.endpoint.workload.as_deref();
            Some(by.rank((here, there), |key| label(here, client, key), |key| label(there, far, key)))
        }
    }
}

/// `distribute` counts unless the service itself says where its connections go.
fn weighed(settings: &Settings) -> Option<&ByLocality> {
    let by = settings.balancer.locality.as_ref().filter(|by| !by.distribute.is_empty())?;
    (settings.distribution == Distribution::Anywhere).then_some(by)
}

/// The nearest come first only if it is looked at which endpoints are healthy: the rest would never get anything.
fn failing_over(settings: &Settings) -> Option<&ByLocality> {
    let by = settings.balancer.locality.as_ref().filter(|by| by.distribute.is_empty())?;
    settings.outliers.as_ref().map(|_| by)
}

/// All of a client that a view depends on.
fn facets<'a>(settings: &'a Settings, client: Option<&'a Workload>) -> impl Iterator<Item = &'a str> {
    let here = client.map(Workload::locality).unwrap_or_default();
    let by = weighed(settings).or_else(|| failing_over(settings));
    let said = settings.distribution != Distribution::Anywhere;
    let place = [here.region, here.zone, here.subzone].into_iter().filter(move |_| said || by.is_some());
    let node = said.then_some(here.node);
    let labels = by.filter(|_| !said).into_iter().flat_map(|by| &by.failover_priority);
    let labels = labels.map(move |one| label(here, client, &one.key).unwrap_or_default());
    place.chain(node).chain(labels)
}

/// The label `key` of what is `there`, its pod being `workload` where it is one: what its topology says comes first.
fn label<'a>(there: Locality<'a>, workload: Option<&'a Workload>, key: &str) -> Option<&'a str> {
    let own = || workload.and_then(|workload| workload.labels.get(key)).map(|value| &**value);
    let known = |value: &'a str| Some(value).filter(|value| !value.is_empty()).or_else(own);
    match key {
        "topology.kubernetes.io/region" => known(there.region),
        "topology.kubernetes.io/zone" => known(there.zone),
        "topology.istio.io/subzone" => known(there.subzone),
        "topology.istio.io/cluster" => known(workload.map_or("", |workload| &workload.cluster)),
        "kubernetes.io/hostname" => known(there.node),
        _ => own(),
    }
}

#[cfg(test)]
mod tests;
