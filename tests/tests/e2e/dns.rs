//! DNS of pods: who answers which name, and from where the answer seems to come.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::{Process, until};
use serde_json::{Value, json};

use crate::world::{SHOP, SOON, WHOAMI, World, vips};

const ANNOTATION: &str = "ambient.istio.io/dns-capture";
/// The addresses that the tests' own DNS server has for every name.
const OUTSIDE_NAME: [&str; 2] = ["192.0.2.53", "2001:db8::53"];
const NAME: &str = "near.shop.svc.cluster.local";
const VIAS: [&str; 3] = ["connected", "unconnected", "tcp"];

/// Nobody has these.
fn nobody() -> [SocketAddr; 2] {
    ["10.96.0.10:53", "[fd00:10:96::a]:53"].map(|address| address.parse().unwrap())
}

/// The DNS server in `pod`, which is not in the mesh, by both families.
fn server(world: &World, pod: &str) -> (Process, [SocketAddr; 2]) {
    (world.serve_only(pod, &["dns=53"]), world.at(pod, 53))
}

fn ask(world: &World, pod: &str, server: SocketAddr, question: [&str; 3]) -> Value {
    let [name, kind, via] = question;
    let server = server.to_string();
    world.report(pod, &["dns", "--server", &server, "--name", name, "--kind", kind, "--via", via])
}

/// The addresses of an answer without an error, which came from `server` and nobody else.
fn addresses(report: &Value, server: SocketAddr) -> Vec<IpAddr> {
    assert_eq!((&report["code"], report.get("error")), (&json!(0), None), "{report}");
    assert_eq!(report["from"], json!(server), "{report}");
    assert!(report["peer"].is_null() || report["peer"] == json!(server), "{report}");
    serde_json::from_value(report["addresses"].clone()).unwrap()
}

#[test]
fn names_of_services_are_answered_whoever_is_asked() {
    let mut world = World::new();
    let single = ServiceSpec { name: "single", vips: &["10.96.0.77".parse().unwrap()], ports: &[(80, 80)] };
    world.manifests.service(SHOP, &single).unwrap();
    world.manifests.service(SHOP, &ServiceSpec { name: "far", vips: &[], ports: &[(80, 80)] }).unwrap();
    world.await_config(&["a"], |dump| {
        let services = dump["services"].to_string();
        services.contains("single") && !services.contains("10.96.0.2\"")
    });
    for server in nobody() {
        for via in VIAS {
            let asked = |name, kind| {
                let report = ask(&world, "client", server, [name, kind, via]);
                assert_eq!(report["authoritative"], true, "{server} {via} {report}");
                addresses(&report, server)
            };
            let [v4, v6] = vips("near");
            for name in [NAME, "NEAR.shop.svc", "near.shop", "near"] {
                assert_eq!((asked(name, "a"), asked(name, "aaaa")), (vec![v4], vec![v6]), "{name} {server} {via}");
            }
            assert_eq!(asked("single.shop", "a"), single.vips);
            assert_eq!(asked("single.shop", "aaaa"), Vec::<IpAddr>::new(), "no error, and no address");
            let far = world.pod("far");
            assert_eq!((asked("far.shop", "a"), asked("far.shop", "aaaa")), (vec![far.v4.into()], vec![far.v6.into()]));
        }
    }
}

#[test]
fn other_queries_go_to_whom_was_asked_and_answers_come_back_as_they_are() {
    let world = World::new();
    let servers = ["outsider-a", "outsider-b"].map(|pod| (pod, server(&world, pod)));
    for (pod, (_, by_family)) in &servers {
        for (server, own) in by_family.iter().zip(world.pod("client").addresses()) {
            for via in VIAS {
                for (kind, expected) in ["a", "aaaa"].into_iter().zip(OUTSIDE_NAME) {
                    let report = ask(&world, "client", *server, ["www.example.com", kind, via]);
                    assert_eq!(addresses(&report, *server), [expected.parse::<IpAddr>().unwrap()], "{server} {via}");
                    assert_eq!(report["authoritative"], false, "as the server said: {report}");
                }
                // A type that the mesh does not answer, of a name that it does. The pod itself is seen to ask.
                let report = ask(&world, "client", *server, [NAME, "txt", via]);
                addresses(&report, *server);
                assert_eq!(report["text"], json!([format!("{pod} {own}")]), "{server} {via}");
            }
        }
    }
}

/// Writes a ServiceEntry of `host` whose only endpoint is `far`, and waits until the client's agent answers for it.
fn declare(world: &mut World, host: &str) {
    let endpoints: Vec<Value> =
        world.pod("far").addresses().iter().map(|address| json!({"address": address})).collect();
    let ports = json!([{"number": 80, "name": "who", "protocol": "TCP", "targetPort": WHOAMI}]);
    let spec = json!({"hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": endpoints});
    world.apply("ServiceEntry", "declared", spec);
    world.await_service(&["a"], host);
}

#[test]
fn a_declared_host_is_dialled_by_its_name_and_unknown_to_a_pod_that_opts_out() {
    let mut world = World::new();
    let _far = world.serve("far");
    let (_server, servers) = server(&world, "outsider-b");
    declare(&mut world, "given.example");
    for server in servers {
        for via in VIAS {
            for (kind, prefix) in [("a", "240.240."), ("aaaa", "2001:2::")] {
                let given = addresses(&ask(&world, "client", server, ["given.example", kind, via]), server);
                assert!(given.len() == 1 && given[0].to_string().starts_with(prefix), "{server} {via} {given:?}");
                let to = SocketAddr::new(given[0], 80).to_string();
                let report = world.report("client", &["greeting", "--to", &to, "--count", "1"]);
                assert!(report["lines"][0].as_str().unwrap().starts_with("far "), "{report}");
            }
        }
    }
    world.manifests.annotate((SHOP, "client"), ANNOTATION, Some("false")).unwrap();
    let code = |server, via| ask(&world, "client", server, ["given.example", "a", via])["code"].clone();
    until(SOON, || code(servers[0], "connected") == 3).unwrap();
    for server in servers {
        for via in VIAS {
            assert_eq!(code(server, via), 3, "the server's own answer: no such name ({server} {via})");
        }
    }
}

#[test]
fn an_external_name_is_an_alias_whoever_knows_its_target() {
    let mut world = World::new();
    let (_server, servers) = server(&world, "outsider-b");
    declare(&mut world, "given.example");
    let targets = [("ours", "given.example"), ("theirs", "www.example.com"), ("nobodys", "not.example")];
    for (name, target) in targets {
        world.apply("Service", name, json!({"type": "ExternalName", "externalName": target}));
    }
    for (name, _) in targets {
        world.await_service(&["a"], &format!("{name}.shop.svc.cluster.local"));
    }
    for server in servers {
        for via in VIAS {
            for (kind, outside) in ["a", "aaaa"].into_iter().zip(OUTSIDE_NAME) {
                let asked = |name: &str| ask(&world, "client", server, [name, kind, via]);
                let given = addresses(&asked("given.example"), server);
                let theirs = vec![outside.parse::<IpAddr>().unwrap()];
                for ((name, target), expected) in targets.iter().zip([&given, &theirs]) {
                    let report = asked(&format!("{name}.shop.svc.cluster.local"));
                    assert_eq!(report["aliases"], json!([target]), "{server} {via} {report}");
                    assert_eq!(&addresses(&report, server), expected, "{server} {via}");
                }
                let report = asked("nobodys.shop");
                assert_eq!((&report["code"], &report["aliases"]), (&json!(3), &json!(["not.example"])), "{report}");
            }
        }
    }
}

#[test]
fn queries_are_counted_under_istios_names() {
    let world = World::new();
    let (_server, [server, _]) = server(&world, "outsider-a");
    for via in VIAS {
        ask(&world, "client", server, [NAME, "a", via]);
        ask(&world, "client", server, [NAME, "txt", via]);
    }
    ask(&world, "client", world.at("outsider-b", 53)[0], ["x.y", "a", "unconnected"]);
    let metrics = world.agent("a").metrics().unwrap();
    let sum = |name: &str, kind: &str, protocol: &str| {
        let labels =
            [("request_query_type", kind), ("request_protocol", protocol), ("source_canonical_service", "client")];
        metrics.sum(name, &labels)
    };
    for (kind, requests, passed_on, failed) in [("a", 3.0, 1.0, 1.0), ("txt", 2.0, 2.0, 0.0)] {
        assert_eq!(sum("istio_dns_requests_total", kind, "udp"), requests, "{kind}");
        assert_eq!(sum("istio_dns_upstream_requests_total", kind, "udp"), passed_on, "{kind}");
        assert_eq!(sum("istio_dns_upstream_failures_total", kind, "udp"), failed, "{kind}");
        assert_eq!(sum("istio_dns_upstream_request_duration_seconds_count", kind, "udp"), passed_on, "{kind}");
    }
    // The client asks twice on a connection.
    assert_eq!(sum("istio_dns_requests_total", "a", "tcp"), 2.0);
    assert_eq!(sum("istio_dns_upstream_requests_total", "txt", "tcp"), 2.0);
}

#[test]
fn a_server_that_is_not_there_is_a_failure_and_not_silence() {
    let world = World::new();
    for ip in world.pod("outsider-a").addresses() {
        for via in VIAS {
            let report = ask(&world, "client", SocketAddr::new(ip, 53), ["www.example.com", "a", via]);
            assert_eq!((&report["code"], report.get("error")), (&json!(2), None), "{ip} {via}: {report}");
        }
    }
}

#[test]
fn a_pod_that_opts_out_and_one_outside_ask_the_server_itself() {
    let mut world = World::new();
    let (_server, servers) = server(&world, "outsider-b");
    let by_server = |world: &World, pod: &str, server: SocketAddr, via: &str| {
        let report = ask(world, pod, server, [NAME, "a", via]);
        addresses(&report, server) == [OUTSIDE_NAME[0].parse::<IpAddr>().unwrap()]
    };
    let everywhere = |world: &World, pod: &str, expected: bool| {
        for server in servers {
            for via in VIAS {
                assert_eq!(by_server(world, pod, server, via), expected, "{pod} {server} {via}");
            }
        }
    };
    everywhere(&world, "outsider-a", true);
    everywhere(&world, "client", false);
    world.manifests.annotate((SHOP, "client"), ANNOTATION, Some("false")).unwrap();
    until(SOON, || by_server(&world, "client", servers[0], "connected")).unwrap();
    everywhere(&world, "client", true);
    everywhere(&world, "near", false);
    // What nobody knows is reported, and is as if it were not there.
    world.manifests.annotate((SHOP, "client"), ANNOTATION, Some("no")).unwrap();
    until(SOON, || !by_server(&world, "client", servers[0], "connected")).unwrap();
    everywhere(&world, "client", false);
    let reports = world.agent("a").admin("/reports").unwrap().to_string();
    assert!(reports.contains(ANNOTATION) && reports.contains("write true or false"), "{reports}");
}

#[test]
fn without_an_agent_queries_are_refused_and_with_the_next_one_answered() {
    let mut world = World::new();
    let (_server, servers) = server(&world, "outsider-b");
    for _ in 0..2 {
        world.agent_mut("a").kill().unwrap();
        for server in servers {
            for via in ["connected", "tcp"] {
                assert_eq!(ask(&world, "client", server, ["a.b.c", "a", via])["error"], "refused", "{server} {via}");
            }
        }
        world.agent_mut("a").start().unwrap();
        world.agent("a").wait_captured(SHOP, "client", true, SOON).unwrap();
        for server in servers {
            for via in VIAS {
                let report = ask(&world, "client", server, ["www.example.com", "a", via]);
                assert_eq!(addresses(&report, server), [OUTSIDE_NAME[0].parse::<IpAddr>().unwrap()], "{via}");
                assert_eq!(addresses(&ask(&world, "client", server, [NAME, "a", via]), server).len(), 1, "{via}");
            }
        }
    }
}

#[test]
fn an_upstream_may_stand_in_for_whom_was_asked() {
    // In every pod itself.
    let world = World::with(&["--dns-upstream", "127.0.0.1:53"]);
    let (_server, _) = server(&world, "client");
    for server in nobody() {
        for via in VIAS {
            let report = ask(&world, "client", server, ["www.example.com", "a", via]);
            assert_eq!(addresses(&report, server), [OUTSIDE_NAME[0].parse::<IpAddr>().unwrap()], "{server} {via}");
        }
    }
}

#[test]
fn garbage_stops_nobody_and_loopback_is_the_pods_own() {
    let world = World::new();
    for ip in world.pod("client").addresses() {
        let send = move || {
            let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
            for length in 0..2000_usize {
                // Headers of every kind, cut and whole; with a counter in them, none is like another.
                let message: Vec<u8> = (0..length % 97).map(|at| ((at * length * 7) >> 3) as u8).collect();
                socket.send_to(&message, SocketAddr::new(ip, 15053)).unwrap();
            }
        };
        world.pod("client").netns.run(send).unwrap();
    }
    for server in nobody() {
        for via in VIAS {
            assert_eq!(addresses(&ask(&world, "client", server, [NAME, "a", via]), server).len(), 1, "{via}");
        }
    }
    // A resolver of the pod's own, as systemd's, is not the mesh's to answer for.
    let _own = world.serve_only("client", &["dns=127.0.0.53:53"]);
    let server = "127.0.0.53:53".parse().unwrap();
    for via in VIAS {
        let report = ask(&world, "client", server, [NAME, "a", via]);
        assert_eq!(addresses(&report, server), [OUTSIDE_NAME[0].parse::<IpAddr>().unwrap()], "{via}");
    }
}
