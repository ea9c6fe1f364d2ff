//! ServiceEntries and WorkloadEntries (Istio's `TestValidateServiceEntries`, `TestValidateWorkloadEntry`).

use super::*;

fn port(number: i64, name: &str, protocol: &str) -> Value {
    json!({"number": number, "name": name, "protocol": protocol})
}

/// An entry of `google.com` at 80 by HTTP, with this instead.
fn entry(more: &Value) -> Value {
    let mut spec = json!({"hosts": ["google.com"], "ports": [port(80, "http-valid1", "http")]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of(spec)
}

/// One whose endpoint is this.
fn at(endpoint: &Value) -> Value {
    entry(&json!({"resolution": "STATIC", "endpoints": [endpoint]}))
}

fn check_all(rows: Vec<(&str, Value, Becomes)>) {
    check(Kind::ServiceEntry, rows);
}

#[test]
fn hosts_addresses_and_how_they_are_found() {
    let one = json!([{"address": "1.1.1.1"}]);
    let fixed = |more: Value| {
        let mut whole = json!({"resolution": "STATIC", "endpoints": one});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry(&whole)
    };
    let dns =
        |hosts: Value, endpoints: Value| entry(&json!({"hosts": hosts, "resolution": "DNS", "endpoints": endpoints}));
    let unresolved = Warned("spec.resolution: hosts are not resolved");
    check_all(vec![
        ("discovery type static", fixed(json!({"addresses": ["172.1.2.16"]})), Accepted),
        (
            "discovery type static, cidr addresses with endpoints",
            fixed(json!({"addresses": ["172.1.2.16/16"]})),
            Accepted,
        ),
        (
            "discovery type static, FQDN in endpoints",
            at(&json!({"address": "google.com"})),
            Refused("spec.endpoints[0].address: is a name"),
        ),
        ("empty hosts", fixed(json!({"hosts": []})), Refused("spec.hosts: is missing")),
        ("bad hosts", fixed(json!({"hosts": ["-"]})), Refused("spec.hosts[0]: ")),
        ("full wildcard host", fixed(json!({"hosts": ["*"]})), Refused("spec.hosts[0]: ")),
        ("short name host", fixed(json!({"hosts": ["foo"]})), Accepted),
        ("discovery type DNS, no endpoints", dns(json!(["google.com"]), json!([])), unresolved),
        (
            "discovery type DNS, non-FQDN host",
            dns(json!(["*.google.com"]), json!([])),
            Refused("spec.hosts[0]: has no address of its own"),
        ),
        ("discovery type DNS, wildcard with endpoints", dns(json!(["*.google.com"]), one.clone()), Accepted),
        (
            "discovery type DNS, non-FQDN endpoint",
            dns(json!(["google.com"]), json!([{"address": "*.lon.google.com"}])),
            Refused("spec.endpoints[0].address: "),
        ),
        (
            "CIDR addresses are allowed only for NONE/STATIC resolution types",
            entry(&json!({"resolution": "DNS", "endpoints": one, "addresses": ["172.1.2.0/24"]})),
            Refused("spec.addresses[0]: "),
        ),
        (
            "dns round robin with more than one endpoint",
            entry(
                &json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": [{"address": "1.1.1.1"}, {"address": "1.1.1.2"}]}),
            ),
            Refused("spec.endpoints: DNS_ROUND_ROBIN"),
        ),
        (
            "dns round robin with one endpoint",
            entry(&json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": one})),
            Accepted,
        ),
        ("discovery type none", entry(&json!({})), Accepted),
        ("discovery type none, cidr addresses", entry(&json!({"addresses": ["172.1.2.16/16"]})), Accepted),
        (
            "discovery type none, endpoints provided",
            entry(&json!({"endpoints": one})),
            Refused("spec.endpoints: contradicts"),
        ),
        (
            "selector and endpoints",
            fixed(json!({"workloadSelector": {"labels": {"a": "b"}}})),
            Refused("spec.workloadSelector: contradicts"),
        ),
        (
            "selector and resolution NONE",
            entry(&json!({"workloadSelector": {"labels": {"a": "b"}}})),
            Warned("spec.workloadSelector: has no effect"),
        ),
        (
            "selector and resolution DNS",
            entry(&json!({"resolution": "DNS", "workloadSelector": {"labels": {"a": "b"}}})),
            Accepted,
        ),
        (
            "bad selector key",
            entry(&json!({"resolution": "DNS", "workloadSelector": {"labels": {"": "bar"}}})),
            Refused("spec.workloadSelector.labels[]: "),
        ),
        ("~ is allowed for service entry configs", fixed(json!({"exportTo": ["~"]})), Accepted),
        (
            "none and other namespaces cannot be combined in service entry exportTo",
            fixed(json!({"exportTo": ["~", "ns1"]})),
            Refused("spec.exportTo[0]: ~ says it of all"),
        ),
        (
            "* and ns1 together are not allowed",
            fixed(json!({"exportTo": ["*", "ns1"]})),
            Refused("spec.exportTo[0]: * says it of all"),
        ),
    ]);
}

#[test]
fn ports_and_endpoints() {
    let ports =
        |ports: Value| entry(&json!({"resolution": "STATIC", "endpoints": [{"address": "1.1.1.1"}], "ports": ports}));
    let several = |protocol: &str, resolution: &str| {
        let endpoints = if resolution == "NONE" { json!([]) } else { json!([{"address": "1.1.1.1"}]) };
        entry(
            &json!({"hosts": ["a.com", "b.com"], "addresses": ["10.0.0.1"], "resolution": resolution, "endpoints": endpoints, "ports": [port(80, "a", protocol)]}),
        )
    };
    let told_apart = Refused("spec.ports[0].protocol: does not tell one host from another");
    let bare = |protocol: &str, label: &str, resolution: &str| {
        let endpoints = if resolution == "NONE" { json!([]) } else { json!([{"address": "1.1.1.1"}]) };
        let mut object =
            entry(&json!({"resolution": resolution, "endpoints": endpoints, "ports": [port(80, "a", protocol)]}));
        object["metadata"]["labels"] = json!({"networking.istio.io/enable-autoallocate-ip": label});
        object
    };
    let by_address = Warned("spec.ports[0].protocol: is known by its address alone");
    check_all(vec![
        (
            "discovery type none, conflicting port names",
            ports(json!([port(80, "a", "http"), port(81, "a", "http")])),
            Refused("spec.ports[1].name: "),
        ),
        (
            "discovery type none, conflicting port numbers",
            ports(json!([port(80, "a", "http"), port(80, "b", "http")])),
            Refused("spec.ports[1].number: "),
        ),
        ("empty protocol", ports(json!([port(80, "a", "")])), Accepted),
        ("unsupported protocol", ports(json!([port(80, "a", "quic")])), Refused("spec.ports[0].protocol: ")),
        (
            "invalid target port",
            ports(json!([{"number": 80, "name": "a", "targetPort": 65536}])),
            Refused("spec.ports[0].targetPort: "),
        ),
        ("valid target port", ports(json!([{"number": 80, "name": "a", "targetPort": 81}])), Accepted),
        (
            "undefined endpoint port",
            at(&json!({"address": "1.1.1.1", "ports": {"http-dne": 9080}})),
            Refused("spec.endpoints[0].ports[http-dne]: is no port"),
        ),
        ("valid endpoint port", at(&json!({"address": "1.1.1.1", "ports": {"http-valid1": 65535}})), Accepted),
        (
            "invalid endpoint port",
            at(&json!({"address": "1.1.1.1", "ports": {"http-valid1": 65536}})),
            Refused("spec.endpoints[0].ports[http-valid1]: "),
        ),
        (
            "network set with no address on endpoint",
            at(&json!({"network": "cluster-1"})),
            Warned("spec.endpoints[0].address: is missing, and the endpoint left out"),
        ),
        ("multiple hosts provided with non-HTTP, non-TLS ports", several("TCP", "STATIC"), told_apart),
        ("multiple hosts provided with non-HTTP, non-TLS ports", several("", "STATIC"), told_apart),
        ("multiple hosts and resolution NONE", several("TCP", "NONE"), Accepted),
        ("multiple hosts by HTTP", several("HTTP", "STATIC"), Accepted),
        (
            "discovery type DNS, multi hosts set with IP address and https port",
            several("HTTPS", "DNS"),
            Warned("spec.addresses: stand for all the hosts"),
        ),
        ("protocol unset for addresses empty", bare("", "false", "STATIC"), by_address),
        ("protocol is TCP for addresses empty", bare("TCP", "true", "NONE"), by_address),
        ("protocol is TCP, and an address is given", bare("TCP", "true", "STATIC"), Accepted),
        ("protocol says more for addresses empty", bare("HTTP", "false", "STATIC"), Accepted),
    ]);
}

#[test]
fn names_that_the_client_completes() {
    let dynamic = |more: Value| {
        let mut whole = json!({"hosts": ["*.google.com"], "resolution": "DYNAMIC_DNS"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry(&whole)
    };
    let mut by_waypoint = dynamic(json!({"location": "MESH_INTERNAL"}));
    let internal = by_waypoint.clone();
    by_waypoint["metadata"]["labels"] = json!({"istio.io/use-waypoint": "egress"});
    let mut outside = dynamic(json!({"location": "MESH_EXTERNAL"}));
    outside["metadata"]["labels"] = json!({"istio.io/use-waypoint": "egress"});
    let accepted = Warned("spec.resolution: DYNAMIC_DNS is not in effect");
    check_all(vec![
        ("discovery type DYNAMIC_DNS", dynamic(json!({})), accepted),
        ("discovery type DYNAMIC_DNS, GRPC protocol", dynamic(json!({"ports": [port(80, "a", "grpc")]})), accepted),
        (
            "discovery type DYNAMIC_DNS, unsupported TCP protocol",
            dynamic(json!({"ports": [port(80, "a", "tcp")]})),
            Refused("spec.ports[0].protocol: does not say which host"),
        ),
        (
            "discovery type DYNAMIC_DNS, FQDN host",
            dynamic(json!({"hosts": ["google.com"]})),
            Refused("spec.hosts[0]: has no wildcard"),
        ),
        (
            "discovery type DYNAMIC_DNS, multiple wildcarded hosts",
            dynamic(json!({"hosts": ["*.google.com", "*.wikipedia.org"]})),
            accepted,
        ),
        ("discovery type DYNAMIC_DNS, empty hosts", dynamic(json!({"hosts": []})), Refused("spec.hosts: is missing")),
        (
            "discovery type DYNAMIC_DNS, endpoints set",
            dynamic(json!({"endpoints": [{"address": "1.1.1.1"}]})),
            Refused("spec.endpoints: contradicts"),
        ),
        (
            "discovery type DYNAMIC_DNS, IP address set",
            dynamic(json!({"addresses": ["172.1.2.16"]})),
            Refused("spec.addresses: contradicts"),
        ),
        ("discovery type DYNAMIC_DNS, internal mesh location", internal, accepted),
        (
            "discovery type DYNAMIC_DNS, MESH_INTERNAL with waypoint (invalid)",
            by_waypoint,
            Refused("spec.location: MESH_INTERNAL"),
        ),
        ("discovery type DYNAMIC_DNS, MESH_EXTERNAL with waypoint", outside, accepted),
    ]);
}

#[test]
fn workload_entries() {
    let workload = |spec: Value| of(spec);
    check(
        Kind::WorkloadEntry,
        vec![
            ("valid", workload(json!({"address": "1.2.3.4"})), Accepted),
            ("missing address", workload(json!({})), Refused("spec.address: is missing")),
            ("invalid FQDN", workload(json!({"address": "bad!"})), Refused("spec.address: ")),
            (
                "valid FQDN",
                workload(json!({"address": "validdns.com"})),
                Warned("spec.address: a name is not resolved"),
            ),
            ("invalid unix endpoint", workload(json!({"address": "unix:///a"})), Refused("spec.address: a socket")),
            ("port name", workload(json!({"address": "1.2.3.4", "ports": {"a_b": 80}})), Refused("spec.ports[a_b]: ")),
            ("weight", workload(json!({"address": "1.2.3.4", "weight": -1})), Refused("spec.weight: ")),
        ],
    );
}
