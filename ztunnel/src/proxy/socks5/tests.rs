//! Who may ask, and which address a name leads to.

use ambit_model::Mesh;

use super::*;
use crate::proxy::fixtures::{pod, service};

#[test]
fn only_what_stays_within_the_pod_is_its_own() {
    let pod = pod("web", &["10.0.0.1", "fd00::1"]);
    let is_own = |client: &str, port: &str| is_of(&pod, client.parse().unwrap(), port.parse().unwrap());
    for (client, port) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.1.2.3"),
        ("::1", "::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("fd00::1", "fd00::1"),
        // An address that only the kernel knows of; another one of its own.
        ("192.168.0.1", "192.168.0.1"),
        ("10.0.0.1", "192.168.0.1"),
    ] {
        assert!(is_own(client, port), "{client} to {port}");
    }
    for client in ["10.0.0.2", "172.18.0.2", "fd00::2", "fe80::1"] {
        assert!(!is_own(client, "10.0.0.1") && !is_own(client, "fd00::1"), "{client}");
    }
}

#[test]
fn a_name_leads_to_an_address_of_the_pods_first_family_if_it_has_one() {
    let mut snapshot = Snapshot::new(Mesh::default());
    for (name, vips) in [("both", &["10.96.0.1", "fd00:96::1"][..]), ("six", &["fd00:96::2"]), ("headless", &[])] {
        let mut service = (*service(name, "10.0.0.9:80")).clone();
        service.vips = vips.iter().map(|vip| vip.parse().unwrap()).collect();
        snapshot.insert_service(service.into());
    }
    let mut empty = (*service("empty", "10.0.0.9:80")).clone();
    empty.ports[0].targets.clear();
    snapshot.insert_service(empty.into());
    let told = |pod: &Pod, wanted: &str| match find(&snapshot, pod, &wanted.parse().unwrap()) {
        Ok(address) => address.to_string(),
        Err(reason) => reason.code().to_owned(),
    };
    let (v4, v6) = (pod("web", &["10.0.0.1", "fd00::1"]), pod("web", &["fd00::1", "10.0.0.1"]));
    for (pod, wanted, expected) in [
        (&v4, "both:80", "10.96.0.1:80"),
        (&v6, "both:80", "[fd00:96::1]:80"),
        (&v4, "both.shop.svc.cluster.local:81", "10.96.0.1:81"),
        (&v4, "six.shop:80", "[fd00:96::2]:80"),
        (&v6, "headless:80", "10.0.0.9:80"),
        (&v4, "empty:80", "no-healthy-upstream"),
        (&v4, "www.example.com:80", "unknown-host"),
        (&v4, "192.0.2.1:80", "192.0.2.1:80"),
    ] {
        assert_eq!(told(pod, wanted), expected, "{wanted}");
    }
}
