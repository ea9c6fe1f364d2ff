//! Names as clients write them, and what they get.

use super::*;
use crate::fixtures::{World, pod, port, service};
use crate::workload::Workload;
use crate::{Owner, ServiceKey};

fn ips(addresses: &[&str]) -> Option<Resolved> {
    aliased(&[], Some(addresses))
}

fn aliased(aliases: &[&str], addresses: Option<&[&str]>) -> Option<Resolved> {
    let parsed = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
    let aliases = aliases.iter().map(|alias| (*alias).into()).collect();
    Some(Resolved { aliases, addresses: addresses.map(parsed) })
}

/// An ExternalName Service.
fn alias(name: &str, target: &str) -> Service {
    Service { alias: Some(target.into()), ..service(name, &[], vec![]) }
}

/// A host outside the cluster, as `namespace` knows it.
fn external(namespace: &str, hostname: &str, vips: &[&str]) -> Service {
    let name = hostname.replace(['.', '*'], "-");
    let key = ServiceKey { host: Some(hostname.into()), ..ServiceKey::new(namespace, &name) };
    Service { key, hostname: hostname.into(), ..service("", vips, vec![]) }
}

fn stateful(pod: Workload) -> Workload {
    Workload { owner: Owner { kind: "statefulset".into(), name: "db".into() }, ..pod }
}

fn snapshot() -> Snapshot {
    let db = [("db-0", "10.0.0.1:5432"), ("db-1", "10.0.0.2:5432"), ("db-1", "[fd00::2]:5432"), ("", "10.0.0.9:5432")];
    let pods = vec![
        stateful(pod("db-0", "a", &["10.0.0.1"])),
        stateful(pod("db-1", "a", &["10.0.0.2", "fd00::2"])),
        pod("plain", "a", &["10.0.0.3"]),
    ];
    let services = vec![
        service("web", &["fd00:96::1", "10.96.0.1"], vec![]),
        service("db", &[], vec![port(5432, &db), port(9100, &db)]),
        service("plain", &[], vec![port(80, &[("plain", "10.0.0.3:80")])]),
        service("idle", &[], vec![port(80, &[])]),
        service("udp-only", &[], vec![]),
        external("shop", "api.example.com", &["240.240.0.1"]),
        external("other", "api.example.com", &["240.240.0.2"]),
        external("other", "*.example.com", &["240.240.0.3"]),
        external("other", "*.deep.example.com", &["240.240.0.4"]),
        external("other", "unaddressed.org", &[]),
        external("shop", "*.org", &["240.240.0.5"]),
        external("shop", "*.wild.org", &[]),
        Service { ports: vec![port(80, &[])], ..external("shop", "as-dialled.shop.svc.cluster.local", &[]) },
        alias("mail", "smtp.example.net"),
        alias("api", "www.deep.example.com"),
        alias("post", "mail.shop.svc.cluster.local"),
        alias("store", "web.shop.svc.cluster.local"),
        alias("short", "web.shop"),
        alias("circle", "round.shop.svc.cluster.local"),
        alias("round", "circle.shop.svc.cluster.local"),
    ];
    World::new(pods, services).snapshot()
}

#[test]
fn a_service_has_its_addresses_however_short_its_name_is() {
    let snapshot = snapshot();
    for name in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local"] {
        assert_eq!(snapshot.resolve("shop", name), ips(&["10.96.0.1", "fd00:96::1"]), "{name}");
    }
    assert_eq!(snapshot.resolve("elsewhere", "web"), None, "a bare name is of the client's namespace");
    assert_eq!(snapshot.resolve("elsewhere", "web.shop"), ips(&["10.96.0.1", "fd00:96::1"]));
    for name in ["", ".", "nobody", "web.shop.svc.cluster", "web.shop.pod", "x.web.shop.svc.cluster.local", "web."] {
        assert_eq!(snapshot.resolve("shop", name), None, "{name}");
    }
}

#[test]
fn a_headless_service_has_its_endpoints_each_once() {
    let snapshot = snapshot();
    assert_eq!(snapshot.resolve("shop", "db"), ips(&["10.0.0.1", "10.0.0.2", "10.0.0.9", "fd00::2"]));
    assert_eq!(snapshot.resolve("shop", "idle.shop"), ips(&[]), "known to have none");
    assert_eq!(snapshot.resolve("shop", "udp-only"), None, "nothing is known of its endpoints");
}

#[test]
fn the_pods_of_a_stateful_set_have_names() {
    let snapshot = snapshot();
    for name in ["db-1.db.shop", "db-1.db.shop.svc", "db-1.db.shop.svc.cluster.local"] {
        assert_eq!(snapshot.resolve("other", name), ips(&["10.0.0.2", "fd00::2"]), "{name}");
    }
    assert_eq!(snapshot.resolve("shop", "db-0.db"), ips(&["10.0.0.1"]));
    assert_eq!(snapshot.resolve("other", "db-0.db"), None);
    assert_eq!(snapshot.resolve("shop", "db-7.db.shop.svc"), None);
    assert_eq!(snapshot.resolve("shop", "plain.plain.shop.svc"), None, "its host name is not known");
}

#[test]
fn a_host_of_several_services_is_the_own_namespaces_first() {
    let snapshot = snapshot();
    assert_eq!(snapshot.resolve("shop", "api.example.com"), ips(&["240.240.0.1"]));
    assert_eq!(snapshot.resolve("other", "api.example.com"), ips(&["240.240.0.2"]));
    assert_eq!(snapshot.resolve("third", "api.example.com"), ips(&["240.240.0.2"]), "by key");
}

#[test]
fn an_external_name_is_an_alias_and_has_the_addresses_of_its_target() {
    let snapshot = snapshot();
    let web = "web.shop.svc.cluster.local";
    for name in ["store", "store.shop", "store.shop.svc", "store.shop.svc.cluster.local"] {
        assert_eq!(snapshot.resolve("shop", name), aliased(&[web], Some(&["10.96.0.1", "fd00:96::1"])), "{name}");
    }
    let by_wildcard = aliased(&["www.deep.example.com"], Some(&["240.240.0.4"]));
    assert_eq!(snapshot.resolve("shop", "api.shop"), by_wildcard);
    assert_eq!(snapshot.resolve("shop", "mail"), aliased(&["smtp.example.net"], None), "nobody here knows it");
    let twice = aliased(&["mail.shop.svc.cluster.local", "smtp.example.net"], None);
    assert_eq!(snapshot.resolve("other", "post.shop"), twice);
    assert_eq!(snapshot.resolve("shop", "short"), aliased(&["web.shop"], None), "a target is a full name");
    assert_eq!(snapshot.resolve("shop", "circle"), None);
}

#[test]
fn a_host_without_addresses_is_for_whom_was_asked_and_hides_wider_wildcards() {
    let snapshot = snapshot();
    assert_eq!(snapshot.resolve("shop", "some.org"), ips(&["240.240.0.5"]));
    for name in ["unaddressed.org", "x.wild.org", "as-dialled.shop.svc.cluster.local", "as-dialled"] {
        assert_eq!(snapshot.resolve("shop", name), None, "{name}");
    }
}

#[test]
fn the_closest_wildcard_wins_and_an_exact_host_before_it() {
    let snapshot = snapshot();
    assert_eq!(snapshot.resolve("shop", "www.example.com"), ips(&["240.240.0.3"]));
    assert_eq!(snapshot.resolve("shop", "a.b.example.com"), ips(&["240.240.0.3"]));
    assert_eq!(snapshot.resolve("shop", "a.deep.example.com"), ips(&["240.240.0.4"]));
    assert_eq!(snapshot.resolve("shop", "example.com"), None, "not of itself");
}

#[test]
fn a_host_means_nothing_to_who_does_not_see_it() {
    let hidden = |hostname: &str, vips: &[&str]| Service {
        visibility: crate::route::Visibility::Namespaces(vec!["other".into()]),
        ..external("other", hostname, vips)
    };
    let services = vec![
        hidden("hidden.example", &["240.240.0.9"]),
        hidden("*.wild.example", &["240.240.0.10"]),
        external("shop", "*.example", &["240.240.0.11"]),
    ];
    let snapshot = World { services, ..World::new(vec![], vec![]) }.snapshot();
    for (namespace, name, address) in [
        ("other", "hidden.example", "240.240.0.9"),
        ("shop", "hidden.example", "240.240.0.11"),
        ("other", "a.wild.example", "240.240.0.10"),
        ("shop", "a.wild.example", "240.240.0.11"),
    ] {
        assert_eq!(snapshot.resolve(namespace, name), ips(&[address]), "{namespace} {name}");
    }
}
