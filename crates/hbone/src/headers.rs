//! What travels in the headers of a CONNECT (features.md E-04 to E-06), byte for byte as Istio writes it. Reading is
//! tolerant: what cannot be understood is as if it had not been sent.

mod baggage;
mod forwarded;
mod refused_by;
mod traceparent;

pub use baggage::{Baggage, WorkloadKind};
pub use forwarded::Forwarded;
pub use refused_by::RefusedBy;
pub use traceparent::Traceparent;

/// Who the client workload is ([`Baggage`]).
pub const BAGGAGE: &str = "baggage";
/// Where the connection came from and which service it dialled ([`Forwarded`]).
pub const FORWARDED: &str = "forwarded";
/// The trace that the connection belongs to ([`Traceparent`]).
pub const TRACEPARENT: &str = "traceparent";
/// The network that an inner CONNECT of double HBONE came from.
pub const X_FORWARDED_NETWORK: &str = "x-forwarded-network";
/// What kind of proxy sent a CONNECT to an east-west gateway.
pub const X_ISTIO_SOURCE: &str = "x-istio-source";
/// Why an Ambit refused a CONNECT: a code of docs/reasons.
pub const X_AMBIT_REASON: &str = "x-ambit-reason";
/// Which policy refused it ([`RefusedBy`]).
pub const X_AMBIT_POLICY: &str = "x-ambit-policy";
/// Which subset of a service an Ambit's gateway asks its waypoint for.
pub const X_AMBIT_SUBSET: &str = "x-ambit-subset";
