//! The pods of a StatefulSet, each by its own name, as an application's resolver finds it (C-05, A-07).

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use ambit_tests::topology::Plan;
use ambit_tests::{Process, Wire};
use serde_json::{Value, json};

use crate::world::{SHOP, SOON, World};

const REDIS: [(&str, &str); 3] = [("redis-0", "a"), ("redis-1", "b"), ("redis-2", "b")];
const PORT: u16 = 6379;
/// As the kubelet writes it; nobody has the server's address.
const RESOLV_CONF: &str = "nameserver 10.96.0.10\n\
    search shop.svc.cluster.local svc.cluster.local cluster.local\n\
    options ndots:5\n";

/// The StatefulSet `redis` with its headless Service, and a server in each of its pods.
fn redis() -> (World, Vec<Process>) {
    let plan = Plan::new(&["a", "b"]).pod("client", "a");
    let plan = REDIS.iter().fold(plan, |plan, (pod, node)| plan.pod(pod, node));
    let mut world = World::build(plan, &[]);
    for (pod, _) in REDIS {
        let of_set = |object: &mut Value| {
            let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "redis", "controller": true});
            object["metadata"]["ownerReferences"] = json!([owner]);
            object["metadata"]["labels"] = json!({"app": "redis", "statefulset.kubernetes.io/pod-name": pod});
            object["spec"]["serviceAccountName"] = json!("redis");
            object["spec"]["hostname"] = json!(pod);
            object["spec"]["subdomain"] = json!("redis");
        };
        world.manifests.edit("Pod", SHOP, pod, of_set).unwrap();
    }
    let spec =
        json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": "redis"}, "ports": [{"port": PORT}]});
    world.apply("Service", "redis", spec);
    world.await_config(&["a", "b"], |dump| {
        let workloads = dump["workloads"].as_array().unwrap();
        let of_set = workloads.iter().filter(|w| w["identity"] == "spiffe://cluster.local/ns/shop/sa/redis");
        of_set.count() == REDIS.len() && dump["services"].to_string().contains("redis.shop.svc.cluster.local")
    });
    let servers = REDIS.map(|(pod, _)| world.serve_only(pod, &[&format!("whoami={PORT}")]));
    (world, servers.into())
}

/// The addresses that the C library of a process in `client` finds for `name`, ascending.
fn resolve(world: &World, name: &str) -> Vec<IpAddr> {
    let resolv_conf = world.topology.directory().join("resolv.conf");
    std::fs::write(&resolv_conf, RESOLV_CONF).unwrap();
    let mut command = Command::new("unshare");
    // A mount namespace of its own, in which the pod's file is where the library looks for it.
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec getent ahosts \"$1\"";
    command.args(["--mount", "sh", "-c", script]).arg(&resolv_conf).arg(name);
    let finished = world.pod("client").start(command).unwrap().finish(SOON).unwrap();
    let lines = finished.success().unwrap().stdout();
    let mut found: Vec<IpAddr> = lines.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn each_pod_of_a_stateful_set_is_reached_by_its_name_with_its_identity() {
    let (world, _servers) = redis();
    let wire = Wire::between(&world.topology, &[]).unwrap();
    for (pod, node) in REDIS {
        let mut own = world.pod(pod).addresses();
        own.sort_unstable();
        // The first by the search path, the second as it is: what is between needs a server that knows what is not.
        for name in ["redis", "redis.shop.svc.cluster.local"] {
            assert_eq!(resolve(&world, &format!("{pod}.{name}")), own, "{pod}.{name}");
        }
        for ip in resolve(&world, &format!("{pod}.redis")) {
            let to = SocketAddr::new(ip, PORT).to_string();
            let report = world.report("client", &["greeting", "--to", &to, "--count", "3"]);
            for line in report["lines"].as_array().unwrap() {
                assert!(line.as_str().unwrap().starts_with(&format!("{pod} ")), "{to}: {line}");
            }
            let address = if node == "a" { "dst.addr" } else { "dst.hbone_addr" };
            let fields = [
                (address, to.as_str()),
                ("src.identity", "spiffe://cluster.local/ns/shop/sa/client"),
                ("dst.identity", "spiffe://cluster.local/ns/shop/sa/redis"),
                ("dst.workload", pod),
                ("dst.service", "redis.shop.svc.cluster.local"),
            ];
            world.agent("a").wait_access_log(&[&fields[..], &[("direction", "outbound")]].concat(), SOON).unwrap();
            world.agent(node).wait_access_log(&[&fields[1..], &[("direction", "inbound")]].concat(), SOON).unwrap();
        }
    }
    // The Service's own name is all of them.
    let mut all: Vec<IpAddr> = REDIS.iter().flat_map(|(pod, _)| world.pod(pod).addresses()).collect();
    all.sort_unstable();
    assert_eq!(resolve(&world, "redis"), all);
    wire.stop().unwrap().only_hbone().unwrap();
}
