//! A peer dials port 15008 of a captured pod.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Watch, half_open};
use crate::world::{ECHO, SOON, World, spiffe};

/// One attempt: what is wrong with it, and what both sides see.
struct Row {
    name: &'static str,
    /// The SPIFFE ID in its certificate, `far`'s own unless given.
    identity: Option<String>,
    arguments: &'static [&'static str],
    /// What it asks for, `near`'s echo port unless given.
    authority: Option<String>,
    /// The reason that the agent counts and logs.
    reason: &'static str,
    sees: Sees,
}

enum Sees {
    /// This TLS alert.
    Alert(&'static str),
    /// The end of the connection, and nothing else.
    Closed,
    /// This status, and the reason as a header.
    Status(u16),
}

fn row(name: &'static str, reason: &'static str, sees: Sees) -> Row {
    Row { name, identity: None, arguments: &[], authority: None, reason, sees }
}

/// Refused in the handshake, which is all the peer learns besides the alert.
fn tls() -> Vec<Row> {
    let with = |arguments, name, reason, alert| Row { arguments, ..row(name, reason, Sees::Alert(alert)) };
    let claiming = |identity: &str, name, reason, alert| Row {
        identity: Some(identity.to_owned()),
        ..row(name, reason, Sees::Alert(alert))
    };
    vec![
        with(&["--certificate", "expired"], "expired", "certificate-expired", "CertificateExpired"),
        with(&["--certificate", "self-signed"], "self-signed", "untrusted-issuer", "UnknownCA"),
        with(&["--certificate", "none"], "no certificate", "no-peer-certificate", "CertificateRequired"),
        with(&["--tls", "1.2"], "TLS 1.2", "tls-version", "ProtocolVersion"),
        with(&["--alpn", "http/1.1"], "ALPN http/1.1", "alpn-mismatch", "NoApplicationProtocol"),
        Row { arguments: &["--alpn", ""], ..row("no ALPN", "alpn-mismatch", Sees::Closed) },
        claiming(
            "spiffe://elsewhere.example/ns/shop/sa/far",
            "foreign trust domain",
            "untrusted-domain",
            "CertificateUnknown",
        ),
        claiming("https://shop.example/far", "no SPIFFE ID", "no-spiffe-identity", "UnsupportedCertificate"),
    ]
}

/// Refused as a request.
fn requests(near: SocketAddr, other: SocketAddr) -> Vec<Row> {
    let asking =
        |authority: String, name, reason| Row { authority: Some(authority), ..row(name, reason, Sees::Status(400)) };
    let own = |port: u16, name| asking(SocketAddr::new(near.ip(), port).to_string(), name, "recursive-call");
    vec![
        Row {
            identity: Some(spiffe("client")),
            ..row("another pod's identity", "peer-identity-mismatch", Sees::Status(401))
        },
        asking(other.to_string(), "another pod's address", "authority-mismatch"),
        asking("10.96.0.2:7000".to_owned(), "another pod's service", "authority-mismatch"),
        asking("far.shop.svc.cluster.local:7000".to_owned(), "another pod's service by name", "authority-mismatch"),
        asking("127.0.0.1:7000".to_owned(), "loopback", "authority-mismatch"),
        own(15001, "port 15001"),
        own(15006, "port 15006"),
        own(15008, "port 15008"),
        own(15053, "port 15053"),
        own(15080, "port 15080"),
        asking("near.shop.svc.cluster.local".to_owned(), "no port", "bad-request"),
        Row { arguments: &["--method", "GET"], ..row("GET", "bad-request", Sees::Status(400)) },
        Row {
            authority: Some(SocketAddr::new(near.ip(), 9).to_string()),
            ..row("a port that nobody serves", "connection-refused", Sees::Status(503))
        },
    ]
}

#[test]
fn a_peer_with_a_defect_is_refused_and_told_why() {
    let world = half_open(&[]);
    let _server = world.serve("near");
    let agent = world.agent("a");
    for family in [0, 1] {
        let [near, other] = ["near", "client"].map(|pod| world.at(pod, ECHO)[family]);
        for row in tls().into_iter().chain(requests(near, other)) {
            let watch = Watch::new(agent);
            let authority = row.authority.clone().unwrap_or_else(|| near.to_string());
            let identity = row.identity.clone().unwrap_or_else(|| spiffe("far"));
            let seen =
                dial(&world, near, &[&["--authority", &authority, "--identity", &identity], row.arguments].concat());
            let name = format!("{}, {near}", row.name);
            let line = watch.expect(&name, row.reason);
            let peer = world.pod("far").addresses()[family].to_string();
            assert!(line.field("src.addr").contains(&peer), "{name}: {line:?}");
            assert!(!line.field("error").is_empty() && line.field("direction") == "inbound", "{name}: {line:?}");
            let (alert, error) = (&seen["alert"], &seen["error"]);
            match row.sees {
                Sees::Alert(expected) => {
                    assert_eq!((alert, &seen["status"]), (&json!(expected), &Value::Null), "{name}: {seen}")
                }
                Sees::Closed => {
                    assert!(alert.is_null() && !error.is_null() && seen["status"].is_null(), "{name}: {seen}")
                }
                Sees::Status(status) => {
                    assert_eq!(
                        (&seen["status"], &seen["reason"]),
                        (&json!(status), &json!(row.reason)),
                        "{name}: {seen}"
                    );
                }
            }
            assert_eq!(seen["echoed"], false, "{name}: {seen}");
        }
    }
}

#[test]
fn an_independent_peer_that_does_all_right_is_served() {
    let world = half_open(&[]);
    let _server = world.serve("near");
    let agent = world.agent("a");
    let by_name = format!("near.shop.svc.cluster.local:{ECHO}");
    for near in world.at("near", ECHO) {
        for authority in [&near.to_string(), &by_name] {
            let watch = Watch::new(agent);
            let seen = dial(&world, near, &["--authority", authority, "--identity", &spiffe("far")]);
            assert_eq!((&seen["status"], &seen["echoed"]), (&json!(200), &json!(true)), "{seen}");
            assert_eq!(seen["peer"], spiffe("near"));
            let fields = [
                ("src.identity", spiffe("far")),
                ("dst.identity", spiffe("near")),
                ("dst.hbone_addr", authority.clone()),
            ];
            let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
            agent.wait_access_log(&fields, SOON).unwrap();
            watch.expect_nothing(authority);
        }
    }
}

#[test]
fn a_peer_is_told_who_answered_it_only_where_that_is_wished() {
    let says = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.pod.name=near,service.name=near,service.version=latest";
    for (arguments, expected) in [(&[][..], json!(null)), (&["--response-baggage"], json!(says))] {
        let world = half_open(arguments);
        let _server = world.serve("near");
        for near in world.at("near", ECHO) {
            let seen = dial(&world, near, &["--authority", &near.to_string(), "--identity", &spiffe("far")]);
            assert_eq!((&seen["status"], &seen["baggage"]), (&json!(200), &expected), "{seen}");
        }
    }
}

/// Has `far` ask `to`'s proxy for a stream and returns what it saw.
fn dial(world: &World, to: SocketAddr, arguments: &[&str]) -> Value {
    let ca = world.topology.directory().join("ca.pem").display().to_string();
    let to = SocketAddr::new(to.ip(), 15008).to_string();
    world.report("far", &[&["hostile", "client", "--ca", &ca, "--to", &to], arguments].concat())
}
