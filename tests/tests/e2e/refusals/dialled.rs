//! A captured pod dials a pod of the mesh, and who answers on port 15008 there is not whom the mesh expects.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_tests::Process;
use serde_json::Value;

use super::{Watch, half_open};
use crate::world::{ECHO, SOON, World, spiffe};

/// One server: what is wrong with it, and what both sides see.
struct Row {
    name: &'static str,
    identity: String,
    arguments: &'static [&'static str],
    /// The reason that the agent counts and logs.
    reason: &'static str,
    /// What the server prints of it.
    sees: &'static str,
}

fn rows() -> Vec<Row> {
    let with = |name, arguments, reason, sees| Row { name, identity: spiffe("far"), arguments, reason, sees };
    let claiming = |name, identity, reason, sees| Row { name, identity, arguments: &[], reason, sees };
    let foreign = "spiffe://elsewhere.example/ns/shop/sa/far".to_owned();
    vec![
        claiming("another pod's identity", spiffe("near"), "peer-identity-mismatch", r#""alert":"AccessDenied""#),
        claiming("foreign trust domain", foreign, "untrusted-domain", r#""alert":"CertificateUnknown""#),
        claiming(
            "no SPIFFE ID",
            "https://shop.example/far".to_owned(),
            "no-spiffe-identity",
            r#""alert":"UnsupportedCertificate""#,
        ),
        with("expired", &["--certificate", "expired"], "certificate-expired", r#""alert":"CertificateExpired""#),
        with("self-signed", &["--certificate", "self-signed"], "untrusted-issuer", r#""alert":"UnknownCA""#),
        // It is the server that finds out about these, so that it tells us.
        with("TLS 1.2", &["--tls", "1.2"], "tls-version", r#""event":"refused""#),
        with("ALPN http/1.1", &["--alpn", "http/1.1"], "alpn-mismatch", r#""event":"refused""#),
        with("no ALPN", &["--alpn", ""], "alpn-mismatch", r#""event":"accepted""#),
        with(
            "refuses with a reason",
            &["--answer", "400", "--reason", "authority-mismatch"],
            "authority-mismatch",
            r#""event":"request""#,
        ),
        with("refuses without one", &["--answer", "503"], "refused-by-peer", r#""event":"request""#),
        with(
            "refuses with a reason that nobody knows",
            &["--answer", "401", "--reason", "because"],
            "refused-by-peer",
            r#""event":"request""#,
        ),
    ]
}

#[test]
fn a_server_with_a_defect_is_refused_and_told_why() {
    let world = half_open(&[]);
    let agent = world.agent("a");
    for to in world.at("far", ECHO) {
        for row in rows() {
            let watch = Watch::new(agent);
            let server = serve(&world, &row.identity, row.arguments);
            let (seen, _) = call(&world, to);
            let name = format!("{}, {to}", row.name);
            assert!(seen.contains(r#""error":"reset""#) && !answered(&seen), "{name}: {seen}");
            let line = watch.expect(&name, row.reason);
            assert_eq!((line.field("src.workload"), line.field("dst.workload")), ("client", "far"), "{name}: {line:?}");
            assert!(
                !line.field("error").is_empty() && line.field("dst.hbone_addr") == to.to_string(),
                "{name}: {line:?}"
            );
            server.wait_line(row.sees, SOON).unwrap();
            server.kill().unwrap();
        }
    }
}

#[test]
fn a_pod_whose_port_15008_nobody_serves_is_refused_after_two_seconds_and_never_dialled_in_clear() {
    let world = half_open(&[]);
    let agent = world.agent("a");
    let _server = world.serve("far");
    for to in world.at("far", ECHO) {
        let watch = Watch::new(agent);
        let (seen, after) = call(&world, to);
        assert!(seen.contains(r#""error":"reset""#) && !answered(&seen), "{to}: {seen}");
        assert!(Duration::from_secs(2) < after && after < Duration::from_secs(4), "{to}: {after:?}");
        watch.expect(&to.to_string(), "connection-refused");
    }
}

#[test]
fn an_independent_server_that_does_all_right_is_used() {
    let world = half_open(&[]);
    let agent = world.agent("a");
    let server = serve(&world, &spiffe("far"), &[]);
    for to in world.at("far", ECHO) {
        let watch = Watch::new(agent);
        let (seen, _) = call(&world, to);
        assert!(answered(&seen), "{to}: {seen}");
        let request = server.wait_line(&format!(r#""authority":"{to}""#), SOON).unwrap();
        let request: Value = serde_json::from_str(&request.text).unwrap();
        assert_eq!((&request["method"], &request["peer"]), (&"CONNECT".into(), &spiffe("client").into()));
        agent.wait_access_log(&[("dst.hbone_addr", &to.to_string()), ("dst.workload", "far")], SOON).unwrap();
        watch.expect_nothing(&to.to_string());
    }
}

fn serve(world: &World, identity: &str, arguments: &[&str]) -> Process {
    let ca = world.topology.directory().join("ca.pem").display().to_string();
    let server = world.start("far", &[&["hostile", "server", "--ca", &ca, "--identity", identity], arguments].concat());
    server.wait_line("listening", SOON).unwrap();
    server
}

/// Has `client` send some bytes to `to` and wait for them; what it printed, and how long it took.
fn call(world: &World, to: SocketAddr) -> (String, Duration) {
    let begun = Instant::now();
    (world.dialled("client", to, "send:5,recv:5,shutdown,observe:5000"), begun.elapsed())
}

/// True if the bytes came back: only then the script goes on.
fn answered(seen: &str) -> bool {
    seen.contains(r#""event":"shutdown""#)
}
