//! SOCKS5 as a way out of a pod: it leads where a captured connection leads, by the same decision and with the same
//! identity, and says why it does not (C-13, E-16).

use std::net::SocketAddr;

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::{AccessLog, until};
use serde_json::{Value, json};

use crate::world::{ECHO, SHOP, SOON, WHOAMI, World, vip};

const GREETING: [u8; 3] = [5, 1, 0];
const CONNECTED: [u8; 12] = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Every address by which `client` can reach its own SOCKS server.
fn doors(world: &World) -> Vec<SocketAddr> {
    let loopback = ["127.0.0.1", "::1"].map(|ip| ip.parse().unwrap());
    loopback.into_iter().chain(world.pod("client").addresses()).map(|ip| SocketAddr::new(ip, 15080)).collect()
}

/// What comes of asking `via` for `to`.
fn ask(world: &World, via: SocketAddr, to: &str) -> Value {
    world.report("client", &["socks", "--via", &via.to_string(), "--to", to])
}

/// What `pod` is answered when it says `bytes` to `via`, and how that ended.
fn say(world: &World, pod: &str, via: SocketAddr, bytes: &[u8]) -> (Vec<u8>, Value) {
    let bytes: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let report = world.report(pod, &["socks", "--via", &via.to_string(), "--say", &bytes.join(",")]);
    (serde_json::from_value(report["answer"].clone()).unwrap(), report["error"].clone())
}

/// A request for `to` as a client says it that waits for nothing.
fn eager(to: SocketAddr) -> Vec<u8> {
    let (kind, octets) = match to {
        SocketAddr::V4(v4) => (1, v4.ip().octets().to_vec()),
        SocketAddr::V6(v6) => (4, v6.ip().octets().to_vec()),
    };
    [&GREETING[..], &[5, 1, 0, kind], &octets, &to.port().to_be_bytes()].concat()
}

#[test]
fn by_address_and_by_name_it_leads_to_the_server_with_the_pods_identity() {
    let world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let names = ["near", "near.shop", "NEAR.shop.svc.cluster.local.", "far.shop.svc", "far"];
    let by_name = names.map(|name| (format!("{name}:{WHOAMI}"), if name.starts_with("far") { "far" } else { "near" }));
    let ways: Vec<_> = world.ways(WHOAMI).into_iter().map(|way| (way.to.to_string(), way.pod)).chain(by_name).collect();
    for via in doors(&world) {
        for (to, pod) in &ways {
            let report = ask(&world, via, to);
            assert_eq!((&report["code"], &report["error"]), (&json!(0), &Value::Null), "{to} by {via}: {report}");
            let line = report["line"].as_str().unwrap();
            let mut words = line.split(' ');
            assert_eq!(words.next(), Some(*pod), "{to} by {via}: {line}");
            let seen: SocketAddr = words.next().unwrap().parse().unwrap();
            assert!(world.pod("client").addresses().contains(&seen.ip()), "{to} by {via}: {line}");
        }
    }
    // Four addresses and the names, by each of the four doors.
    for (node, pod, ways) in [("a", "near", 7), ("b", "far", 6)] {
        let reached = |line: &&AccessLog| line.has(&[("direction", "inbound"), ("dst.workload", pod)]);
        let proven = [("src.identity", "spiffe://cluster.local/ns/shop/sa/client"), ("src.workload", "client")];
        let all = |log: &[AccessLog]| {
            let reached: Vec<_> = log.iter().filter(reached).collect();
            reached.len() == 4 * ways && reached.iter().all(|line| line.has(&proven))
        };
        world.agent(node).wait_access_logs(SOON, all).unwrap();
        let metrics = world.agent(node).metrics().unwrap();
        let secured = [("reporter", "destination"), ("connection_security_policy", "mutual_tls")];
        assert_eq!(metrics.sum("istio_tcp_connections_opened_total", &secured), f64::from(4 * ways as u32), "{pod}");
    }
    let tunnel = world.at("far", 15008)[0].to_string();
    world.agent("a").wait_access_log(&[("direction", "outbound"), ("dst.addr", &tunnel)], SOON).unwrap();
}

#[test]
fn bytes_that_travel_ahead_arrive_and_nothing_follows_an_end() {
    let world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    for via in doors(&world) {
        for way in world.ways(ECHO) {
            let said = [&eager(way.to)[..], b"early"].concat();
            let expected = ([&CONNECTED[..], b"early"].concat(), Value::Null);
            assert_eq!(say(&world, "client", via, &said), expected, "{} by {via}", way.name);
        }
    }
}

#[test]
fn whoever_is_refused_is_told_why_in_the_words_of_socks() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let ports = json!({"ports": [ECHO.to_string()]});
    let spec = json!({"action": "DENY", "rules": [{"to": [{"operation": ports}]}]});
    world.apply("AuthorizationPolicy", "deny", spec);
    let nobody = ServiceSpec { name: "nobody", vips: &["10.96.0.9".parse().unwrap()], ports: &[(80, 80)] };
    world.manifests.service(SHOP, &nobody).unwrap();
    world.await_config(&["a", "b"], |dump| {
        dump["authorizationPolicies"].to_string().contains("deny") && dump["services"].to_string().contains("nobody")
    });
    let mut rows = vec![
        ("nobody.shop:80".to_owned(), 4, "no-healthy-upstream"),
        ("www.example.com:80".to_owned(), 4, "unknown-host"),
        ("near:82".to_owned(), 5, "no-such-service-port"),
        ("127.0.0.1:15001".to_owned(), 2, "recursive-call"),
        ("0.0.0.0:15080".to_owned(), 2, "recursive-call"),
    ];
    for ip in ["near", "far"].into_iter().flat_map(|pod| world.pod(pod).addresses()) {
        rows.push((SocketAddr::new(ip, ECHO).to_string(), 2, "policy-denied"));
        rows.push((SocketAddr::new(ip, 9).to_string(), 5, "connection-refused"));
        rows.push((SocketAddr::new(ip, 15008).to_string(), 2, "recursive-call"));
    }
    for ip in world.pod("outsider-b").addresses() {
        rows.push((SocketAddr::new(ip, 9).to_string(), 5, "connection-refused"));
    }
    let refused = |reason: &str| {
        world.agent("a").metrics().unwrap().sum("ambit_refused_total", &[("reason", reason), ("reporter", "source")])
    };
    for via in doors(&world) {
        for (to, code, reason) in &rows {
            let before = refused(reason);
            let report = ask(&world, via, to);
            assert_eq!((&report["code"], &report["error"]), (&json!(code), &Value::Null), "{to} by {via}: {report}");
            until(SOON, || refused(reason) == before + 1.0).unwrap_or_else(|_| panic!("{to} by {via}: {reason}"));
        }
        let message = |code: u8| vec![5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let after_greeting = |request: &[u8]| [&GREETING[..], request].concat();
        for (said, answer) in [
            (after_greeting(&[5, 2, 0, 1, 10, 0, 0, 1, 0, 80]), message(7)),
            (after_greeting(&[5, 1, 0, 2, 10, 0, 0, 1, 0, 80]), message(8)),
            (after_greeting(&[5, 1, 0, 3, 1, b'?', 0, 80]), message(1)),
            // Refused with bytes unread: they do not cost the client its reply.
            ([eager(vip("near", 82)[0]), vec![7; 2000]].concat(), message(5)),
            (vec![5, 1, 2], vec![5, 255]),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![]),
        ] {
            assert_eq!(say(&world, "client", via, &said), (answer, Value::Null), "{said:?} by {via}");
        }
    }
}

#[test]
fn a_stranger_is_not_served() {
    let world = World::new();
    let _server = world.serve("far");
    let said = eager(world.at("far", ECHO)[0]);
    let refused =
        |node: &str| world.agent(node).metrics().unwrap().sum("ambit_refused_total", &[("reason", "recursive-call")]);
    for ip in world.pod("client").addresses() {
        let door = SocketAddr::new(ip, 15080);
        // In clear, within the mesh on one node, and across.
        for (pod, node) in [("outsider-a", "a"), ("outsider-b", "a"), ("near", "a"), ("far", "b")] {
            let before = refused(node);
            let (answer, error) = say(&world, pod, door, &said);
            assert!(answer.is_empty() && error == "reset", "{pod} to {door}: {answer:?} {error}");
            until(SOON, || refused(node) > before).unwrap_or_else(|_| panic!("{pod} to {door}"));
        }
    }
}
