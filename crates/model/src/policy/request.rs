//! May this request, or connection, pass a waypoint or a gateway? Asks the policies that are attached to it, its class or
//! the service, and at a gateway those for its own pod. Policies for other pods are not asked here: the pod's own node does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Denial;
use super::access::Client;
use super::case::Case;
use super::index::Effects;
use super::rule::Policy;
use super::seen::{Of, Seen};
use super::target::Addressed;
use super::token::Claims;
use crate::route::Fields;
use crate::snapshot::Snapshot;

/// The status of the answer to a request that policy refuses (RFC 9110 section 15.5.4).
pub const DENIED_STATUS: u16 = 403;
/// The body of that answer, as Envoy writes it.
pub const DENIED_BODY: &str = "RBAC: access denied";
/// The `grpc-status` of that answer to a gRPC call: PERMISSION_DENIED.
pub const DENIED_GRPC_STATUS: u8 = 7;

/// Who wants what of a service at a waypoint. `F` holds the header fields.
#[derive(Debug)]
pub struct RequestAccess<'a, F: ?Sized> {
    /// Who: at a waypoint the peer's address and the identity that its certificate proved.
    pub client: &'a Client,
    /// The address that the request was first sent from, where somebody who is believed has said it (`Forwarded`,
    /// `X-Forwarded-For`); none if it is the client's own.
    pub remote: Option<IpAddr>,
    /// The service's address and port that were dialled.
    pub destination: SocketAddr,
    /// The server name of the client's own TLS within the tunnel; none without such.
    pub sni: Option<&'a str>,
    /// What is asked; none of a connection that is not HTTP.
    pub head: Option<Head<'a, F>>,
}

/// The head of a request.
#[derive(Debug)]
pub struct Head<'a, F: ?Sized> {
    /// Its method, such as `GET`.
    pub method: &'a str,
    /// Its `:authority`, or `Host`.
    pub authority: &'a str,
    /// Its `:path` with the query, as [`crate::route::normalize`] has left it and as it is forwarded.
    pub path: &'a str,
    /// What its token says, if it has one that was verified.
    pub claims: Option<&'a Claims>,
    /// Its header fields.
    pub fields: &'a F,
}

// Not derived, which would ask as much of `F`.
impl<F: ?Sized> Clone for RequestAccess<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for RequestAccess<'_, F> {}

impl<F: ?Sized> Clone for Head<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for Head<'_, F> {}

/// May `request` pass where it is `addressed`? Total and deterministic; at most one policy is named.
///
/// # Errors
/// The policy that refuses it.
pub fn evaluate_request<F: Fields + ?Sized>(
    snapshot: &Snapshot,
    addressed: &Addressed,
    request: &RequestAccess<'_, F>,
) -> Result<(), Denial> {
    judge(snapshot, addressed, request, Effects::are_in_force, |case| case.verdict()).unwrap_or(Ok(()))
}

/// The policies on trial, AUDIT or dry run, that have something to say of `request`: each with the rule that matches for
/// sure, none being an ALLOW that no rule of it admits.
pub fn rehearse_request<F: Fields + ?Sized>(
    snapshot: &Snapshot,
    addressed: &Addressed,
    request: &RequestAccess<'_, F>,
) -> Vec<(Arc<Policy>, Option<usize>)> {
    judge(snapshot, addressed, request, Effects::are_on_trial, |case| case.rehearsal()).unwrap_or_default()
}

/// What `say` says of the case, if a policy that `matters` has to do with it.
fn judge<F: Fields + ?Sized, T>(
    snapshot: &Snapshot,
    addressed: &Addressed,
    request: &RequestAccess<'_, F>,
    matters: fn(&Effects) -> bool,
    say: fn(&Case<'_>) -> T,
) -> Option<T> {
    let policies = &snapshot.policies;
    let of_pod = addressed.pod().into_iter().flat_map(|pod| policies.authorizing(pod).map(move |of| (of, Some(pod))));
    let applying = policies.attached(addressed).map(|effects| (effects, None)).chain(of_pod);
    let applying: Vec<_> = applying.filter(|(effects, _)| matters(effects)).collect();
    if applying.is_empty() {
        return None;
    }
    // Without a head nobody asks for a field of it.
    let none: &[(&str, &str)] = &[];
    let (of, empty) = (request.head.map(|head| Of(head.fields)), Of(none));
    let seen = match &of {
        Some(fields) => Seen::of_request(snapshot, request, fields),
        None => Seen::of_request(snapshot, request, &empty),
    };
    Some(say(&Case::new(applying, seen)))
}
