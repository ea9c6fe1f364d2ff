//! Istio's Gateway: what is let in from outside, and how TLS is ended there (Istio "Gateway"; its `ValidateGateway`). Which
//! pods serve it, and what other Gateways say of the same ports, is for whoever knows all objects.

mod certificate;
mod client;
mod host;
mod tls;
mod version;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::gateway::{Gateway, Protocol, Server};
use ambit_model::route::RuleKey;

use super::shared;
use super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;
use crate::object::istio_gateway as written;
use crate::resource::Resource;

pub(super) fn translate(gateway: &written::IstioGateway, id: &ObjectRef, findings: &mut Findings) -> Resource {
    let spec = &gateway.spec;
    refuse_unknown(&spec.unknown, "spec", findings);
    for (key, value) in &spec.selector {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("spec.selector[{key}]"), checked);
    }
    if spec.servers.is_empty() {
        findings.error("spec.servers", "is missing: write what is let in, by port and hosts");
    }
    tell_apart(&spec.servers, findings);
    let servers = spec.servers.iter().enumerate();
    let servers = servers.filter_map(|(place, one)| server(one, &format!("spec.servers[{place}]"), id, findings));
    let servers = servers.map(Arc::new).collect();
    let created = gateway.metadata.creation_timestamp.as_deref().map(Arc::from);
    let key = RuleKey { namespace: id.namespace.clone(), name: id.name.clone() };
    Resource::IstioGateway(Arc::new(Gateway { key, created, selector: shared(&spec.selector), servers }))
}

/// Ports go by their names. Those of servers are only shown.
fn tell_apart(servers: &[written::Server], findings: &mut Findings) {
    let (mut ports, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (place, server) in servers.iter().enumerate() {
        let path = format!("spec.servers[{place}]");
        let port = server.port.as_ref().map_or("", |port| &port.name);
        if !port.is_empty() && !ports.insert(port) {
            let message = format!("{:?} names another server's port, too: write another", name::shortened(port));
            findings.error(format_args!("{path}.port.name"), message);
        }
        if !server.name.is_empty() && !names.insert(&server.name) {
            let message = format!("{:?} names another server, too: write another", name::shortened(&server.name));
            findings.remark(Severity::Warning, format_args!("{path}.name"), message);
        }
    }
}

/// The server at `path`; none if it is left out, which is an error or remarked on.
fn server(server: &written::Server, path: &str, id: &ObjectRef, findings: &mut Findings) -> Option<Server> {
    refuse_unknown(&server.unknown, path, findings);
    let hosts = host::hosts(&server.hosts, &format!("{path}.hosts"), id, findings);
    let bind = bind(&server.bind, &format!("{path}.bind"), findings);
    if !server.default_endpoint.is_empty() {
        let message = "has no effect, as with Istio: write a VirtualService that names the Gateway";
        findings.remark(Severity::Warning, format_args!("{path}.defaultEndpoint"), message);
    }
    let Some(written) = &server.port else {
        findings.error(format_args!("{path}.port"), "is missing: write its number, name and protocol");
        return None;
    };
    let port = port(written, bind, &format!("{path}.port"), findings);
    let spoken = findings.take(format_args!("{path}.port.protocol"), spoken(&written.protocol));
    let protocol = protocol(spoken?, server.tls.as_ref(), &format!("{path}.tls"), findings);
    let Bind::Address(bind) = bind else { return None };
    Some(Server {
        name: (!server.name.is_empty()).then(|| Arc::from(server.name.as_str())),
        port: port?,
        port_name: Arc::from(written.name.as_str()),
        bind,
        hosts,
        protocol: protocol?,
    })
}

/// What a server listens on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bind {
    /// An address, or all of them.
    Address(Option<IpAddr>),
    /// A socket of the file system.
    Socket,
}

fn bind(text: &str, path: &str, findings: &mut Findings) -> Bind {
    if text.starts_with("unix://") {
        let message = "sockets of the file system are not listened on in this version, and the server is left out: write \
                       an address";
        findings.remark(Severity::Warning, path, message);
        return Bind::Socket;
    }
    if text.is_empty() {
        return Bind::Address(None);
    }
    let address = text.parse::<IpAddr>();
    let address = address.map_err(|_| format!("{:?} is no address: write one, or nothing", name::shortened(text)));
    let address = findings.take(path, address).map(|address| address.to_canonical());
    Bind::Address(address.filter(|address| !address.is_unspecified()))
}

/// The number that clients dial.
fn port(port: &written::ServedPort, bind: Bind, path: &str, findings: &mut Findings) -> Option<u16> {
    refuse_unknown(&port.unknown, path, findings);
    if port.name.is_empty() {
        findings.error(format_args!("{path}.name"), "is missing: write one that no other port of the Gateway has");
    }
    if port.target_port != 0 {
        findings.error(format_args!("{path}.targetPort"), "is for ServiceEntries: remove it");
    }
    match (bind, port.number) {
        (Bind::Socket, 0) => None,
        (Bind::Socket, _) => {
            let message = "stands beside a socket of the file system, which has no port: write 0";
            findings.error(format_args!("{path}.number"), message);
            None
        }
        (Bind::Address(_), number) => findings.take(format_args!("{path}.number"), name::port(number)),
    }
}

/// What a port speaks, as its protocol says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http,
    Https,
    Tls,
    Bytes,
}

fn spoken(text: &str) -> Result<Spoken, String> {
    const ALL: &str = "HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS";
    match text.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP2" | "HTTP_PROXY" | "GRPC" | "GRPC-WEB" => Ok(Spoken::Http),
        "HTTPS" => Ok(Spoken::Https),
        "TLS" => Ok(Spoken::Tls),
        "TCP" | "MONGO" | "MYSQL" | "REDIS" => Ok(Spoken::Bytes),
        "" => Err(format!("is missing: write one of {ALL}")),
        _ => Err(format!("{:?} is none of {ALL}", name::shortened(text))),
    }
}

/// What is spoken with clients, `tls` being at `path`; none if that cannot be.
fn protocol(spoken: Spoken, tls: Option<&written::ServerTls>, path: &str, findings: &mut Findings) -> Option<Protocol> {
    match (spoken, tls) {
        (Spoken::Http, tls) => {
            Some(Protocol::Http { redirect: tls.is_some_and(|tls| tls::redirects(tls, path, findings)) })
        }
        (Spoken::Bytes, None) => Some(Protocol::Tcp),
        (Spoken::Bytes, Some(_)) => {
            findings.error(path, "is for the protocols HTTPS and TLS: remove it, or write protocol: TLS");
            None
        }
        (Spoken::Https | Spoken::Tls, None) => {
            let message = "is missing: HTTPS and TLS take mode: SIMPLE and a credentialName, or mode: PASSTHROUGH";
            findings.error(path, message);
            None
        }
        (Spoken::Https | Spoken::Tls, Some(tls)) => match tls::read(tls, path, findings)? {
            tls::Ended::Here(tls) if spoken == Spoken::Https => Some(Protocol::Https(tls)),
            tls::Ended::Here(tls) => Some(Protocol::Tls(tls)),
            tls::Ended::Beyond => Some(Protocol::Passthrough),
        },
    }
}
