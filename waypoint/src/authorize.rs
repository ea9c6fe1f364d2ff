//! Whether a client may: AuthorizationPolicies that target the waypoint, its class or the service, asked of
//! `ambit_model::policy`. Whoever may only be too early is held for a while. Knows no connection.

use std::sync::Arc;

use ambit_model::policy::{self, Client, Denial, RequestAccess};
use ambit_model::route::Fields;
use ambit_model::{Reason, Snapshot};
use ambit_telemetry::Trial;
use http::request;
use tokio::time::Instant;

use crate::arrival::Arrival;
use crate::http::{Asked, FieldsOf, LocalAnswer, forwarded_from};
use crate::proxy::Proxy;

/// May the client of `arrival` make this request? `snapshot` is replaced if it had to be waited for a newer one.
///
/// # Errors
/// The answer that it gets instead.
pub(crate) async fn request(
    proxy: &Proxy,
    snapshot: &mut Arc<Snapshot>,
    arrival: &Arrival,
    (head, asked): (&request::Parts, &Asked),
) -> Result<(), LocalAnswer> {
    if snapshot.policies.is_empty() {
        return Ok(());
    }
    let fields = FieldsOf(&head.headers);
    let trusted = proxy.shared.limits.trusted_proxies;
    let access = RequestAccess {
        remote: arrival.door().and_then(|_| forwarded_from(&head.headers, trusted)),
        head: Some(policy::Head {
            method: head.method.as_str(),
            authority: &asked.authority,
            path: &asked.path,
            claims: asked.claims.as_ref(),
            fields: &fields,
        }),
        ..access(arrival, None)
    };
    judge(proxy, snapshot, arrival, &access).await.map_err(|denial| LocalAnswer::denied(&denial))
}

/// May the client of `arrival` have this connection, which asks for `sni` if it is one of TLS?
///
/// # Errors
/// Why not, and by which policy.
pub(crate) async fn stream(
    proxy: &Proxy,
    snapshot: &mut Arc<Snapshot>,
    arrival: &Arrival,
    sni: Option<&str>,
) -> Result<(), (Reason, String)> {
    if snapshot.policies.is_empty() {
        return Ok(());
    }
    judge(proxy, snapshot, arrival, &access::<NoFields>(arrival, sni)).await.map_err(told)
}

/// May the client of `arrival` keep it, now that the mesh is as `snapshot` says?
///
/// # Errors
/// Why not, and by which policy.
pub(crate) fn still(snapshot: &Snapshot, arrival: &Arrival, sni: Option<&str>) -> Result<(), (Reason, String)> {
    policy::evaluate_request(snapshot, &arrival.policed, &access::<NoFields>(arrival, sni)).map_err(told)
}

/// True if some policy for what `arrival` asks for is there, which may ask for the name that TLS clients ask for.
pub(crate) fn asks_by_name(snapshot: &Snapshot, arrival: &Arrival) -> bool {
    arrival.policed.targets().iter().any(|target| snapshot.policies.targeting(target).next().is_some())
}

type NoFields = [(&'static str, &'static str)];

fn access<'a, F: ?Sized>(arrival: &'a Arrival, sni: Option<&'a str>) -> RequestAccess<'a, F> {
    let sni = sni.or_else(|| arrival.server_name());
    RequestAccess { client: &arrival.proven, remote: None, destination: arrival.dialled(), sni, head: None }
}

async fn judge<F: Fields + ?Sized>(
    proxy: &Proxy,
    snapshot: &mut Arc<Snapshot>,
    arrival: &Arrival,
    access: &RequestAccess<'_, F>,
) -> Result<(), Denial> {
    // For most there is nothing to wait for, nor a newer snapshot to ask for.
    if let Err(denial) = policy::evaluate_request(snapshot, &arrival.policed, access) {
        let until = Instant::now() + proxy.shared.limits.patience;
        let ask = |snapshot: &Arc<Snapshot>| policy::evaluate_request(snapshot, &arrival.policed, access);
        let early = |judged: &Result<(), Denial>| judged.as_ref().is_err_and(|denial| denial.early).then_some(until);
        if !denial.early {
            return Err(denial);
        }
        let (judged, newer) = proxy.shared.snapshots.answer(ask, early).await;
        *snapshot = newer;
        judged?;
    }
    for (policy, rule) in policy::rehearse_request(snapshot, &arrival.policed, access) {
        proxy.meter.on_trial(Trial::new(&policy, rule.is_some()));
        let (action, policy, client): (_, _, &Client) = (policy.action, &policy.key, &arrival.proven);
        let to = arrival.authority.as_ref().map_or_else(|| arrival.dialled().to_string(), ToString::to_string);
        tracing::info!(target: "trial", %policy, ?action, ?rule, ?client, to, "policy on trial");
    }
    Ok(())
}

fn told(denial: Denial) -> (Reason, String) {
    (denial.reason, denial.to_string())
}
