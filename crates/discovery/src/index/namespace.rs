//! One namespace: its pods, services and EndpointSlices, and who belongs to whom. Nothing of this crosses namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_api::resource::{DataplaneMode, EndpointSlice, Pod, Service};
use ambit_model::{self as model, Distribution};

use super::endpoints::{Candidate, join};
use super::release;

/// A label: key and value.
type Label = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Namespace {
    /// What the namespace's label asks for.
    pub(super) mode: Option<DataplaneMode>,
    /// What the namespace's annotation asks for.
    pub(super) distribution: Option<Distribution>,
    /// By name.
    pub(super) pods: BTreeMap<Arc<str>, Arc<Pod>>,
    services: BTreeMap<Arc<str>, Selecting>,
    slices: BTreeMap<Arc<str>, Arc<EndpointSlice>>,
    /// The names of the slices of a service, whether that is known or not.
    slices_by_service: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The names of the services by the first label of their selectors: a pod is selected by none but those that its
    /// own labels lead to.
    services_by_label: BTreeMap<Label, BTreeSet<Arc<str>>>,
}

/// A service and the pods that it selects.
#[derive(Debug)]
struct Selecting {
    service: Arc<Service>,
    pods: BTreeSet<Arc<str>>,
}

impl Namespace {
    /// True if nothing is known of it.
    pub(super) fn is_empty(&self) -> bool {
        let bare = self.mode.is_none() && self.distribution.is_none();
        bare && self.pods.is_empty() && self.services.is_empty() && self.slices.is_empty()
    }

    /// Adds, replaces or removes the pod `name`. Returns the pod that it was, and the services that selected it or do.
    pub(super) fn set_pod(&mut self, name: &Arc<str>, pod: Option<Arc<Pod>>) -> (Option<Arc<Pod>>, BTreeSet<Arc<str>>) {
        let mut affected = BTreeSet::new();
        let old = self.pods.remove(name);
        if let Some(old) = &old {
            for service in self.selectors_of(old) {
                self.services.get_mut(&service).map(|selecting| selecting.pods.remove(name));
                affected.insert(service);
            }
        }
        if let Some(new) = pod {
            for service in self.selectors_of(&new) {
                self.services.get_mut(&service).map(|selecting| selecting.pods.insert(name.clone()));
                affected.insert(service);
            }
            self.pods.insert(name.clone(), new);
        }
        (old, affected)
    }

    /// Adds, replaces or removes the service `name`.
    pub(super) fn set_service(&mut self, name: &Arc<str>, service: Option<Arc<Service>>) {
        if let Some(old) = self.services.remove(name)
            && let Some(label) = first_label(&old.service)
        {
            release(&mut self.services_by_label, &label, name);
        }
        let Some(service) = service else { return };
        let selected = self.pods.iter().filter(|(_, pod)| selects(&service, pod));
        let pods = selected.map(|(name, _)| name.clone()).collect();
        if let Some(label) = first_label(&service) {
            self.services_by_label.entry(label).or_default().insert(name.clone());
        }
        self.services.insert(name.clone(), Selecting { service, pods });
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

    /// The service `name` with its endpoints: those of its slices, and where it has none, those of its pods.
    pub(super) fn join_service(&self, name: &str) -> Option<model::Service> {
        let Selecting { service, pods } = self.services.get(name)?;
        let Some(slices) = self.slices_by_service.get(name) else {
            let pods: Vec<_> = pods.iter().filter_map(|pod| self.pods.get(pod)).collect();
            return Some(join(service, self.distribution, |port| {
                pods.iter().filter_map(|pod| Candidate::of_pod(pod, port)).collect()
            }));
        };
        let slices = slices.iter().filter_map(|slice| self.slices.get(slice));
        let all: Vec<_> =
            slices.flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (slice, endpoint))).collect();
        Some(join(service, self.distribution, |port| {
            all.iter().filter_map(|(slice, endpoint)| Candidate::of_slice(slice, endpoint, port)).collect()
        }))
    }

    /// The names of the services that have the namespace's distribution.
    pub(super) fn inheriting(&self) -> impl Iterator<Item = &Arc<str>> {
        let all = self.services.iter();
        all.filter(|(_, selecting)| selecting.service.distribution.is_none()).map(|(name, _)| name)
    }

    /// The names of the services that select `pod`.
    fn selectors_of(&self, pod: &Pod) -> Vec<Arc<str>> {
        let labels = pod.workload.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        let candidates = labels.filter_map(|label| self.services_by_label.get(&label)).flatten();
        let selecting = |name: &&Arc<str>| self.services.get(*name).is_some_and(|s| selects(&s.service, pod));
        candidates.filter(selecting).cloned().collect()
    }
}

fn first_label(service: &Service) -> Option<Label> {
    service.selector.first_key_value().map(|(key, value)| (key.clone(), value.clone()))
}

/// A service without selector selects no pod.
fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = &pod.workload.labels;
    !service.selector.is_empty() && service.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
