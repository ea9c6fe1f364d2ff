//! A VirtualService as its author wrote it, checked and of types that hold no wrong value (Istio
//! `networking.istio.io` VirtualService). What a field means stands where it is evaluated.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::cors::Cors;
use super::fault::Fault;
use super::headers::Headers;
use super::host::Host;
use super::redirect::Redirect;
use super::request::{Arrival, Fields, Request};
use super::retry::Retries;
use super::rewrite::Rewrite;
use super::text::Text;
use super::visibility::Visibility;
use super::{Percent, RuleKey};
use crate::cidr::Cidr;
use crate::policy::ClaimPath;

/// A VirtualService.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualService {
    /// Its namespace and name.
    pub key: RuleKey,
    /// `metadata.creationTimestamp` (RFC 3339, UTC): of several for one host the oldest counts, one without a date being
    /// older than all.
    pub created: Option<Arc<str>>,
    /// `hosts`; empty for one that others delegate to.
    pub hosts: Vec<Host>,
    /// `gateways`: where it applies but for what a match says; the mesh if nothing is written.
    pub gateways: Vec<Gateway>,
    /// `exportTo`.
    pub visibility: Visibility,
    /// `http`, in order.
    pub http: Vec<Arc<HttpRoute>>,
    /// `tls`, in order.
    pub tls: Vec<StreamRoute>,
    /// `tcp`, in order.
    pub tcp: Vec<StreamRoute>,
}

/// Where routes apply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gateway {
    /// Between workloads: the reserved name `mesh`.
    Mesh,
    /// At this Gateway.
    Named(RuleKey),
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh"),
            Self::Named(key) => key.fmt(f),
        }
    }
}

impl Serialize for Gateway {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What every match may ask of an arrival: `gateways`, `port`, `sourceLabels`, `sourceNamespace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Where it applies; empty for where the VirtualService does.
    pub gateways: Vec<Gateway>,
    /// The port of the service that is addressed.
    pub port: Option<u16>,
    /// What the client's workload must be labelled with.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Which namespace the client's workload must be of.
    pub namespace: Option<Arc<str>>,
}

impl Source {
    /// True if `arrival` is what is asked, `gateways` being those of the VirtualService.
    #[must_use]
    pub fn admits(&self, gateways: &[Gateway], arrival: &Arrival<'_>) -> bool {
        let gateways = if self.gateways.is_empty() { gateways } else { &self.gateways };
        let labelled = |(key, value)| arrival.client.labels.and_then(|labels| labels.get(key)) == Some(value);
        gateways.contains(arrival.gateway)
            && self.port.is_none_or(|port| port == arrival.port)
            && self.namespace.as_ref().is_none_or(|namespace| arrival.client.namespace == Some(namespace))
            && self.labels.iter().all(labelled)
    }
}

/// A rule for requests (Istio `HTTPRoute`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpRoute {
    /// `name`, for the access log.
    pub name: Option<Arc<str>>,
    /// `match`: any of them has to; empty for every request.
    pub matches: Vec<HttpMatch>,
    /// What becomes of the request.
    pub action: HttpAction,
    /// `rewrite`.
    pub rewrite: Option<Rewrite>,
    /// `timeout`, for the request with its retries; none is no limit.
    pub timeout: Option<Duration>,
    /// `retries`; none for those of the mesh.
    pub retries: Option<Retries>,
    /// `fault`.
    pub fault: Option<Fault>,
    /// `mirror` and `mirrors`.
    pub mirrors: Vec<Mirror>,
    /// `corsPolicy`.
    pub cors: Option<Arc<Cors>>,
    /// `headers`.
    pub headers: Option<Headers>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HttpAction {
    /// `route`: it goes to one of these.
    Forward(Vec<Weighted>),
    /// `backendRefs` of which some cannot be had (Gateway API `HTTPRouteRule`): it goes to one of the others, or is answered.
    Partly(Partly),
    /// `redirect`: the client is told to go elsewhere.
    Redirect(Redirect),
    /// `directResponse`: it is answered.
    Respond(DirectResponse),
    /// `delegate`: the routes of this VirtualService say.
    Delegate(RuleKey),
}

/// Where requests go when a share of them cannot go anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partly {
    /// Where to.
    pub destinations: Vec<Weighted>,
    /// The weight of what cannot be had.
    pub lost: u32,
    /// What its share is answered.
    pub answer: DirectResponse,
}

/// A fixed answer (Istio `HTTPDirectResponse`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DirectResponse {
    /// The status.
    pub status: u16,
    /// The body; empty for none.
    pub body: Arc<[u8]>,
}

/// What a request has to be (Istio `HTTPMatchRequest`): all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HttpMatch {
    /// `name`, for the access log.
    pub name: Option<Arc<str>>,
    /// Where it arrived, and from whom.
    pub source: Source,
    /// The path, without the query.
    pub uri: Option<Text>,
    /// The case of the path makes no difference, but to a regex.
    pub ignore_uri_case: bool,
    /// The scheme.
    pub scheme: Option<Text>,
    /// The method.
    pub method: Option<Text>,
    /// The `:authority`.
    pub authority: Option<Text>,
    /// Header fields, by name in lower case.
    pub headers: BTreeMap<Arc<str>, Text>,
    /// What header fields must not be; one that is missing is empty, unless all that is asked is whether it is there.
    pub without_headers: BTreeMap<Arc<str>, Text>,
    /// Claims of the request's token, of which one text has to be so.
    pub claims: BTreeMap<ClaimPath, Text>,
    /// What no text of a claim must be.
    pub without_claims: BTreeMap<ClaimPath, Text>,
    /// Query parameters, by name.
    pub parameters: BTreeMap<Arc<str>, Text>,
}

impl HttpMatch {
    /// True if `request` is what is described, `gateways` being those of the VirtualService.
    #[must_use]
    pub fn matches<F: Fields + ?Sized>(&self, gateways: &[Gateway], request: &Request<'_, F>) -> bool {
        let is = |text: &Option<Text>, value: &str| text.as_ref().is_none_or(|text| text.matches(value.as_bytes()));
        self.source.admits(gateways, &request.arrival)
            && self.matches_path(request.bare_path().as_bytes())
            && is(&self.method, request.method)
            && is(&self.scheme, request.scheme)
            && is(&self.authority, request.authority)
            && self.headers.iter().all(|(name, text)| has(request, name, text))
            && !self.without_headers.iter().any(|(name, text)| has_or_is_empty(request, name, text))
            && self.claims.iter().all(|(path, text)| claims(request, path, text))
            && !self.without_claims.iter().any(|(path, text)| claims(request, path, text))
            && self
                .parameters
                .iter()
                .all(|(name, text)| request.parameter(name).is_some_and(|value| text.matches(value.as_bytes())))
    }

    fn matches_path(&self, path: &[u8]) -> bool {
        let uri = self.uri.as_ref();
        uri.is_none_or(|uri| if self.ignore_uri_case { uri.matches_any_case(path) } else { uri.matches(path) })
    }
}

fn has<F: Fields + ?Sized>(request: &Request<'_, F>, name: &str, text: &Text) -> bool {
    super::request::field(request.fields, name).is_some_and(|value| text.matches(&value))
}

fn claims<F: ?Sized>(request: &Request<'_, F>, path: &ClaimPath, text: &Text) -> bool {
    let texts = request.claims.map(|claims| claims.claim(path)).unwrap_or_default();
    texts.iter().any(|claim| text.matches(claim.as_bytes()))
}

fn has_or_is_empty<F: Fields + ?Sized>(request: &Request<'_, F>, name: &str, text: &Text) -> bool {
    match text {
        Text::Present => has(request, name, text),
        _ => text.matches(&super::request::field(request.fields, name).unwrap_or_default()),
    }
}

/// Where a request or connection goes (Istio `Destination`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Destination {
    /// The service's host.
    pub host: Host,
    /// One of the subsets that the host's DestinationRule has.
    pub subset: Option<Arc<str>>,
    /// The service's port; none for the one that was addressed.
    pub port: Option<u16>,
}

/// A destination and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weighted {
    /// Where to.
    pub destination: Destination,
    /// Its share of the sum of all weights. Where it is the only destination, all go there.
    pub weight: u32,
    /// What is done to the headers of what goes there.
    pub headers: Headers,
}

/// Who gets a copy of a request (Istio `HTTPMirrorPolicy`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// Where to.
    pub destination: Destination,
    /// Of how many requests.
    pub share: Percent,
}

/// A rule for connections (Istio `TCPRoute`, `TLSRoute`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamRoute {
    /// `match`: any of them has to; empty for every connection.
    pub matches: Vec<StreamMatch>,
    /// `route`: where they go.
    pub destinations: Vec<Weighted>,
}

/// What a connection has to be (Istio `L4MatchAttributes`, `TLSMatchAttributes`): all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamMatch {
    /// Where it arrived, and from whom.
    pub source: Source,
    /// The ranges of which the address that was dialled must be in one.
    pub destination_subnets: Vec<Cidr>,
    /// The range that the client's address must be in.
    pub source_subnet: Option<Cidr>,
    /// What the TLS client says it wants to reach; empty if that makes no difference.
    pub sni_hosts: Vec<Host>,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Where it arrived, and from whom.
    pub arrival: Arrival<'a>,
    /// The address that the client dialled.
    pub destination: IpAddr,
    /// The client's address.
    pub source: IpAddr,
    /// What a TLS client says it wants to reach (RFC 6066 section 3); none where it says nothing, or speaks no TLS.
    pub sni: Option<&'a str>,
}

impl StreamMatch {
    /// True if `flow` is what is described, `gateways` being those of the VirtualService.
    #[must_use]
    pub fn matches(&self, gateways: &[Gateway], flow: &Flow<'_>) -> bool {
        let within = |ranges: &[Cidr], ip| ranges.is_empty() || ranges.iter().any(|range| range.contains(ip));
        let wanted = |name| self.sni_hosts.iter().any(|host| host.covers(name));
        self.source.admits(gateways, &flow.arrival)
            && within(&self.destination_subnets, flow.destination)
            && self.source_subnet.is_none_or(|range| range.contains(flow.source))
            && (self.sni_hosts.is_empty() || flow.sni.is_some_and(wanted))
    }
}
