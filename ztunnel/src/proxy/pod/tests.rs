//! By which address an application sees its client.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::proxy::fixtures::{identity, pod};
use crate::proxy::pod::Pod;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_client_is_seen_as_itself_where_its_address_can_be() {
    let web = pod("web", &["10.0.0.1", "fd00::1"]);
    let seen = |client: &str, destination: &str| web.seen_as(ip(client), ip(destination));
    assert_eq!(seen("10.0.0.9", "10.0.0.1"), Some(ip("10.0.0.9")));
    assert_eq!(seen("fd00::9", "fd00::1"), Some(ip("fd00::9")));
    assert_eq!(seen("fd00::9", "10.0.0.1"), Some(ip("10.0.0.1")), "of the other family");
    assert_eq!(seen("10.0.0.9", "fd00::1"), Some(ip("fd00::1")), "of the other family");
    assert_eq!(seen("127.0.0.1", "10.0.0.1"), Some(ip("10.0.0.1")), "loopback");
    assert_eq!(seen("fe80::9", "fd00::1"), Some(ip("fd00::1")), "of one link only");
    assert_eq!(pod("v4", &["10.0.0.1"]).seen_as(ip("10.0.0.9"), ip("fd00::1")), None);
}

#[test]
fn only_what_serves_a_pod_makes_it_another() {
    let web = pod("web", &["10.0.0.1"]);
    assert!(web.is_served_as(&Pod { path: PathBuf::from("/run/netns/web"), ..pod("web", &["10.0.0.1"]) }));
    assert!(!web.is_served_as(&pod("web", &["10.0.0.2"])));
    assert!(!web.is_served_as(&Pod { identity: identity("other"), ..pod("web", &["10.0.0.1"]) }));
}
