//! Destinations that cannot be had. The one difference that an application can notice: connect() succeeds before the
//! far end is known to refuse, so that it sees a reset at once instead of a refusal (ARCHITECTURE.md, «What an
//! application can notice»).

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use ambit_tests::netns;
use serde_json::{Value, json};

use super::{INTO_THE_MESH, PASSTHROUGH, RAW, SAME_NODE, Seen, TUNNEL, event, seen, show};
use crate::world::{SHOP, SOON, WHOAMI, World, by_name};

/// How long an agent waits for a pod of its own node that is not there yet, in these tests.
const PATIENCE: Duration = Duration::from_secs(2);
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn a_refused_connection_is_a_reset_at_once() {
    let world = World::new();
    for family in [0, 1] {
        let to = |server: &str| world.at(server, 9)[family];
        assert_eq!(outcome(&world, RAW.client, to(RAW.server)).0, "refused");
        for (path, agent) in [(SAME_NODE, "a"), (TUNNEL, "a"), (TUNNEL, "b"), (PASSTHROUGH, "a"), (INTO_THE_MESH, "b")]
        {
            let log = world.process(agent).mark();
            let (ended, after) = outcome(&world, path.client, to(path.server));
            assert_eq!(ended, "reset", "{path:?}");
            assert!(after < AT_ONCE, "{path:?}: {after:?}");
            logged(&world, agent, log, "connection-refused");
        }
    }
}

#[test]
fn an_unreachable_destination_is_a_reset() {
    let mut world = World::with(&["--patience", &PATIENCE.as_secs().to_string()]);
    // Pods that the mesh knows and the network does not; and an address that nobody knows.
    let ghosts =
        [("ghost-a", "a", ["10.244.1.99", "fd00:244:1::99"]), ("ghost-b", "b", ["10.244.2.99", "fd00:244:2::99"])];
    for (name, node, ips) in ghosts {
        world
            .manifests
            .apply(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": SHOP,
                    "annotations": {"ambit.dev/netns": format!("/run/netns/no-such-{name}")},
                },
                "spec": {"nodeName": node, "serviceAccountName": name, "containers": [{"name": "x", "image": "x"}]},
                "status": {
                    "phase": "Running",
                    "podIP": ips[0],
                    "podIPs": ips.map(|ip| json!({"ip": ip})),
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }))
            .unwrap();
    }
    // Nobody waits for pods that are not there: until the agent knows them, they are strangers to it.
    let known = |dump: &Value, name: &str| by_name(dump, "workloads", "name", name).is_some();
    world.await_config(&["a"], |dump| ghosts.iter().all(|(name, ..)| known(dump, name)));
    let [(_, _, on_a), (_, _, on_b)] = ghosts;
    let rows = [
        ("same node", on_a, "unknown-workload", PATIENCE + AT_ONCE),
        ("tunnel", on_b, "no-route", AT_ONCE),
        ("passthrough", ["10.99.0.1", "fd00:99::1"], "no-route", AT_ONCE),
    ];
    for (name, ips, reason, within) in rows {
        for ip in ips {
            let to = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 80);
            let (without_us, raw) = outcome(&world, "outsider-a", to);
            assert_eq!(without_us, "unreachable", "{name}, {ip}");
            let log = world.process("a").mark();
            let (ended, after) = outcome(&world, "client", to);
            assert_eq!(ended, "reset", "{name}, {ip}");
            assert!(after < raw + within, "{name}, {ip}: {after:?}, without us {raw:?}");
            logged(&world, "a", log, reason);
        }
    }
}

#[test]
fn where_a_network_policy_lets_no_hbone_in_the_log_says_so() {
    let world = World::with(&["--connect-timeout", "1"]);
    let _far = world.serve("far");
    // A policy that lets the application's port in alone, as CNIs enforce it: on the way to the pod, without an answer.
    let [v4, v6] = world.pod("far").addresses();
    let rules = format!(
        "table inet cni {{ chain to_pods {{ type filter hook forward priority 0; \
         ip daddr {v4} tcp dport != {WHOAMI} drop; ip6 daddr {v6} tcp dport != {WHOAMI} drop; }}; }}"
    );
    let nft = |rules: &str| {
        let mut nft = Command::new("nft");
        nft.arg(rules);
        let node = world.topology.node("b").unwrap();
        assert!(netns::run_in(&node.netns.path(), || nft.status()).unwrap().unwrap().success(), "nft {rules}");
    };
    nft(&rules);
    for to in world.at("far", WHOAMI) {
        // Who does not speak HBONE gets in, as the policy says.
        assert!(world.answered("outsider-a", to), "{to}");
        let log = world.process("a").mark();
        assert_eq!(outcome(&world, "client", to).0, "reset", "{to}");
        let line = world.process("a").wait_line_after(log, "reason=tunnel-port-blocked", SOON).unwrap().text;
        assert!(line.contains("connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008"), "{line}");
        assert!(line.contains(&SocketAddr::new(to.ip(), 15008).to_string()), "{line}");
    }
    nft("delete table inet cni");
    for to in world.at("far", WHOAMI) {
        assert!(world.answered("client", to), "{to}");
    }
}

/// The error that ends a connection of `pod` to `to`, and how long it took from the start of the process.
fn outcome(world: &World, pod: &str, to: SocketAddr) -> (String, Duration) {
    let begun = Instant::now();
    let finished = world.dial(pod, to, "observe:9000").finish(SOON).unwrap();
    let last = finished.lines.iter().rfind(|line| event(line).is_some()).unwrap();
    let events: Vec<Seen> = seen(&finished);
    // A reset that arrives before the application has looked is reported by connect() itself.
    let error = events.last().and_then(|seen| seen.error.clone());
    (error.unwrap_or_else(|| show(&events)), last.at - begun)
}

/// Waits for a line of the access log with `reason`, after the first `mark` lines.
fn logged(world: &World, agent: &str, mark: usize, reason: &str) {
    let field = format!("reason={reason}");
    world.process(agent).wait_line_after(mark, &field, SOON).unwrap();
}
