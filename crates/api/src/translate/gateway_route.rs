//! HTTPRoutes, GRPCRoutes and ReferenceGrants (Gateway API, GEP-1426): what each says by itself. Whether parents and backends
//! are there, and may be named, is for whoever knows all objects.

mod backend;
mod filter;
mod matching;

use std::sync::Arc;
use std::time::Duration;

use ambit_model::Mesh;
use ambit_model::policy::PolicyKey;
use ambit_model::route::{DirectResponse, HttpAction, HttpMatch, HttpRoute, Precedence, Retries, RouteId, RouteKind};

use super::duration;
use super::reach::Home;
use super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;
use crate::object::gateway_route::{GrpcRule, HttpRule, ReferenceGrant, Retry, RouteSpec, Timeouts};
use crate::object::{self, ObjectMeta};
use crate::resource::{self, Backend, Granted, Grantee, Resource, Route, RouteAction, RouteRule};

/// The API group of routes and Gateways.
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// A rule as it is read, before its matches and its action are put together.
struct Said<'a> {
    path: &'a str,
    /// What the access log calls it.
    name: Arc<str>,
    matches: Vec<(Precedence, HttpMatch)>,
    filters: filter::Filters,
    backends: Vec<Backend>,
    /// What is answered where there is no backend.
    unavailable: u16,
}

pub(super) fn http(route: &object::HttpRoute, id: &ObjectRef, mesh: &Mesh, findings: &mut Findings) -> Resource {
    let home = Home { id, mesh };
    // A route without rules has one for every request, as the API server writes it.
    let every = [HttpRule::default()];
    let rules = if route.spec.rules.is_empty() { &every[..] } else { &route.spec.rules };
    let rules = rules.iter().enumerate();
    let rules = rules.map(|(place, rule)| http_rule(rule, place, home, findings)).collect();
    finished(RouteKind::Http, (&route.metadata, &route.spec), rules, home, findings)
}

pub(super) fn grpc(route: &object::GrpcRoute, id: &ObjectRef, mesh: &Mesh, findings: &mut Findings) -> Resource {
    let home = Home { id, mesh };
    let rules = route.spec.rules.iter().enumerate();
    let rules = rules.map(|(place, rule)| grpc_rule(rule, place, home, findings)).collect();
    finished(RouteKind::Grpc, (&route.metadata, &route.spec), rules, home, findings)
}

fn finished<R>(
    kind: RouteKind,
    (metadata, spec): (&ObjectMeta, &RouteSpec<R>),
    rules: Vec<RouteRule>,
    home: Home<'_>,
    findings: &mut Findings,
) -> Resource {
    refuse_unknown(&spec.unknown, "spec", findings);
    if !spec.hostnames.is_empty() {
        let message = "is for gateways: of a service every request is taken, whatever host it names (GEP-1426)";
        findings.remark(Severity::Notice, "spec.hostnames", message);
    }
    let parents = spec.parent_refs.iter().enumerate();
    let parents = parents
        .filter_map(|(place, parent)| backend::parent(parent, format!("spec.parentRefs[{place}]"), home, findings));
    let parents = parents.collect();
    let key = PolicyKey { namespace: home.id.namespace.clone(), name: home.id.name.clone() };
    let created = metadata.creation_timestamp.as_deref().map(Arc::from);
    Resource::Route(Arc::new(Route { id: RouteId { kind, key }, created, parents, rules }))
}

fn http_rule(rule: &HttpRule, place: usize, home: Home<'_>, findings: &mut Findings) -> RouteRule {
    let path = &format!("spec.rules[{place}]");
    refuse_unknown(&rule.unknown, path, findings);
    remark_on_persistence(rule.session_persistence.is_some(), path, findings);
    let every = [object::gateway_route::HttpMatch::default()];
    let matches = if rule.matches.is_empty() { &every[..] } else { &rule.matches };
    let matches = matches.iter().enumerate();
    let matches = matches.map(|(place, block)| matching::http(block, &format!("{path}.matches[{place}]"), findings));
    let matches: Vec<_> = matches.map(|block| (Precedence::http(&block), block)).collect();
    let filters = filter::read(RouteKind::Http, &rule.filters, path, home, findings);
    if filters.takes_a_prefix && !matches.iter().all(|(_, block)| matching::is_by_prefix(block)) {
        findings.error(format_args!("{path}.filters"), "ReplacePrefixMatch takes matches of the type PathPrefix alone");
    }
    let backends = backend::backends(RouteKind::Http, &rule.backend_refs, path, home, findings);
    if filters.redirect.is_some() && !rule.backend_refs.is_empty() {
        findings.error(format_args!("{path}.backendRefs"), "stands beside a RequestRedirect: write one of them");
    }
    let name = rule_name(rule.name.as_deref(), place, home);
    let mut read = put_together(Said { path, name, matches, filters, backends, unavailable: 500 }, findings);
    let limits = rule.timeouts.as_ref().map(|one| timeouts(one, &format!("{path}.timeouts"), findings));
    let (request, each) = limits.unwrap_or_default();
    let retries = rule.retry.as_ref().map(|one| retries(one, &format!("{path}.retry"), findings));
    read.rest.timeout = request;
    read.rest.retries = match (retries, each) {
        (None, None) => None,
        (retries, each) => Some(Retries { per_try_timeout: each, ..retries.unwrap_or_default() }),
    };
    read
}

fn grpc_rule(rule: &GrpcRule, place: usize, home: Home<'_>, findings: &mut Findings) -> RouteRule {
    let path = &format!("spec.rules[{place}]");
    refuse_unknown(&rule.unknown, path, findings);
    remark_on_persistence(rule.session_persistence.is_some(), path, findings);
    let every = [object::gateway_route::GrpcMatch::default()];
    let matches = if rule.matches.is_empty() { &every[..] } else { &rule.matches };
    let matches = matches.iter().enumerate();
    let matches = matches.map(|(place, block)| matching::grpc(block, &format!("{path}.matches[{place}]"), findings));
    let matches = matches.collect();
    let filters = filter::read(RouteKind::Grpc, &rule.filters, path, home, findings);
    let backends = backend::backends(RouteKind::Grpc, &rule.backend_refs, path, home, findings);
    let name = rule_name(rule.name.as_deref(), place, home);
    // 503 is what gRPC calls UNAVAILABLE, as `GRPCRouteRule.backendRefs` asks for.
    put_together(Said { path, name, matches, filters, backends, unavailable: 503 }, findings)
}

/// What a rule is called: as Istio calls it where it has no name of its own.
fn rule_name(name: Option<&str>, place: usize, home: Home<'_>) -> Arc<str> {
    let own = || format!("{}.{}.{place}", home.id.namespace, home.id.name);
    name.map_or_else(|| Arc::from(own()), Arc::from)
}

fn put_together(said: Said<'_>, findings: &mut Findings) -> RouteRule {
    let Said { path, name, matches, filters, backends, unavailable } = said;
    let unavailable = DirectResponse { status: unavailable, body: Arc::default() };
    let action = match filters.redirect {
        _ if filters.unsupported => RouteAction::Settled(HttpAction::Respond(unavailable.clone())),
        Some(redirect) => RouteAction::Settled(HttpAction::Redirect(redirect)),
        None => {
            if backends.iter().all(|backend| backend.weight == 0) {
                let message = format!("leads nowhere: what matches is answered {}", unavailable.status);
                findings.remark(Severity::Warning, format_args!("{path}.backendRefs"), message);
            }
            RouteAction::Backends(backends)
        }
    };
    let rest = HttpRoute {
        name: Some(name),
        matches: Vec::new(),
        action: HttpAction::Forward(Vec::new()),
        rewrite: filters.rewrite,
        timeout: None,
        retries: None,
        fault: None,
        mirrors: Vec::new(),
        cors: filters.cors.map(Arc::new),
        headers: filters.headers,
    };
    RouteRule { matches, action, mirrors: filters.mirrors, rest, unavailable }
}

fn remark_on_persistence(written: bool, path: &str, findings: &mut Findings) {
    if written {
        let message =
            "is not in effect in this version: a client's requests go to whichever endpoint is chosen for each";
        findings.remark(Severity::Warning, format_args!("{path}.sessionPersistence"), message);
    }
}

/// How long the request may take, and how long each try; none is no limit, which is what 0 means.
fn timeouts(timeouts: &Timeouts, path: &str, findings: &mut Findings) -> (Option<Duration>, Option<Duration>) {
    refuse_unknown(&timeouts.unknown, path, findings);
    let mut limit = |field: &str, text: &Option<String>| {
        let read =
            duration::optional(format_args!("{path}.{field}"), text.as_ref(), duration::of_gateway_api, findings);
        read.filter(|limit| !limit.is_zero())
    };
    let (request, each) = (limit("request", &timeouts.request), limit("backendRequest", &timeouts.backend_request));
    if request.zip(each).is_some_and(|(request, each)| each > request) {
        findings.error(format_args!("{path}.backendRequest"), "is longer than request, which it is a part of");
    }
    (request, each)
}

fn retries(retry: &Retry, path: &str, findings: &mut Findings) -> Retries {
    refuse_unknown(&retry.unknown, path, findings);
    // What is tried again whatever is written: what never began to be processed.
    let mut retries = Retries::default();
    for (place, code) in retry.codes.iter().enumerate() {
        let status = u16::try_from(*code).ok().filter(|status| (400..=599).contains(status));
        let status = status.ok_or_else(|| format!("{code} is no status for this: write 400 to 599"));
        retries.retry_on.statuses.extend(findings.take(format_args!("{path}.codes[{place}]"), status));
    }
    if let Some(attempts) = retry.attempts {
        let attempts = u32::try_from(attempts).map_err(|_| format!("{attempts} is no number of attempts"));
        retries.attempts = findings.take(format_args!("{path}.attempts"), attempts).unwrap_or_default();
    }
    let backoff =
        duration::optional(format_args!("{path}.backoff"), retry.backoff.as_ref(), duration::of_gateway_api, findings);
    retries.backoff = backoff.unwrap_or(retries.backoff);
    retries
}

/// A ReferenceGrant, as far as it is about routes and Services.
pub(super) fn reference_grant(grant: &ReferenceGrant, id: &ObjectRef, findings: &mut Findings) -> Resource {
    refuse_unknown(&grant.spec.unknown, "spec", findings);
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for (place, one) in grant.spec.from.iter().enumerate() {
        let path = format!("spec.from[{place}]");
        refuse_unknown(&one.unknown, &path, findings);
        findings.take(format_args!("{path}.namespace"), name::label(&one.namespace));
        let kind = match (one.group.as_str(), one.kind.as_str()) {
            (GATEWAY_GROUP, "HTTPRoute") => RouteKind::Http,
            (GATEWAY_GROUP, "GRPCRoute") => RouteKind::Grpc,
            // For others to read.
            _ => continue,
        };
        from.push(Grantee { kind, namespace: Arc::from(one.namespace.as_str()) });
    }
    for (place, one) in grant.spec.to.iter().enumerate() {
        refuse_unknown(&one.unknown, format_args!("spec.to[{place}]"), findings);
        if one.group.is_empty() && one.kind == "Service" {
            to.push(Granted { name: one.name.as_deref().filter(|name| !name.is_empty()).map(Arc::from) });
        }
    }
    let key = PolicyKey { namespace: id.namespace.clone(), name: id.name.clone() };
    Resource::ReferenceGrant(Arc::new(resource::ReferenceGrant { key, from, to }))
}
