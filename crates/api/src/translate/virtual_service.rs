//! A VirtualService: which hosts it is for and what becomes of their traffic (Istio "Virtual Service"). What it leads to is
//! for whoever knows all objects.

pub(super) mod headers;
mod http;
mod matching;
mod order;
mod resilience;

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::route::{Destination, Gateway, Headers, Host, Source, StreamRoute, VirtualService, Weighted};
use ambit_model::{Mesh, route::RuleKey};

use super::reach::Home;
use super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;
use crate::object::virtual_service as written;
use crate::resource::Resource;

pub(super) fn translate(
    service: &written::VirtualService,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Resource {
    let (spec, home) = (&service.spec, Home { id, mesh });
    refuse_unknown(&spec.unknown, "spec", findings);
    let mut gateways = matching::gateways(&spec.gateways, "spec.gateways", home, findings);
    if gateways.is_empty() {
        gateways.push(Gateway::Mesh);
    }
    let hosts = hosts(spec, &gateways, home, findings);
    let is_delegate = spec.hosts.is_empty();
    if is_delegate {
        for (field, written) in
            [("gateways", !spec.gateways.is_empty()), ("tls", !spec.tls.is_empty()), ("tcp", !spec.tcp.is_empty())]
        {
            if written {
                let message = "is not for a VirtualService that others delegate to: remove it, or write hosts";
                findings.error(format_args!("spec.{field}"), message);
            }
        }
    }
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        findings.error("spec", "says nothing of what becomes of the hosts' traffic: write http, tls or tcp");
    }
    let rules = spec.http.iter().enumerate();
    let http: Vec<_> = rules
        .map(|(place, rule)| Arc::new(http::route(rule, &format!("spec.http[{place}]"), home, is_delegate, findings)))
        .collect();
    let tls = streams(&spec.tls, "spec.tls", home, findings);
    let tcp = streams(&spec.tcp, "spec.tcp", home, findings);
    refuse_foreign_names(&tls, &hosts, findings);
    let visibility = home.visibility("spec.exportTo", &spec.export_to, findings);
    home.refuse_contradictions(&spec.export_to, false, findings);
    let created = service.metadata.creation_timestamp.as_deref().map(Arc::from);
    let key = RuleKey { namespace: id.namespace.clone(), name: id.name.clone() };
    let read = VirtualService { key, created, hosts, gateways, visibility, http, tls, tcp };
    order::remark(&read, findings);
    remark_on_sources(&read, findings);
    Resource::VirtualService(Arc::new(read))
}

/// The text, if there is one.
fn named(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| Arc::from(text))
}

fn hosts(
    spec: &written::VirtualServiceSpec,
    gateways: &[Gateway],
    home: Home<'_>,
    findings: &mut Findings,
) -> Vec<Host> {
    let in_mesh = gateways.contains(&Gateway::Mesh);
    let mut hosts: Vec<Host> = Vec::with_capacity(spec.hosts.len());
    for (place, text) in spec.hosts.iter().enumerate() {
        let path = format!("spec.hosts[{place}]");
        let host = home.host(&path, text, findings);
        if in_mesh && host.as_str() == "*" {
            findings.error(&path, "* would take every service of the mesh: write names, or gateways without mesh");
        }
        if let Some(other) = hosts.iter().find(|other| other.covers(host.as_str()) || host.covers(other.as_str())) {
            findings.error(&path, format!("{host} stands in the list already, as {other}: remove one of them"));
        }
        hosts.push(host);
    }
    hosts
}

/// Where requests or connections go.
fn destinations(
    routes: &[written::RouteDestination],
    path: &str,
    home: Home<'_>,
    findings: &mut Findings,
) -> Vec<Weighted> {
    let mut read = Vec::with_capacity(routes.len());
    for (place, one) in routes.iter().enumerate() {
        let path = format!("{path}.route[{place}]");
        refuse_unknown(&one.unknown, &path, findings);
        let weight = u32::try_from(one.weight).map_err(|_| format!("{} is no weight: 0 or more are", one.weight));
        let weight = findings.take(format_args!("{path}.weight"), weight).unwrap_or_default();
        let headers = one.headers.as_ref();
        let headers = headers.map(|all| headers::headers(all, &format!("{path}.headers"), findings));
        let Some(to) = &one.destination else {
            findings.error(format_args!("{path}.destination"), "is missing: write where the traffic goes");
            continue;
        };
        let destination = destination(to, &format!("{path}.destination"), home, findings);
        read.push(Weighted { destination, weight, headers: headers.unwrap_or_else(Headers::default) });
    }
    if read.len() > 1 && read.iter().all(|one| one.weight == 0) {
        findings.error(format_args!("{path}.route"), "the weights are all 0: write how much goes to each");
    }
    read
}

fn destination(to: &written::Destination, path: &str, home: Home<'_>, findings: &mut Findings) -> Destination {
    refuse_unknown(&to.unknown, path, findings);
    if to.host == "*" {
        findings.error(format_args!("{path}.host"), "* is no service: write the name of one");
    }
    let host = home.host(format_args!("{path}.host"), &to.host, findings);
    if !to.subset.is_empty() {
        findings.take(format_args!("{path}.subset"), name::label(&to.subset));
    }
    let port = to.port.as_ref().and_then(|port| {
        refuse_unknown(&port.unknown, format_args!("{path}.port"), findings);
        findings.take(format_args!("{path}.port.number"), name::port(port.number))
    });
    Destination { host, subset: named(&to.subset), port }
}

/// The rules for connections at `path`.
fn streams(routes: &[written::StreamRoute], path: &str, home: Home<'_>, findings: &mut Findings) -> Vec<StreamRoute> {
    let tls = path == "spec.tls";
    let mut read = Vec::with_capacity(routes.len());
    for (place, route) in routes.iter().enumerate() {
        let path = format!("{path}[{place}]");
        refuse_unknown(&route.unknown, &path, findings);
        if tls && route.matches.is_empty() {
            findings.error(format_args!("{path}.match"), "is missing: write the sniHosts that it is for");
        }
        if route.route.is_empty() {
            findings.error(format_args!("{path}.route"), "is missing: write where the connections go");
        }
        for (place, _) in route.route.iter().enumerate().filter(|(_, to)| to.headers.is_some()) {
            let message = "is for requests, and these are connections: remove it";
            findings.error(format_args!("{path}.route[{place}].headers"), message);
        }
        let blocks = route.matches.iter().enumerate();
        let matches = blocks
            .map(|(place, block)| matching::stream(block, &format!("{path}.match[{place}]"), home, tls, findings));
        let matches = matches.collect();
        read.push(StreamRoute { matches, destinations: destinations(&route.route, &path, home, findings) });
    }
    read
}

/// An error for each name of a TLS rule that is none of the hosts.
fn refuse_foreign_names(tls: &[StreamRoute], hosts: &[Host], findings: &mut Findings) {
    for (place, route) in tls.iter().enumerate() {
        for (block, matched) in route.matches.iter().enumerate() {
            for (name, sni) in matched.sni_hosts.iter().enumerate() {
                // Of addresses it is remarked that nobody asks for them.
                let is_address = sni.as_str().parse::<IpAddr>().is_ok();
                if !is_address && !hosts.iter().any(|host| host.covers(sni.as_str())) {
                    let path = format!("spec.tls[{place}].match[{block}].sniHosts[{name}]");
                    findings.error(path, format!("{sni} is none of spec.hosts: add it there, or correct it"));
                }
            }
        }
    }
}

/// That a rule asks for clients of the mesh where there are none.
fn remark_on_sources(service: &VirtualService, findings: &mut Findings) {
    let http = service.http.iter().enumerate().flat_map(|(place, route)| {
        let sources = route.matches.iter().map(|block| &block.source).enumerate();
        sources.map(move |(block, source)| (format!("spec.http[{place}].match[{block}]"), source))
    });
    let streams = [("tls", &service.tls), ("tcp", &service.tcp)].into_iter().flat_map(|(list, routes)| {
        routes.iter().enumerate().flat_map(move |(place, route)| {
            let sources = route.matches.iter().map(|block| &block.source).enumerate();
            sources.map(move |(block, source)| (format!("spec.{list}[{place}].match[{block}]"), source))
        })
    });
    for (path, source) in http.chain(streams) {
        let Source { labels, namespace, gateways, .. } = source;
        let gateways = if gateways.is_empty() { &service.gateways } else { gateways };
        if (!labels.is_empty() || namespace.is_some()) && !gateways.contains(&Gateway::Mesh) {
            let message = "asks for labels or the namespace of clients, and at gateways these are not known: it never \
                           matches; add mesh to the gateways";
            findings.remark(Severity::Warning, path, message);
        }
    }
}
