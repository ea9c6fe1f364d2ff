//! How pods are introduced to one another: the headers of the CONNECT that carries a connection, and of its answer.

use std::net::SocketAddr;

use ambit_hbone::ConnectRequest;
use ambit_hbone::headers::{Baggage, Forwarded, Traceparent, WorkloadKind};
use ambit_model::{Upstream, Workload};

/// The CONNECT that asks `to`'s proxy for `to`, on behalf of `source`'s connection from `client`.
pub(crate) fn request(source: Option<&Workload>, client: SocketAddr, to: &Upstream) -> ConnectRequest {
    ConnectRequest {
        baggage: source.map(baggage),
        forwarded: Some(Forwarded {
            client: Some(client),
            host: to.service.as_ref().map(|service| service.hostname.to_string()),
        }),
        traceparent: Some(Traceparent::new(rand::random())),
        ..ConnectRequest::to(to.address.to_string())
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
