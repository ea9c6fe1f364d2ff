//! How pods are introduced to one another: the headers of the CONNECT that carries a connection, and of its answer.

use std::net::SocketAddr;

use ambit_hbone::ConnectRequest;
use ambit_hbone::headers::{Baggage, Forwarded, Traceparent, WorkloadKind};
use ambit_model::{Service, Workload};

/// The CONNECT that asks for `asked`, an address of `service` or of a pod that it stands for, on behalf of `source`'s
/// connection from `client`.
pub(crate) fn request(
    source: Option<&Workload>,
    client: SocketAddr,
    service: Option<&Service>,
    asked: SocketAddr,
) -> ConnectRequest {
    ConnectRequest {
        baggage: source.map(baggage),
        forwarded: Some(Forwarded { client: Some(client), host: service.map(|service| service.hostname.to_string()) }),
        traceparent: Some(Traceparent::new(rand::random())),
        ..ConnectRequest::to(asked.to_string())
    }
}

/// What `workload` says of itself.
pub(crate) fn baggage(workload: &Workload) -> Baggage {
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let (kind, name) = match &*workload.owner.kind {
        "deployment" => (WorkloadKind::Deployment, &workload.owner.name),
        "job" => (WorkloadKind::Job, &workload.owner.name),
        "cronjob" => (WorkloadKind::CronJob, &workload.owner.name),
        _ => (WorkloadKind::Pod, &workload.name),
    };
    Baggage {
        cluster: text(&workload.cluster),
        namespace: text(&workload.namespace),
        workload: Some((kind, name.to_string())),
        service: text(&workload.canonical_name),
        version: text(&workload.canonical_revision),
        region: text(&workload.region),
        zone: text(&workload.zone),
    }
}

#[cfg(test)]
mod tests;
