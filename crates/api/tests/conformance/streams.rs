//! Where connections go (Istio `TCPRoute`, `TLSRoute`).

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::route::{Addressed, Arrival, Client, Draw, Flow, Gateway, StreamOutcome};
use serde_json::{Value, json};

use crate::support::{HOST, read, routes_of, to};

/// A connection.
#[derive(Clone, Copy)]
struct Dial {
    app: Option<&'static str>,
    namespace: Option<&'static str>,
    destination: &'static str,
    source: &'static str,
    port: u16,
    sni: Option<&'static str>,
}

/// By PostgreSQL's client, from outside the mesh.
const DIAL: Dial =
    Dial { app: None, namespace: None, destination: "10.0.0.1", source: "192.0.2.1", port: 5432, sni: None };

/// The subset that it goes to: `refused` for none, `-` where no VirtualService says.
fn subset(spec: &Value, dial: Dial, number: u64) -> String {
    let routes = routes_of([read("shop", "vs", spec.clone())]);
    let labels = dial.app.map(|app| BTreeMap::from([(Arc::from("app"), Arc::from(app))]));
    let flow = Flow {
        arrival: Arrival {
            gateway: &Gateway::Mesh,
            port: dial.port,
            client: Client { labels: labels.as_ref(), namespace: dial.namespace },
        },
        destination: dial.destination.parse().unwrap(),
        source: dial.source.parse().unwrap(),
        sni: dial.sni,
    };
    match routes.stream(Addressed { host: HOST, viewer: "shop", owner: None, from: None }, &flow, Draw(number)) {
        StreamOutcome::Unrouted => "-".to_owned(),
        StreamOutcome::NoRoute => "refused".to_owned(),
        StreamOutcome::To(destination) => destination.subset.as_deref().unwrap_or_default().to_owned(),
    }
}

#[test]
fn connections_are_matched_by_port_subnet_and_client() {
    let (todobackend, intruder) = (
        Dial { app: Some("todobackend"), namespace: Some("shop"), ..DIAL },
        Dial { app: Some("intruder"), namespace: Some("bank"), ..DIAL },
    );
    for (block, meant, not_meant) in [
        (json!({"port": 5432}), vec![DIAL], vec![Dial { port: 5433, ..DIAL }]),
        (json!({"sourceLabels": {"app": "todobackend"}}), vec![todobackend], vec![intruder, DIAL]),
        (json!({"sourceNamespace": "shop"}), vec![todobackend], vec![intruder, DIAL]),
        (
            json!({"destinationSubnets": ["10.0.0.0/24", "fd00::1"]}),
            vec![DIAL, Dial { destination: "fd00::1", ..DIAL }],
            vec![Dial { destination: "10.0.1.1", ..DIAL }, Dial { destination: "fd00::2", ..DIAL }],
        ),
        (json!({"sourceSubnet": "192.0.2.0/24"}), vec![DIAL], vec![Dial { source: "198.51.100.1", ..DIAL }]),
        (
            json!({"port": 5432, "sourceLabels": {"app": "todobackend"}}),
            vec![todobackend],
            vec![Dial { port: 1, ..todobackend }],
        ),
        (json!({"gateways": ["shop/ingress"]}), vec![], vec![DIAL]),
        (json!({}), vec![DIAL, intruder], vec![]),
    ] {
        let spec = json!({"hosts": ["reviews"], "gateways": ["mesh", "ingress"], "tcp": [{"match": [block], "route": to("v0-1")}]});
        assert!(meant.iter().all(|dial| subset(&spec, *dial, 0) == "v0-1"), "{block}");
        assert!(not_meant.iter().all(|dial| subset(&spec, *dial, 0) == "refused"), "{block}");
    }
}

#[test]
fn the_first_rule_wins_and_destinations_get_their_share() {
    let weighted =
        |subset: &str, weight: u32| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight});
    let spec = json!({"hosts": ["reviews"], "tcp": [
        {"match": [{"port": 1}, {"port": 2}], "route": to("v1")},
        {"route": [weighted("v2", 20), weighted("v3", 80)]},
    ]});
    assert_eq!(subset(&spec, Dial { port: 2, ..DIAL }, 0), "v1");
    let old = (0..1000).filter(|number| subset(&spec, DIAL, *number) == "v2").count();
    assert!((137..263).contains(&old), "{old}");
    // Rules for requests say nothing of connections.
    assert_eq!(subset(&json!({"hosts": ["reviews"], "http": [{"route": to("v1")}]}), DIAL, 0), "-");
}

#[test]
fn tls_is_matched_by_the_name_that_the_client_asks_for() {
    let tls = |hosts: Value, subset: &str| json!({"match": [{"sniHosts": hosts, "port": 443}], "route": to(subset)});
    let spec = json!({"hosts": ["*.example.com", HOST], "tls": [
        tls(json!(["login.example.com"]), "login"),
        tls(json!(["*.a.example.com", "b.example.com"]), "a"),
        tls(json!(["*.example.com"]), "rest"),
    ]});
    let asking = |sni| Dial { sni: Some(sni), port: 443, ..DIAL };
    for (dial, expected) in [
        (asking("login.example.com"), "login"),
        (asking("LOGIN.example.com"), "login"),
        (asking("x.a.example.com"), "a"),
        (asking("b.example.com"), "a"),
        (asking("a.example.com"), "rest"),
        (asking("example.com"), "refused"),
        (asking("example.org"), "refused"),
        (Dial { port: 444, ..asking("login.example.com") }, "refused"),
        // What is no TLS is for the rules for TCP, of which there are none.
        (Dial { port: 443, ..DIAL }, "-"),
    ] {
        assert_eq!(subset(&spec, dial, 0), expected, "{:?}", dial.sni);
    }
    let mut both = spec.clone();
    both["tcp"] = json!([{"route": to("tcp")}]);
    assert_eq!(subset(&both, asking("example.org"), 0), "tcp");
    assert_eq!(subset(&both, DIAL, 0), "tcp");
}
