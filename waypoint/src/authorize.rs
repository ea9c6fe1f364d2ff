//! Whether a client may: AuthorizationPolicies that target the waypoint, the service or its class, asked of
//! `ambit_model::policy`. Knows no connection.

use ambit_model::{Reason, Snapshot};
use http::request;

use crate::arrival::Arrival;
use crate::http::{Asked, LocalAnswer};
use crate::proxy::Proxy;

/// May the client of `arrival` make this request?
///
/// # Errors
/// The answer that it gets instead.
pub(crate) fn request(
    _snapshot: &Snapshot,
    _proxy: &Proxy,
    _arrival: &Arrival,
    _head: &request::Parts,
    _asked: &Asked,
) -> Result<(), LocalAnswer> {
    Ok(())
}

/// May the client of `arrival` have this connection, which asks for `sni` if it is one of TLS?
///
/// # Errors
/// Why not, and by which policy.
pub(crate) fn stream(
    _snapshot: &Snapshot,
    _proxy: &Proxy,
    _arrival: &Arrival,
    _sni: Option<&str>,
) -> Result<(), (Reason, String)> {
    Ok(())
}

/// True if a policy asks for the name that TLS clients ask for.
pub(crate) fn asks_by_name(_snapshot: &Snapshot, _proxy: &Proxy, _arrival: &Arrival) -> bool {
    false
}
