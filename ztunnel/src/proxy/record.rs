//! What is recorded of a connection: who is at its ends, by which service, and how it is protected.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ambit_hbone::headers::Baggage;
use ambit_model::{Authority, Identity, Service, Snapshot, Traffic, Upstream, Workload, ports};
use ambit_telemetry::{Derived, Ends, Live, Meter, Opened, Outcome, Party, Refused, Reporter, Security};

use super::failure::Failure;
use super::pod::Pod;

/// The records of one connection: one, or where this proxy stands at both ends, one for each.
pub(crate) struct Lives {
    first: Live,
    second: Option<Live>,
}

impl Lives {
    /// Where the connection's bytes are counted.
    pub(crate) fn traffic(&self) -> &Traffic {
        self.first.traffic()
    }

    /// Records how the connection ended.
    pub(crate) fn close(self, outcome: Result<(), Failure>) {
        let outcome = match outcome {
            Ok(()) => Outcome::Ok,
            Err(failure) => {
                let (reason, detail) = failure.told();
                Outcome::Failed { reason, detail }
            }
        };
        if let Some(second) = self.second {
            second.close(outcome.clone());
        }
        self.first.close(outcome);
    }
}

impl From<Live> for Lives {
    fn from(first: Live) -> Self {
        Self { first, second: None }
    }
}

/// Records the connections that `pod` opens.
pub(crate) struct Outbound<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) pod: &'a Pod,
    pub(crate) client: SocketAddr,
    pub(crate) dialled: SocketAddr,
    pub(crate) start: Instant,
}

impl Outbound<'_> {
    /// Carried to `to` by this proxy alone, which records both ends.
    pub(crate) fn local(&self, to: &Upstream) -> Lives {
        let first = self.meter.open(self.opened(to, to.address, self.secured()));
        let mut twin = first.opened().clone();
        twin.ends.reporter = Reporter::Destination;
        let second = self.meter.open_twin(&first, twin);
        Lives { first, second: Some(second) }
    }

    /// Carried by HBONE to `peer`, an address of `to`, which is asked for `asked`.
    pub(crate) fn tunnel(&self, to: &Upstream, peer: SocketAddr, asked: SocketAddr) -> Lives {
        let hbone = Some(Authority::Address(asked));
        self.meter.open(Opened { hbone, ..self.opened(to, peer, self.secured()) }).into()
    }

    /// Connected in clear to `to`.
    pub(crate) fn passthrough(&self, to: &Upstream) -> Lives {
        self.meter.open(self.opened(to, to.address, Security::Unknown)).into()
    }

    /// Refused before an upstream was chosen.
    pub(crate) fn refused(&self) -> Lives {
        let service = self.snapshot.service_dialled(self.dialled.ip(), &self.pod.identity.namespace).cloned();
        let to = Upstream::new(self.dialled, None, service);
        self.meter.open(self.opened(&to, self.dialled, Security::Unknown)).into()
    }

    fn opened(&self, to: &Upstream, destination: SocketAddr, security: Security) -> Opened {
        let source = self.snapshot.workload(&self.pod.uid).cloned();
        let source = source.map_or_else(|| Party::identity(self.pod.identity.clone()), Party::Workload);
        let destination_party = to.workload.clone().map(Party::Workload);
        let ends = Ends {
            reporter: Reporter::Source,
            source,
            destination: destination_party.unwrap_or_else(|| stranger(self.snapshot, to.address)),
            service: to.service.clone(),
            security,
        };
        Opened { ends, client: self.client, destination, hbone: None, start: self.start }
    }

    fn secured(&self) -> Security {
        Security::MutualTls { client: self.pod.identity.clone() }
    }
}

/// Records the connections that reach `pod` from elsewhere.
pub(crate) struct Inbound<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) pod: &'a Pod,
    pub(crate) peer: SocketAddr,
    pub(crate) start: Instant,
}

impl Inbound<'_> {
    /// Brought by HBONE to the pod's address `dialled`, from a peer that proved to be `identity` and says of itself what
    /// `baggage` holds.
    pub(crate) fn hbone(
        &self,
        (identity, baggage): (&Identity, Option<&Baggage>),
        dialled: IpAddr,
        authority: Authority,
        service: Option<Arc<Service>>,
    ) -> Lives {
        let source = self.proven(identity, baggage);
        let security = Security::MutualTls { client: identity.clone() };
        let ends = self.ends(source, service, security);
        let (destination, hbone) = (SocketAddr::new(dialled, ports::HBONE), Some(authority));
        self.meter.open(Opened { ends, client: self.peer, destination, hbone, start: self.start }).into()
    }

    /// Come in clear.
    pub(crate) fn plaintext(&self, destination: SocketAddr, service: Option<Arc<Service>>) -> Lives {
        let source = self.snapshot.workload_at(self.peer.ip()).cloned().map(Party::Workload);
        let source = source.unwrap_or_else(|| stranger(self.snapshot, self.peer));
        let ends = self.ends(source, service, Security::Unknown);
        self.meter.open(Opened { ends, client: self.peer, destination, hbone: None, start: self.start }).into()
    }

    /// A peer that was refused before it asked for anything.
    pub(crate) fn refused(&self, failure: Failure) {
        let destination = self.pod.addresses.first().map(|ip| SocketAddr::new(*ip, ports::HBONE));
        let (reason, detail) = failure.told();
        self.meter.fail_early(Refused {
            reporter: Reporter::Destination,
            client: self.peer,
            destination: destination.unwrap_or(self.peer),
            reason,
            detail,
        });
    }

    fn ends(&self, source: Party, service: Option<Arc<Service>>, security: Security) -> Ends {
        let destination = self.snapshot.workload(&self.pod.uid).cloned();
        let destination = destination.map_or_else(|| Party::identity(self.pod.identity.clone()), Party::Workload);
        Ends { reporter: Reporter::Destination, source, destination, service, security }
    }

    /// The workload at the peer's address if its identity is the one proven; otherwise what the peer says of itself,
    /// its namespace excepted, which the identity settles.
    fn proven(&self, identity: &Identity, baggage: Option<&Baggage>) -> Party {
        let trust = &self.snapshot.mesh.trust_domains;
        let known = |workload: &&Arc<Workload>| trust.same(&workload.identity, identity);
        // While the address changes hands, the identity tells which of the pods that claim it this is.
        if let Some(workload) = self.snapshot.claimants_of(self.peer.ip()).find(known) {
            return Party::Workload(workload.clone());
        }
        let Some(baggage) = baggage else { return Party::identity(identity.clone()) };
        let text = |value: &Option<String>| value.as_deref().map(Arc::from);
        Party::Derived(Arc::new(Derived {
            workload: baggage.workload.as_ref().map(|(_, name)| Arc::from(name.as_str())),
            namespace: Some(identity.namespace.clone()),
            app: text(&baggage.service),
            revision: text(&baggage.version),
            cluster: text(&baggage.cluster),
            region: text(&baggage.region),
            zone: text(&baggage.zone),
            identity: Some(identity.clone()),
        }))
    }
}

/// An end that is no pod: a node, or somebody outside.
fn stranger(snapshot: &Snapshot, address: SocketAddr) -> Party {
    snapshot.node_at(address.ip()).map_or_else(Party::unknown, |node| Party::node(node))
}

#[cfg(test)]
mod tests;
