//! One namespace: its pods, services, EndpointSlices and entries, and who belongs to whom. Nothing of this crosses namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ambit_api::resource::{DataplaneMode, EndpointSlice, Pod, Service, WaypointWish, WorkloadEntry};
use ambit_model::{self as model, Distribution, ServiceKey};

use super::endpoints::{Candidate, Surroundings, join};
use super::release;

/// A label: key and value.
type Label = (Arc<str>, Arc<str>);
pub(super) type Labels = BTreeMap<Arc<str>, Arc<str>>;

#[derive(Debug, Default)]
pub(super) struct Namespace {
    /// What the namespace's label asks for.
    pub(super) mode: Option<DataplaneMode>,
    /// What the namespace's annotation asks for.
    pub(super) distribution: Option<Distribution>,
    /// What the namespace's labels ask for.
    pub(super) waypoint: Option<WaypointWish>,
    /// What the namespace's label says of gateways, which may go past waypoints.
    pub(super) passed_by_gateways: Option<bool>,
    /// The namespace's labels; none before it is known.
    pub(super) labels: Labels,
    /// By name.
    pub(super) pods: BTreeMap<Arc<str>, Arc<Pod>>,
    services: BTreeMap<ServiceKey, Selecting>,
    /// The hosts of every ServiceEntry, by its name.
    hosts: BTreeMap<Arc<str>, BTreeSet<ServiceKey>>,
    /// By name.
    workload_entries: BTreeMap<Arc<str>, Arc<WorkloadEntry>>,
    slices: BTreeMap<Arc<str>, Arc<EndpointSlice>>,
    /// The names of the slices of a service, whether that is known or not.
    slices_by_service: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The services by the first label of their selectors: a pod is selected by none but those that its own labels lead
    /// to.
    services_by_label: BTreeMap<Label, BTreeSet<ServiceKey>>,
}

/// A service and whom it selects, by their names.
#[derive(Debug)]
struct Selecting {
    service: Arc<Service>,
    pods: BTreeSet<Arc<str>>,
    workload_entries: BTreeSet<Arc<str>>,
}

impl Namespace {
    /// True if nothing is known of it.
    pub(super) fn is_empty(&self) -> bool {
        let bare = self.mode.is_none() && self.distribution.is_none() && !self.is_labelled();
        let settled = self.pods.is_empty() && self.services.is_empty() && self.slices.is_empty();
        bare && settled && self.hosts.is_empty() && self.workload_entries.is_empty()
    }

    /// True if its object is known, which has its name for a label at least.
    pub(super) fn is_labelled(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Adds, replaces or removes the pod `name`. Returns the pod that it was, and the services that selected it or do.
    pub(super) fn set_pod(
        &mut self,
        name: &Arc<str>,
        pod: Option<Arc<Pod>>,
    ) -> (Option<Arc<Pod>>, BTreeSet<ServiceKey>) {
        let mut affected = BTreeSet::new();
        let old = self.pods.remove(name);
        if let Some(old) = &old {
            for service in self.selectors_of(&old.workload.labels) {
                self.services.get_mut(&service).map(|selecting| selecting.pods.remove(name));
                affected.insert(service);
            }
        }
        if let Some(new) = pod {
            for service in self.selectors_of(&new.workload.labels) {
                self.services.get_mut(&service).map(|selecting| selecting.pods.insert(name.clone()));
                affected.insert(service);
            }
            self.pods.insert(name.clone(), new);
        }
        (old, affected)
    }

    /// Adds, replaces or removes the WorkloadEntry `name`. Returns the services that selected it or do.
    pub(super) fn set_workload_entry(
        &mut self,
        name: &Arc<str>,
        entry: Option<Arc<WorkloadEntry>>,
    ) -> BTreeSet<ServiceKey> {
        let mut affected = BTreeSet::new();
        if let Some(old) = self.workload_entries.remove(name) {
            for service in self.selectors_of(&old.labels) {
                self.services.get_mut(&service).map(|selecting| selecting.workload_entries.remove(name));
                affected.insert(service);
            }
        }
        if let Some(new) = entry {
            for service in self.selectors_of(&new.labels) {
                self.services.get_mut(&service).map(|selecting| selecting.workload_entries.insert(name.clone()));
                affected.insert(service);
            }
            self.workload_entries.insert(name.clone(), new);
        }
        affected
    }

    /// Adds, replaces or removes the service `key`. Returns what it was.
    pub(super) fn set_service(&mut self, key: &ServiceKey, service: Option<Arc<Service>>) -> Option<Arc<Service>> {
        let old = self.services.remove(key).map(|selecting| selecting.service);
        if let Some(label) = old.as_deref().and_then(first_label) {
            release(&mut self.services_by_label, &label, key);
        }
        let Some(service) = service else { return old };
        let pods = self.pods.iter().filter(|(_, pod)| selects(&service, &pod.workload.labels));
        let pods = pods.map(|(name, _)| name.clone()).collect();
        let entries = self.workload_entries.iter().filter(|(_, entry)| selects(&service, &entry.labels));
        let workload_entries = entries.map(|(name, _)| name.clone()).collect();
        if let Some(label) = first_label(&service) {
            self.services_by_label.entry(label).or_default().insert(key.clone());
        }
        self.services.insert(key.clone(), Selecting { service, pods, workload_entries });
        old
    }

    /// Says which `hosts` the ServiceEntry `name` has now, and returns those that it had and has no more.
    pub(super) fn set_hosts(&mut self, name: &Arc<str>, hosts: BTreeSet<ServiceKey>) -> BTreeSet<ServiceKey> {
        let old = self.hosts.remove(name).unwrap_or_default();
        let gone = old.difference(&hosts).cloned().collect();
        if !hosts.is_empty() {
            self.hosts.insert(name.clone(), hosts);
        }
        gone
    }

    /// The hosts of the ServiceEntry `name`, ascending.
    pub(super) fn hosts_of(&self, name: &str) -> impl Iterator<Item = &ServiceKey> {
        self.hosts.get(name).into_iter().flatten()
    }

    /// Adds, replaces or removes the slice `name`. Returns the services that it belonged to or does.
    pub(super) fn set_slice(&mut self, name: &Arc<str>, slice: Option<Arc<EndpointSlice>>) -> BTreeSet<Arc<str>> {
        let mut affected = BTreeSet::new();
        if let Some(old) = self.slices.remove(name) {
            release(&mut self.slices_by_service, &old.service, name);
            affected.insert(old.service.clone());
        }
        if let Some(new) = slice {
            self.slices_by_service.entry(new.service.clone()).or_default().insert(name.clone());
            affected.insert(new.service.clone());
            self.slices.insert(name.clone(), new);
        }
        affected
    }

    /// The service `key` with the addresses that it was `given` and its endpoints: a Service's are those of its slices;
    /// where it has none, and for a ServiceEntry, those that are written with it and those that it selects.
    pub(super) fn join_service(&self, key: &ServiceKey, given: Vec<IpAddr>) -> Option<model::Service> {
        let Selecting { service, pods, workload_entries } = self.services.get(key)?;
        let surroundings = Surroundings {
            given,
            inherited: self.distribution,
            waypoint: self.waypoint.clone(),
            passed_by_gateways: self.passed_by_gateways,
        };
        let Some(slices) = self.slices_by_service.get(&key.name).filter(|_| key.host.is_none()) else {
            let pods: Vec<_> = pods.iter().filter_map(|pod| self.pods.get(pod)).collect();
            let entries = workload_entries.iter().filter_map(|entry| self.workload_entries.get(entry));
            let written: Vec<_> = entries.map(|entry| &entry.endpoint).chain(&service.endpoints).collect();
            return Some(join(service, surroundings, |port| {
                let pods = pods.iter().filter_map(|pod| Candidate::of_pod(pod, port));
                pods.chain(written.iter().filter_map(|endpoint| Candidate::of_written(endpoint, port))).collect()
            }));
        };
        let slices = slices.iter().filter_map(|slice| self.slices.get(slice));
        let all: Vec<_> =
            slices.flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (slice, endpoint))).collect();
        Some(join(service, surroundings, |port| {
            all.iter().filter_map(|(slice, endpoint)| Candidate::of_slice(slice, endpoint, port)).collect()
        }))
    }

    /// The services that have the namespace's distribution.
    pub(super) fn inheriting(&self) -> impl Iterator<Item = &ServiceKey> {
        self.such(|service| service.distribution.is_none())
    }

    /// The services that have the namespace's waypoint.
    pub(super) fn inheriting_waypoint(&self) -> impl Iterator<Item = &ServiceKey> {
        self.such(|service| service.waypoint.is_none())
    }

    /// The services of which the namespace says whether gateways go past their waypoints.
    pub(super) fn inheriting_passage(&self) -> impl Iterator<Item = &ServiceKey> {
        self.such(|service| service.passed_by_gateways.is_none())
    }

    fn such(&self, wanted: impl Fn(&Service) -> bool) -> impl Iterator<Item = &ServiceKey> {
        self.services.iter().filter(move |(_, selecting)| wanted(&selecting.service)).map(|(key, _)| key)
    }

    /// The services that select what has `labels`.
    fn selectors_of(&self, labels: &Labels) -> Vec<ServiceKey> {
        let pairs = labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        let candidates = pairs.filter_map(|label| self.services_by_label.get(&label)).flatten();
        let selecting = |key: &&ServiceKey| self.services.get(*key).is_some_and(|s| selects(&s.service, labels));
        candidates.filter(selecting).cloned().collect()
    }
}

fn first_label(service: &Service) -> Option<Label> {
    service.selector.first_key_value().map(|(key, value)| (key.clone(), value.clone()))
}

/// A service without selector selects nothing.
fn selects(service: &Service, labels: &Labels) -> bool {
    !service.selector.is_empty() && service.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
