//! Gateways that nobody serves, and what becomes of VirtualServices at the Gateways that they name.

use std::collections::BTreeSet;

use ambit_api::{FieldError, Kind, ObjectRef, Severity};
use ambit_model::Snapshot;
use ambit_model::gateway;
use ambit_model::route::{Gateway, Host, HttpAction, RuleKey, VirtualService};

use super::super::selections::Selections;
use super::Finding;

/// What becomes of a VirtualService at Gateways.
#[derive(Default)]
pub(super) struct AtGateways {
    /// What is wrong.
    pub(super) findings: Vec<Finding>,
    /// One of them lets something in for it.
    pub(super) admitted: bool,
}

/// The Gateways whose selectors select no pod.
pub(super) fn unserved(snapshot: &Snapshot, selections: &Selections) -> impl Iterator<Item = Finding> {
    snapshot.gateways.iter().filter_map(|gateway| {
        let missing = selections.missing(&gateway.selector)?;
        let shown: Vec<String> = missing.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let path = match missing.first_key_value() {
            Some((key, _)) if missing.len() == 1 => format!("spec.selector[{key}]"),
            _ => "spec.selector".to_owned(),
        };
        let message = format!(
            "no pod of any namespace is labelled {} (IST0101), so that nobody serves the Gateway: correct the selector, or \
             label the gateway's pods",
            shown.join(" and ")
        );
        let object = ObjectRef::new(Kind::IstioGateway, &gateway.key.namespace, &gateway.key.name);
        Some(Finding {
            object,
            field: FieldError { path, message },
            severity: Severity::Warning,
            code: Some("NotInEffect"),
        })
    })
}

/// What becomes of `service` at the Gateways that it names; nothing where it names none.
pub(super) fn standing(snapshot: &Snapshot, service: &VirtualService) -> AtGateways {
    let named = service.gateways.iter().enumerate().filter_map(|(place, gateway)| match gateway {
        Gateway::Mesh => None,
        Gateway::Named(key) => Some((place, key)),
    });
    let named: Vec<(usize, &RuleKey)> = named.collect();
    let admitted = named.iter().map(|(_, key)| *key).chain(of_matches(service)).any(|key| {
        let gateway = snapshot.gateways.get(key);
        gateway.is_some_and(|gateway| service.hosts.iter().any(|host| admits(gateway, service, host)))
    });
    let in_mesh = named.len() < service.gateways.len();
    let code = (!in_mesh && !admitted).then_some("NotInEffect");
    let found = |(path, message)| {
        let object = ObjectRef::new(Kind::VirtualService, &service.key.namespace, &service.key.name);
        Finding { object, field: FieldError { path, message }, severity: Severity::Warning, code }
    };
    let findings = wrong(snapshot, service, &named, in_mesh).into_iter().map(found).collect();
    AtGateways { findings, admitted }
}

/// What is wrong, by fields, where `service` names these Gateways, each in its place, and beside them the mesh or not.
fn wrong(
    snapshot: &Snapshot,
    service: &VirtualService,
    named: &[(usize, &RuleKey)],
    in_mesh: bool,
) -> Vec<(String, String)> {
    let (mut found, mut there) = (Vec::new(), Vec::new());
    for (place, key) in named {
        match snapshot.gateways.get(key) {
            Some(gateway) => there.push((*place, gateway)),
            None => {
                let message = format!(
                    "there is no Gateway {key} (IST0101), so that nothing arrives by it: write it, or the name of one that \
                     there is"
                );
                found.push((format!("spec.gateways[{place}]"), message));
            }
        }
    }
    let (mut let_in, mut outside) = (BTreeSet::new(), Vec::new());
    for (place, host) in service.hosts.iter().enumerate() {
        let by = there.iter().filter(|(_, gateway)| admits(gateway, service, host));
        let by: Vec<usize> = by.map(|(place, _)| *place).collect();
        // Where it is for the mesh as well, that may be what the host is for.
        if by.is_empty() && !in_mesh && !there.is_empty() {
            outside.push((place, host));
        }
        let_in.extend(by);
    }
    let whose: Vec<String> = there.iter().map(|(_, gateway)| gateway.key.to_string()).collect();
    for (place, host) in &outside {
        let message = format!(
            "no server of the Gateway {} lets {host} in for namespace {} (IST0132), so that nothing arrives for it: write it \
             among the hosts of one, or correct it",
            whose.join(", nor of "),
            service.key.namespace
        );
        found.push((format!("spec.hosts[{place}]"), message));
    }
    // Where no host is let in anywhere, that has been said of each.
    let useless = there.iter().filter(|(place, _)| !let_in.contains(place) && outside.len() < service.hosts.len());
    found.extend(useless.map(|(place, gateway)| {
        let message = format!(
            "the Gateway {} lets none of the hosts in for namespace {} (IST0132): write one among the hosts of a server, or \
             remove the Gateway",
            gateway.key, service.key.namespace
        );
        (format!("spec.gateways[{place}]"), message)
    }));
    found
}

/// True if a server of `gateway` lets in `host` of `service`, or some of it.
fn admits(gateway: &gateway::Gateway, service: &VirtualService, host: &Host) -> bool {
    gateway.servers.iter().flat_map(|server| &server.hosts).any(|own| own.admits(service, host))
}

/// The Gateways that its matches name.
fn of_matches(service: &VirtualService) -> impl Iterator<Item = &RuleKey> {
    let http = service.http.iter().flat_map(|route| &route.matches).map(|block| &block.source);
    let streams = service.tls.iter().chain(&service.tcp).flat_map(|route| &route.matches).map(|block| &block.source);
    http.chain(streams).flat_map(|source| &source.gateways).filter_map(|gateway| match gateway {
        Gateway::Mesh => None,
        Gateway::Named(key) => Some(key),
    })
}

/// Where VirtualServices lead.
#[derive(Default)]
pub(super) struct Led<'a> {
    /// The hosts.
    pub(super) hosts: BTreeSet<&'a Host>,
    /// The VirtualServices that say so in their place.
    pub(super) delegates: BTreeSet<&'a RuleKey>,
}

/// Where `services` lead, and those that they delegate to.
pub(super) fn led<'a>(snapshot: &'a Snapshot, services: &[&'a VirtualService]) -> Led<'a> {
    let mut led = Led::default();
    services.iter().for_each(|service| led.follow(service));
    if !led.delegates.is_empty() {
        for delegate in snapshot.routes.virtual_services() {
            if delegate.hosts.is_empty() && led.delegates.contains(&delegate.key) {
                led.follow(delegate);
            }
        }
    }
    led
}

impl<'a> Led<'a> {
    fn follow(&mut self, service: &'a VirtualService) {
        for route in &service.http {
            let destinations = match &route.action {
                HttpAction::Forward(destinations) => &destinations[..],
                HttpAction::Partly(partly) => &partly.destinations,
                HttpAction::Redirect(_) | HttpAction::Respond(_) => &[],
                HttpAction::Delegate(to) => {
                    self.delegates.insert(to);
                    &[]
                }
            };
            self.hosts.extend(destinations.iter().map(|one| &one.destination.host));
            self.hosts.extend(route.mirrors.iter().map(|mirror| &mirror.destination.host));
        }
        let streams = service.tls.iter().chain(&service.tcp).flat_map(|route| &route.destinations);
        self.hosts.extend(streams.map(|one| &one.destination.host));
    }
}
