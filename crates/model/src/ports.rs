//! The mesh's ports, as Istio numbers them (Istio ztunnel ARCHITECTURE.md, "Ports").

/// Outbound capture, in the pod's network namespace.
pub const OUTBOUND: u16 = 15001;
/// Inbound plaintext, in the pod's network namespace.
pub const INBOUND_PLAINTEXT: u16 = 15006;
/// Inbound HBONE: mutual TLS with HTTP/2 CONNECT inside.
pub const HBONE: u16 = 15008;
/// DNS answered in the pod's network namespace.
pub const DNS: u16 = 15053;
/// SOCKS5 outbound.
pub const SOCKS5: u16 = 15080;
/// Admin interface, on localhost of the node.
pub const ADMIN: u16 = 15000;
/// Prometheus metrics, on the node.
pub const METRICS: u16 = 15020;
/// Readiness (`/healthz/ready`), on the node.
pub const READINESS: u16 = 15021;

/// True for a port that the proxy itself serves in a pod: a connection relayed to it would come back to the proxy.
#[must_use]
pub const fn is_own(port: u16) -> bool {
    matches!(port, OUTBOUND | INBOUND_PLAINTEXT | HBONE | DNS | SOCKS5)
}
