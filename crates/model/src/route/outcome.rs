//! What becomes of a request: the route that it matched, made into what a proxy does. Total and deterministic.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::Fields;
use super::cors::Cors;
use super::draw::{Chance, Draw};
use super::fault::Injected;
use super::headers::{HeaderOperations, Headers};
use super::request::Request;
use super::retry::Retries;
use super::virtual_service::{Destination, DirectResponse, HttpAction, HttpMatch, HttpRoute, Weighted};

/// What becomes of a request.
#[derive(Debug, PartialEq)]
pub enum Outcome<'a> {
    /// No VirtualService says: it goes where it was addressed to.
    Unrouted,
    /// There are routes and none matches: 404.
    NoRoute,
    /// A route matches.
    Matched(Box<Matched<'a>>),
}

/// A route that a request matched.
#[derive(Debug, PartialEq)]
pub struct Matched<'a> {
    /// The route's name and its match's, with a dot between them; empty where neither has one.
    pub name: Cow<'a, str>,
    /// What is done.
    pub action: Action<'a>,
    /// What CORS says of the request, to be asked before anything else is done.
    pub cors: Option<&'a Cors>,
    /// What is done to the fields of the response, in order; also to that of a redirect.
    pub response_headers: Vec<&'a HeaderOperations>,
}

/// What a route does with a request.
#[derive(Debug, PartialEq)]
pub enum Action<'a> {
    /// It goes on.
    Forward(Forward<'a>),
    /// The client is told to go elsewhere.
    Redirect {
        /// The status.
        code: u16,
        /// The field `location`.
        location: String,
    },
    /// It is answered.
    Respond(&'a DirectResponse),
}

/// How a request goes on.
#[derive(Debug, PartialEq)]
pub struct Forward<'a> {
    /// What is injected before it does.
    pub fault: Injected,
    /// Where to.
    pub destination: &'a Destination,
    /// The path and query that it has from here on.
    pub path: Cow<'a, str>,
    /// The authority that it has from here on, if another one.
    pub authority: Option<&'a str>,
    /// What is done to its fields, in order.
    pub request_headers: Vec<&'a HeaderOperations>,
    /// How long it may take, its retries included, from the moment when it is forwarded; none is no limit.
    pub timeout: Option<Duration>,
    /// When it is tried again.
    pub retries: &'a Retries,
    /// Who else gets a copy.
    pub mirrors: Vec<&'a Destination>,
}

impl<'a> Forward<'a> {
    /// How a request for `path` goes on to `destination` of which no route says anything.
    #[must_use]
    pub fn unrouted(destination: &'a Destination, path: &'a str) -> Self {
        Self {
            fault: Injected::default(),
            destination,
            path: Cow::Borrowed(path),
            authority: None,
            request_headers: Vec::new(),
            timeout: None,
            retries: &MESH_RETRIES,
            mirrors: Vec::new(),
        }
    }
}

/// For routes that say nothing of retries.
static MESH_RETRIES: LazyLock<Retries> = LazyLock::new(Retries::default);

/// What `route` makes of `request`, which matched it by `block`.
pub(super) fn outcome<'a, F: Fields + ?Sized>(
    route: &'a HttpRoute,
    block: Option<&'a HttpMatch>,
    request: &Request<'a, F>,
    draw: Draw,
) -> Outcome<'a> {
    let route_headers = route.headers.as_ref();
    let mut response_headers: Vec<_> = route_headers.map(|headers| &headers.response).into_iter().collect();
    let action = match &route.action {
        HttpAction::Redirect(redirect) => {
            Action::Redirect { code: redirect.code, location: redirect.location(request, block) }
        }
        HttpAction::Respond(response) => Action::Respond(response),
        HttpAction::Forward(destinations) => {
            let Some(chosen) = chosen(destinations, draw) else { return Outcome::NoRoute };
            response_headers.insert(0, &chosen.headers.response);
            Action::Forward(forward(route, block, chosen, (request, draw)))
        }
        // Who merges routes leaves none of these.
        HttpAction::Delegate(_) => return Outcome::NoRoute,
    };
    Outcome::Matched(Box::new(Matched {
        name: name(route.name.as_ref(), block.and_then(|block| block.name.as_ref())),
        action,
        cors: route.cors.as_deref(),
        response_headers,
    }))
}

fn forward<'a, F: Fields + ?Sized>(
    route: &'a HttpRoute,
    block: Option<&'a HttpMatch>,
    chosen: &'a Weighted,
    (request, draw): (&Request<'a, F>, Draw),
) -> Forward<'a> {
    let rewrite = route.rewrite.as_ref();
    let headers = route.headers.as_ref();
    let authority = |headers: &'a Headers| headers.authority.as_deref();
    let rewritten = || rewrite.and_then(|rewrite| rewrite.authority.as_deref());
    let mirrors =
        (0..).zip(&route.mirrors).filter(|(place, mirror)| draw.falls_in(Chance::Mirror(*place), mirror.share));
    Forward {
        fault: route.fault.as_ref().map(|fault| fault.drawn(draw)).unwrap_or_default(),
        destination: &chosen.destination,
        path: rewrite.map_or(Cow::Borrowed(request.path), |rewrite| rewrite.path(request, block)),
        authority: authority(&chosen.headers).or_else(|| headers.and_then(authority)).or_else(rewritten),
        request_headers: [Some(&chosen.headers), headers].into_iter().flatten().map(|all| &all.request).collect(),
        timeout: route.timeout,
        retries: route.retries.as_ref().unwrap_or(&MESH_RETRIES),
        mirrors: mirrors.map(|(_, mirror)| &mirror.destination).collect(),
    }
}

/// One of `destinations`, by their weights.
pub(super) fn chosen(destinations: &[Weighted], draw: Draw) -> Option<&Weighted> {
    if let [only] = destinations {
        return Some(only);
    }
    let sum: u64 = destinations.iter().map(|one| u64::from(one.weight)).sum();
    let mut left = draw.below(Chance::Destination, sum);
    destinations.iter().filter(|one| one.weight > 0).find(|one| {
        let within = left < u64::from(one.weight);
        left = left.saturating_sub(one.weight.into());
        within
    })
}

fn name<'a>(route: Option<&'a Arc<str>>, block: Option<&'a Arc<str>>) -> Cow<'a, str> {
    match (route, block) {
        (Some(route), Some(block)) => Cow::Owned(format!("{route}.{block}")),
        (route, block) => Cow::Borrowed(route.or(block).map_or("", |name| name)),
    }
}
