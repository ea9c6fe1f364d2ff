//! What a DNS name means to a client in the mesh: the addresses of the service that it names. It knows the names of
//! services and of the pods of StatefulSets, no query and no server.

use std::net::IpAddr;
use std::sync::Arc;

use super::Snapshot;
use crate::service::Service;
use crate::workload::WorkloadUid;

impl Snapshot {
    /// The addresses, of both families, that `name` (lower case, without the last dot) has for clients in `namespace`;
    /// none where it has no address now. `None` if the mesh does not know, and whoever was asked has to say.
    ///
    /// A name may be short as Kubernetes shortens them: `<service>`, `<service>.<namespace>`, `<service>.<namespace>.svc`,
    /// each with `<pod>.` before it for a StatefulSet's pod.
    /// A host of several services is that of the client's namespace first; of wildcards (`*.example.com`) the closest.
    #[must_use]
    pub fn resolve(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        self.spellings(namespace, name).iter().find_map(|name| {
            let exact = self.host(namespace, name).or_else(|| self.stateful_pod(namespace, name));
            exact.or_else(|| parents(name).find_map(|parent| self.host(namespace, &format!("*.{parent}"))))
        })
    }

    /// `name` itself, and the full names that it may be short for.
    fn spellings(&self, namespace: &str, name: &str) -> Vec<String> {
        let domain = &self.mesh.domain;
        let of_namespace = || format!("{name}.{namespace}.svc.{domain}");
        let labels: Vec<&str> = name.split('.').collect();
        let full = match labels.as_slice() {
            [_] => vec![of_namespace()],
            [_, _] => vec![format!("{name}.svc.{domain}"), of_namespace()],
            [_, _, "svc"] | [_, _, _, "svc"] => vec![format!("{name}.{domain}")],
            [_, _, _] => vec![format!("{name}.svc.{domain}")],
            _ => Vec::new(),
        };
        std::iter::once(name.to_owned()).chain(full).collect()
    }

    fn host(&self, namespace: &str, hostname: &str) -> Option<Vec<IpAddr>> {
        let known = self.named(hostname).filter_map(|service| Some((service, self.addresses(service)?)));
        let strange = |service: &Service| &*service.key.namespace != namespace;
        known.min_by_key(|(service, _)| strange(service)).map(|(_, addresses)| addresses)
    }

    /// `<pod>.<headless service>`: a StatefulSet names the pod's host after the pod.
    fn stateful_pod(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        let (pod, hostname) = name.split_once('.')?;
        let is_it = |uid: &WorkloadUid| {
            self.workload(uid).is_some_and(|workload| &*workload.name == pod && &*workload.owner.kind == "statefulset")
        };
        let of_service = |service: &Arc<Service>| -> Vec<IpAddr> {
            let targets = service.ports.iter().flat_map(|port| &port.targets);
            let its = targets.filter(|target| target.workload.as_ref().is_some_and(is_it));
            distinct(its.map(|target| target.address.ip()))
        };
        let headless = self.named(hostname).filter(|service| service.vips.is_empty());
        let strange = |service: &Arc<Service>| &*service.key.namespace != namespace;
        let service = headless.min_by_key(|service| strange(service))?;
        Some(of_service(service)).filter(|addresses| !addresses.is_empty())
    }

    fn named(&self, hostname: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.services_by_hostname.get(hostname).into_iter().flatten().filter_map(|key| self.services.get(key))
    }

    /// The service's own addresses; of a headless one its endpoints'. `None` for one that is neither, or of whose
    /// endpoints nothing is known, since it has no TCP port.
    fn addresses(&self, service: &Service) -> Option<Vec<IpAddr>> {
        if !service.vips.is_empty() {
            return Some(distinct(service.vips.iter().map(IpAddr::to_canonical)));
        }
        let in_cluster = service.hostname.strip_suffix(&*self.mesh.domain).is_some_and(|name| name.ends_with(".svc."));
        let targets = service.ports.iter().flat_map(|port| &port.targets);
        (in_cluster && !service.ports.is_empty()).then(|| distinct(targets.map(|target| target.address.ip())))
    }
}

/// What is left of `name` without its first label, without its first two, and so on.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.'), |(_, parent)| parent.split_once('.')).map(|(_, parent)| parent)
}

/// `addresses` ascending, each once.
fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests;
