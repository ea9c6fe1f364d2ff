//! Which DestinationRule holds, and where it has requests go: ports, subsets, clients, a default for the mesh, places, and
//! endpoints that are new (J-06, J-07, J-12, J-15..J-17).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Response;

use super::support::{Http, Mesh, REVIEWS, Server, near, run, until, virtual_service};

/// A DestinationRule `name` in `namespace`.
fn rule(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A connection carries so many requests: what tells which settings hold.
fn carries(requests: u32) -> String {
    format!("connectionPool: {{http: {{maxRequestsPerConnection: {requests}}}}}")
}

/// On how many connections the next twelve requests come.
async fn connections(http: &mut Http, server: &Server) -> usize {
    let before = server.count();
    for _ in 0..12 {
        assert_eq!(http.get("/", &[]).await.status, 200);
    }
    let asked = server.asked();
    let seen: std::collections::BTreeSet<_> = asked[before..].iter().map(|asked| asked.connection).collect();
    seen.len()
}

#[test]
fn subset_and_port_come_before_subset_and_that_before_port_and_that_before_the_host() {
    run(async {
        let route = virtual_service("http: [{route: [{destination: {host: reviews, subset: v1}}]}]");
        let port = |requests| format!("portLevelSettings: [{{port: {{number: 9080}}, {}}}]", carries(requests));
        let levels = |host: &str, subset: &str| {
            let policy = if subset.is_empty() { String::new() } else { format!(", trafficPolicy: {{{subset}}}") };
            let subset = format!("{{name: v1, labels: {{version: v1}}{policy}}}");
            let spec = format!("{{host: reviews, trafficPolicy: {{{host}}}, subsets: [{subset}]}}");
            route.clone() + &rule("shop", "reviews", &spec)
        };
        let both = |first: &str, second: &str| format!("{first}, {second}");
        let mesh = Mesh::new(&levels(&carries(12), "")).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let other = Server::answering2("10.9.1.1:9090", async |_| Response::new("v1".into())).await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        for (host, subset, expected) in [
            (carries(6), String::new(), 2),
            (both(&carries(6), &port(4)), String::new(), 3),
            (both(&carries(6), &port(4)), carries(3), 4),
            (both(&carries(6), &port(4)), both(&carries(3), &port(2)), 6),
        ] {
            mesh.apply(&levels(&host, &subset)).await;
            // What is idle from before has carried what the settings before allowed.
            connections(&mut http, &server).await;
            let found = connections(&mut http, &server).await;
            assert!(found.abs_diff(expected) <= 1, "{host} | {subset}: {found} connections, not {expected}");
        }
        // The other port's are the subset's, and nothing of the first port's is inherited.
        let mut http = client.http1("10.96.0.1:9090").await;
        let found = connections(&mut http, &other).await;
        assert!(found.abs_diff(4) <= 1, "{found}");
    });
}

#[test]
fn a_rule_is_for_the_clients_that_it_selects_and_else_the_meshs_default_holds() {
    run(async {
        let default = rule(
            "istio-system",
            "default",
            &format!("{{host: '*.svc.cluster.local', trafficPolicy: {{{}}}}}", carries(6)),
        );
        let mesh = Mesh::new(&default).await;
        let mut servers = Vec::new();
        for address in ["10.9.1.1:9080", "10.9.1.2:9080", "10.9.1.3:9080"] {
            servers.push(Server::named(address, "v").await);
        }
        let only_v1 = virtual_service("http: [{route: [{destination: {host: reviews, subset: v1}}]}]");
        let selecting = rule(
            "shop",
            "front",
            &format!(
                "{{host: reviews, workloadSelector: {{matchLabels: {{tier: front}}}}, trafficPolicy: {{{}}}, \
                 subsets: [{{name: v1, labels: {{version: v1}}}}]}}",
                carries(2)
            ),
        );
        let subsets = rule("shop", "reviews", "{host: reviews, subsets: [{name: v1, labels: {version: v1}}]}");
        let (front, stranger) = (mesh.client("client").await, mesh.client("stranger").await);
        let mut front = front.http1(REVIEWS).await;
        let mut stranger = stranger.http1(REVIEWS).await;
        // By the default alone; the requests of one client are spread over three endpoints.
        for _ in 0..72 {
            assert_eq!(front.get("/", &[]).await.status, 200);
        }
        let carried: Vec<usize> = servers
            .iter()
            .flat_map(|server| {
                let mut of = BTreeMap::<usize, usize>::new();
                server.asked().iter().for_each(|asked| *of.entry(asked.connection).or_default() += 1);
                of.into_values().collect::<Vec<_>>()
            })
            .collect();
        assert!(carried.iter().all(|count| *count <= 6) && carried.contains(&6), "{carried:?}");
        mesh.apply(&(default.clone() + &only_v1 + &selecting + &subsets)).await;
        connections(&mut front, &servers[0]).await;
        assert_eq!(connections(&mut front, &servers[0]).await, 6);
        // The rule that is for everybody says nothing of connections, and what it leaves out is as if nothing were said.
        connections(&mut stranger, &servers[0]).await;
        assert_eq!(connections(&mut stranger, &servers[0]).await, 1);
    });
}

/// The Service `zoned`, two of whose endpoints are in the client's zone and one is not, and the client's node.
fn zoned() -> String {
    let endpoint = |address: &str, zone: &str| {
        format!("  - {{addresses: [{address}], zone: {zone}, conditions: {{ready: true}}}}\n")
    };
    format!(
        "
---
apiVersion: v1
kind: Node
metadata: {{name: a, labels: {{topology.kubernetes.io/zone: here}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: zoned, namespace: shop}}
spec: {{clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: zoned, namespace: shop, labels: {{kubernetes.io/service-name: zoned}}}}
addressType: IPv4
ports: [{{name: http, port: 80, protocol: TCP}}]
endpoints:
{}{}{}",
        endpoint("10.9.1.51", "here"),
        endpoint("10.9.1.52", "here"),
        endpoint("10.9.1.53", "there")
    )
}

/// How many of `count` requests each body answers.
async fn answers(http: &mut Http, count: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        *answers.entry(http.get("/", &[]).await.body).or_default() += 1;
    }
    answers
}

#[test]
fn requests_stay_near_and_go_elsewhere_when_nobody_is_left() {
    run(async {
        let failover = "{host: zoned, trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}, \
                        outlierDetection: {consecutive5xxErrors: 1, interval: 60s, baseEjectionTime: 600s, maxEjectionPercent: 100}}}";
        let mesh = Mesh::new(&(zoned() + &rule("shop", "zoned", failover))).await;
        let failing = Rc::new(Cell::new(false));
        let mut servers = Vec::new();
        for (address, name) in [("10.9.1.51:80", "near-1"), ("10.9.1.52:80", "near-2"), ("10.9.1.53:80", "far")] {
            let failing = failing.clone();
            let answer = move |_| {
                let status = if failing.get() && name != "far" { 500 } else { 200 };
                async move { Response::builder().status(status).body(name.into()).unwrap() }
            };
            servers.push(Server::answering(address, answer).await);
        }
        let client = mesh.client("client").await;
        let mut http = client.http1("10.96.0.7:80").await;
        let found = answers(&mut http, 200).await;
        assert!(!found.contains_key("far") && found.len() == 2, "{found:?}");
        // Those near fail, are ejected, and the one far away is left.
        failing.set(true);
        until("only the one far away answers", async || {
            answers(&mut http, 10).await.get("far").is_some_and(|far| *far == 10)
        })
        .await;
        let found = answers(&mut http, 50).await;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["far"], "{found:?}");
    });
}

/// The Service `placed`: endpoints that are no pods, each known by its node alone, and those nodes; the client's is `a`.
fn placed() -> String {
    let client = "{topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: z1}";
    let mut text = zoned().replace("zoned", "placed").replace("10.96.0.7", "10.96.0.6");
    text = text.replacen("{topology.kubernetes.io/zone: here}", client, 1);
    for (zone, node) in [("zone: here", "a"), ("zone: here", "b"), ("zone: there", "c")] {
        text = text.replacen(zone, &format!("nodeName: {node}"), 1);
    }
    for (node, region, zone) in [("b", "eu", "z2"), ("c", "us", "z1")] {
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {node}, labels: {{topology.kubernetes.io/region: {region}, \
             topology.kubernetes.io/zone: {zone}}}}}\n"
        ));
    }
    text
}

async fn at_places(failing: &Rc<Cell<&'static str>>) -> Vec<Server> {
    let mut servers = Vec::new();
    for (address, name) in [("10.9.1.51:80", "same-zone"), ("10.9.1.52:80", "same-region"), ("10.9.1.53:80", "far")] {
        let failing = failing.clone();
        let answer = move |_| {
            let status = if failing.get().contains(name) { 500 } else { 200 };
            async move { Response::builder().status(status).body(name.into()).unwrap() }
        };
        servers.push(Server::answering(address, answer).await);
    }
    servers
}

#[test]
fn shares_of_requests_go_where_distribute_says_wherever_the_client_is() {
    run(async {
        let spread = |distribute: &str| {
            let policy = format!("loadBalancer: {{localityLbSetting: {{enabled: true, distribute: [{distribute}]}}}}");
            placed() + &rule("shop", "placed", &format!("{{host: placed, trafficPolicy: {{{policy}}}}}"))
        };
        let mesh = Mesh::new(&spread("{from: eu/z1/*, to: {eu/z1/*: 70, eu/z2/*: 10, us/*: 20}}")).await;
        let _servers = at_places(&Rc::default()).await;
        let client = mesh.client("client").await;
        let mut http = client.http1("10.96.0.6:80").await;
        let found = answers(&mut http, 400).await;
        for (name, percent) in [("same-zone", 70.0), ("same-region", 10.0), ("far", 20.0)] {
            near(found.get(name).copied().unwrap_or_default(), 400, percent);
        }
        // What is nowhere in it gets nothing; and what is said for others is not for this client.
        mesh.apply(&spread("{from: us/*, to: {us/*: 100}}, {from: eu/*, to: {eu/z2/*: 50, us/*: 50}}")).await;
        let found = answers(&mut http, 200).await;
        assert!(!found.contains_key("same-zone"), "{found:?}");
        near(found["far"], 200, 50.0);
    });
}

#[test]
fn requests_go_to_whom_failover_priority_puts_first_and_then_to_the_next() {
    run(async {
        let first = |labels: &str| {
            let policy = format!(
                "{{loadBalancer: {{localityLbSetting: {{enabled: true, failoverPriority: [{labels}]}}}}, outlierDetection: \
                 {{consecutive5xxErrors: 1, interval: 60s, baseEjectionTime: 600s, maxEjectionPercent: 100}}}}"
            );
            placed() + &rule("shop", "placed", &format!("{{host: placed, trafficPolicy: {policy}}}"))
        };
        let mesh = Mesh::new(&first("'topology.kubernetes.io/zone=z2'")).await;
        let failing = Rc::new(Cell::new(""));
        let _servers = at_places(&failing).await;
        let client = mesh.client("client").await;
        let mut http = client.http1("10.96.0.6:80").await;
        // Of zone z2 first, which is not the client's: nothing of places but what is written counts.
        assert_eq!(answers(&mut http, 20).await, BTreeMap::from([("same-region".to_owned(), 20)]));
        mesh.apply(&first("topology.kubernetes.io/region, topology.kubernetes.io/zone")).await;
        for (failed, expected) in [("", "same-zone"), ("same-zone", "same-region"), ("same-zone same-region", "far")] {
            failing.set(failed);
            until("who fails is given up", async || answers(&mut http, 10).await.get(expected) == Some(&10)).await;
        }
    });
}

#[test]
fn an_endpoint_that_is_new_comes_to_its_share_by_and_by() {
    run(async {
        let warming = |seconds: u32, second: bool| {
            let policy = format!(
                "{{host: fresh, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN, warmup: {{duration: {seconds}s, minimumPercent: 10}}}}}}}}"
            );
            let mut slices = zoned().replace("zoned", "fresh").replace("10.96.0.7", "10.96.0.8");
            let kept = if second { 2 } else { 1 };
            let (head, endpoints) = slices.split_once("endpoints:\n").unwrap();
            let endpoints: Vec<_> = endpoints.lines().take(kept).collect();
            slices = format!("{head}endpoints:\n{}\n", endpoints.join("\n"));
            slices + &rule("shop", "fresh", &policy)
        };
        let mesh = Mesh::new(&warming(5, false)).await;
        let begun = Instant::now();
        let _servers = [Server::named("10.9.1.51:80", "old").await, Server::named("10.9.1.52:80", "new").await];
        let client = mesh.client("client").await;
        let mut http = client.http1("10.96.0.8:80").await;
        until("the first is warm", async || {
            assert_eq!(answers(&mut http, 10).await.len(), 1);
            begun.elapsed() > Duration::from_secs(5)
        })
        .await;
        mesh.apply(&warming(5, true)).await;
        // A tenth of a share next to a whole one, and no more than a half even where all this takes half of the time.
        let found = answers(&mut http, 44).await;
        let new = found.get("new").copied().unwrap_or_default();
        assert!((1..=15).contains(&new), "{found:?}");
        until("it has its share", async || {
            let found = answers(&mut http, 40).await;
            found.get("new").is_some_and(|new| (18..=22).contains(new))
        })
        .await;
    });
}
