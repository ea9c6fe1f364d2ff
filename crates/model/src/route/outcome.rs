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
use super::text::Text;
use super::virtual_service::{Destination, DirectResponse, HttpAction, HttpMatch, HttpRoute, Partly, Weighted};

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
    /// What its match asks of the path.
    pub asked: Option<&'a Text>,
    /// What the rules are called that it goes by, where they name several destinations.
    pub among: Option<&'a str>,
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
            asked: None,
            among: None,
        }
    }

    /// What the request is called by who traces it (Envoy, `x-envoy-decorator-operation`, as Istio's routes have it): where it
    /// goes, or of several destinations the name of the rules; the port, or that which was `addressed`; and what its match asks
    /// of the path.
    #[must_use]
    pub fn operation(&self, addressed: u16) -> String {
        let Destination { host, port, .. } = self.destination;
        let name = self.among.unwrap_or_else(|| host.as_str());
        let port = port.unwrap_or(addressed);
        match self.asked {
            None | Some(Text::Present) => format!("{name}:{port}/*"),
            Some(Text::Exact(path)) => format!("{name}:{port}{path}"),
            Some(Text::Prefix(prefix)) => format!("{name}:{port}{prefix}*"),
            Some(Text::Elements(prefix)) => format!("{name}:{port}{prefix}/*"),
            Some(Text::Regex(regex)) => format!("{name}:{port}{}", regex.as_str()),
        }
    }
}

/// For routes that say nothing of retries.
static MESH_RETRIES: LazyLock<Retries> = LazyLock::new(Retries::default);

/// What `route`, of rules that are called `of`, makes of `request`, which matched it by `block`.
pub(super) fn outcome<'a, F: Fields + ?Sized>(
    (of, route): (&'a str, &'a HttpRoute),
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
            Action::Forward(forward((of, route), block, chosen, (request, draw)))
        }
        HttpAction::Partly(partly) => match chosen_or_lost(partly, draw) {
            Some(chosen) => {
                response_headers.insert(0, &chosen.headers.response);
                Action::Forward(forward((of, route), block, chosen, (request, draw)))
            }
            None => Action::Respond(&partly.answer),
        },
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
    (of, route): (&'a str, &'a HttpRoute),
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
        asked: block.and_then(|block| block.uri.as_ref()),
        among: leads_to_several(&route.action).then_some(of),
    }
}

fn leads_to_several(action: &HttpAction) -> bool {
    match action {
        HttpAction::Forward(destinations) => destinations.len() > 1,
        HttpAction::Partly(_) => true,
        _ => false,
    }
}

/// One of `destinations`, by their weights.
pub(super) fn chosen(destinations: &[Weighted], draw: Draw) -> Option<&Weighted> {
    if let [only] = destinations {
        return Some(only);
    }
    at(destinations, draw.below(Chance::Destination, sum_of(destinations)))
}

/// The same where a share of them cannot be had, for which it is none.
fn chosen_or_lost(partly: &Partly, draw: Draw) -> Option<&Weighted> {
    let sum = sum_of(&partly.destinations).saturating_add(partly.lost.into());
    at(&partly.destinations, draw.below(Chance::Destination, sum))
}

fn sum_of(destinations: &[Weighted]) -> u64 {
    destinations.iter().map(|one| u64::from(one.weight)).sum()
}

/// The one that `left` falls to of the numbers below the sum of the weights.
fn at(destinations: &[Weighted], mut left: u64) -> Option<&Weighted> {
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
