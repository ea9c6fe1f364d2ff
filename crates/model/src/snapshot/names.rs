//! What a DNS name means to a client in the mesh: the addresses of the service that it names, and the names that it is an
//! alias of. It knows the names of services and of the pods of StatefulSets, no query and no server.

use std::net::IpAddr;
use std::sync::Arc;

use super::Snapshot;
use crate::service::Service;
use crate::workload::WorkloadUid;

/// More aliases of aliases than this are taken for a circle.
const ALIASES: usize = 8;

/// What the mesh knows of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// What the name is an alias of, what that is one of, and so on: the last is the name that has the addresses. Of a
    /// name with addresses of its own, none.
    pub aliases: Vec<Arc<str>>,
    /// The addresses, of both families, ascending. `None` if the last alias is a name that the mesh does not know.
    pub addresses: Option<Vec<IpAddr>>,
}

/// What a service makes of its host.
enum Meaning {
    Addresses(Vec<IpAddr>),
    Alias(Arc<str>),
    /// Somebody else has to say.
    Unknown,
}

impl Snapshot {
    /// What `name` (lower case, without the last dot) means to clients in `namespace`. `None` if the mesh does not know,
    /// and whoever was asked has to say.
    ///
    /// A name may be short as Kubernetes shortens them: `<service>`, `<service>.<namespace>`, `<service>.<namespace>.svc`,
    /// each with `<pod>.` before it for a StatefulSet's pod. What a name is an alias of is never short.
    /// A host of several services is that of the client's namespace first; of wildcards (`*.example.com`) the closest,
    /// and one without addresses hides a wider one.
    #[must_use]
    pub fn resolve(&self, namespace: &str, name: &str) -> Option<Resolved> {
        let mut aliases = Vec::new();
        let mut meaning = self.spellings(namespace, name).iter().find_map(|name| self.meaning(namespace, name))?;
        loop {
            match meaning {
                Meaning::Addresses(addresses) => return Some(Resolved { aliases, addresses: Some(addresses) }),
                Meaning::Alias(target) if aliases.len() < ALIASES => {
                    meaning = self.meaning(namespace, &target).unwrap_or(Meaning::Unknown);
                    aliases.push(target);
                }
                Meaning::Alias(_) => return None,
                Meaning::Unknown => return (!aliases.is_empty()).then_some(Resolved { aliases, addresses: None }),
            }
        }
    }

    /// What the full name `name` means by itself.
    fn meaning(&self, namespace: &str, name: &str) -> Option<Meaning> {
        let exact = self.host(namespace, name);
        let exact = exact.or_else(|| self.stateful_pod(namespace, name).map(Meaning::Addresses));
        exact.or_else(|| parents(name).find_map(|parent| self.host(namespace, &format!("*.{parent}"))))
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

    /// What the services of `hostname` make of it; `None` if there are none.
    fn host(&self, namespace: &str, hostname: &str) -> Option<Meaning> {
        let meanings = self.named(namespace, hostname).map(|service| (service, meaning(service)));
        let rank = |service: &Service, meaning: &Meaning| {
            (matches!(meaning, Meaning::Unknown), &*service.key.namespace != namespace)
        };
        meanings.min_by_key(|(service, meaning)| rank(service, meaning)).map(|(_, meaning)| meaning)
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
        let headless = self.named(namespace, hostname).filter(|service| service.vips.is_empty());
        let strange = |service: &Arc<Service>| &*service.key.namespace != namespace;
        let service = headless.min_by_key(|service| strange(service))?;
        Some(of_service(service)).filter(|addresses| !addresses.is_empty())
    }

    /// The services of `hostname` that clients of `namespace` see, ascending by key.
    pub(crate) fn named(&self, namespace: &str, hostname: &str) -> impl Iterator<Item = &Arc<Service>> {
        let keys = self.services_by_hostname.get(hostname).into_iter().flatten();
        keys.filter_map(|key| self.services.get(key)).filter(move |service| service.visibility.admits(namespace))
    }
}

/// The service's own addresses; of a headless one its endpoints'. Nothing is known of the endpoints of a Service without
/// a TCP port, and a ServiceEntry without addresses is dialled by what its host really has.
fn meaning(service: &Service) -> Meaning {
    if let Some(target) = &service.alias {
        return Meaning::Alias(target.clone());
    }
    if !service.vips.is_empty() {
        return Meaning::Addresses(distinct(service.vips.iter().map(IpAddr::to_canonical)));
    }
    if service.key.host.is_some() || service.ports.is_empty() {
        return Meaning::Unknown;
    }
    let targets = service.ports.iter().flat_map(|port| &port.targets);
    Meaning::Addresses(distinct(targets.map(|target| target.address.ip())))
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
