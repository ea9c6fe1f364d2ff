//! Who may talk to whom, at the destination's agent: PeerAuthentication, AuthorizationPolicy by identity, and what a
//! change of policy does to connections that are open (C-10, F-01, F-05, F-06).

mod first_refusal;
mod levels;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_tests::process::Line;
use ambit_tests::topology::Plan;
use ambit_tests::{AccessLog, Agent};
use serde_json::{Value, json};

use crate::world::{BANNER, ECHO, SHOP, SOON, WHOAMI, World, by_name};

/// Writes a policy of `kind` into namespace `shop` and waits until both agents have it.
pub(crate) fn apply(world: &mut World, kind: &str, name: &str, spec: Value) {
    world.apply(kind, name, spec);
    await_policy(world, kind, name, true);
}

fn remove(world: &mut World, kind: &str, name: &str) {
    world.manifests.delete(kind, SHOP, name).unwrap();
    await_policy(world, kind, name, false);
}

pub(crate) fn await_policy(world: &World, kind: &str, name: &str, present: bool) {
    let list = if kind == "PeerAuthentication" { "peerAuthentications" } else { "authorizationPolicies" };
    let key = format!("{SHOP}/{name}");
    world.await_config(&["a", "b"], |dump| by_name(dump, list, "key", &key).is_some() == present);
}

/// Every client that `expected` names can reach `to` by both families, or not, as it says; every refusal is logged
/// for `reason` where the pod `server` runs.
pub(crate) fn expect(world: &World, (server, port): (&str, u16), reason: &str, expected: &[(&str, bool)]) {
    for to in world.at(server, port) {
        for (client, admitted) in expected {
            let refusal = Refusal { world, client, server, to, reason };
            let before = refusal.logged();
            assert_eq!(world.answered(client, to), *admitted, "{client} to {server} at {to}");
            if !admitted {
                refusal.wait_beyond(&before);
            }
        }
    }
}

/// A refusal as both ends have to log it.
pub(crate) struct Refusal<'a> {
    pub(crate) world: &'a World,
    pub(crate) client: &'a str,
    pub(crate) server: &'a str,
    /// Of this, the family and the port: the server may have been dialled by a service.
    pub(crate) to: SocketAddr,
    pub(crate) reason: &'a str,
}

impl Refusal<'_> {
    /// Who logs it: the server's agent, and the client's unless that is outside the mesh; with the direction.
    fn ends(&self) -> impl Iterator<Item = (&Agent, &'static str)> {
        let agent = |pod: &str| self.world.agent(&self.world.pod(pod).node);
        let of_client = (!self.client.starts_with("outsider")).then(|| (agent(self.client), "outbound"));
        std::iter::once((agent(self.server), "inbound")).chain(of_client)
    }

    /// The lines of `log` that say so.
    fn lines<'a>(&self, log: &'a [AccessLog], direction: &str) -> Vec<&'a AccessLog> {
        let ip = self.world.ip_like(self.client, self.to.ip()).to_string();
        let port = format!(":{}", self.to.port());
        let is = |line: &&AccessLog| {
            let address = if line.field("dst.hbone_addr").is_empty() { "dst.addr" } else { "dst.hbone_addr" };
            line.has(&[("reason", self.reason), ("direction", direction), ("dst.workload", self.server)])
                && line.field(address).ends_with(&port)
                && line.field("src.addr").contains(&ip)
        };
        log.iter().filter(is).collect()
    }

    /// How often each end has logged it.
    pub(crate) fn logged(&self) -> Vec<usize> {
        self.ends().map(|(agent, direction)| self.lines(&agent.access_log(), direction).len()).collect()
    }

    /// Waits until each end has logged it once more than `before`: with both identities, where there are two, and with
    /// the policy; and has counted it.
    pub(crate) fn wait_beyond(&self, before: &[usize]) {
        let Self { client, server, to, reason, .. } = self;
        for ((agent, direction), before) in self.ends().zip(before) {
            agent.wait_access_logs(SOON, |log| self.lines(log, direction).len() > *before).unwrap_or_else(|error| {
                panic!("{client} to {server} at {to}: {reason} is not logged {direction} beyond {before}: {error}");
            });
            let log = agent.access_log();
            let lines = self.lines(&log, direction);
            assert_eq!(lines.len(), before + 1, "{client} to {server} at {to} {direction}: {lines:?}");
            let line = lines[*before];
            let identities = ["src.identity", "dst.identity"].map(|field| line.field(field).starts_with("spiffe://"));
            assert_eq!(identities[0], !client.starts_with("outsider"), "{line:?}");
            assert!(identities[1] || client.starts_with("outsider"), "{line:?}");
            let named = match *reason {
                "policy-denied" | "no-policy-matched" => "AuthorizationPolicy ",
                "mtls-required" => "PeerAuthentication ",
                _ => "",
            };
            assert!(line.field("error").contains(named), "{line:?}");
            let counted = agent.metrics().unwrap().sum("ambit_refused_total", &[("reason", reason)]);
            assert!(counted >= (before + 1) as f64, "{reason} is counted {counted} times");
        }
    }
}

fn source(source: Value) -> Value {
    json!([{"from": [{"source": source}]}])
}

#[test]
fn strict_refuses_clear_text_and_permissive_takes_it_port_by_port() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let all = [("client", true), ("outsider-a", true), ("outsider-b", true)];
    let meshed = [("client", true), ("outsider-a", false), ("outsider-b", false)];
    let reason = "mtls-required";
    expect(&world, ("near", WHOAMI), reason, &all);
    apply(&mut world, "PeerAuthentication", "default", json!({"mtls": {"mode": "STRICT"}}));
    for server in ["near", "far"] {
        expect(&world, (server, WHOAMI), reason, &meshed);
    }
    let ports = json!({BANNER.to_string(): {"mode": "PERMISSIVE"}});
    let spec = json!({"selector": {"matchLabels": {"app": "far"}}, "portLevelMtls": ports});
    apply(&mut world, "PeerAuthentication", "exception", spec);
    expect(&world, ("far", BANNER), reason, &all);
    expect(&world, ("far", WHOAMI), reason, &meshed);
    expect(&world, ("near", BANNER), reason, &meshed);
    remove(&mut world, "PeerAuthentication", "default");
    expect(&world, ("near", WHOAMI), reason, &all);
}

#[test]
fn a_policy_of_the_root_namespace_is_for_the_whole_mesh_and_of_another_for_that_alone() {
    const ROOT: &str = "mesh-root";
    let mut world = World::with(&["--root-namespace", ROOT]);
    let _server = world.serve("far");
    let strict = |namespace: &str| {
        let metadata = json!({"name": "default", "namespace": namespace});
        let spec = json!({"mtls": {"mode": "STRICT"}});
        json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": metadata, "spec": spec})
    };
    let await_known = |world: &World, namespace: &str| {
        let key = format!("{namespace}/default");
        world.await_config(&["b"], |dump| by_name(dump, "peerAuthentications", "key", &key).is_some());
    };
    // Istio's own is one like any other then.
    world.manifests.apply(strict("istio-system")).unwrap();
    await_known(&world, "istio-system");
    expect(&world, ("far", WHOAMI), "mtls-required", &[("client", true), ("outsider-a", true), ("outsider-b", true)]);
    world.manifests.apply(strict(ROOT)).unwrap();
    await_known(&world, ROOT);
    expect(&world, ("far", WHOAMI), "mtls-required", &[("client", true), ("outsider-a", false), ("outsider-b", false)]);
}

#[test]
fn policies_admit_and_deny_by_principal_namespace_and_port_deny_first() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let principal = format!("cluster.local/ns/{SHOP}/sa/client");
    apply(&mut world, "AuthorizationPolicy", "allow", json!({"rules": source(json!({"principals": [principal]}))}));
    // Each client is on the server's node or not: within the node and across, and in clear.
    expect(&world, ("far", WHOAMI), "no-policy-matched", &[("client", true), ("near", false), ("outsider-b", false)]);
    expect(&world, ("near", WHOAMI), "no-policy-matched", &[("client", true), ("far", false), ("outsider-a", false)]);
    let rules = json!([{
        "from": [{"source": {"namespaces": [SHOP]}}],
        "to": [{"operation": {"ports": [WHOAMI.to_string()]}}],
    }]);
    apply(&mut world, "AuthorizationPolicy", "deny", json!({"action": "DENY", "rules": rules}));
    for server in ["near", "far"] {
        expect(&world, (server, WHOAMI), "policy-denied", &[("client", false)]);
        expect(&world, (server, BANNER), "policy-denied", &[("client", true)]);
    }
    let told = "AuthorizationPolicy shop/deny, rule 0: the peer answered with status 401";
    let is_told = |line: &AccessLog| line.field("dst.workload") == "far" && line.field("error").ends_with(told);
    assert!(world.agent("a").access_log().iter().any(is_told), "the client's agent names the policy across nodes");
    // The same on trial: it is noted, and has no effect.
    let metadata = json!({"name": "deny", "namespace": SHOP, "annotations": {"istio.io/dry-run": "true"}});
    world.manifests.edit("AuthorizationPolicy", SHOP, "deny", |policy| policy["metadata"] = metadata).unwrap();
    world.await_config(&["a", "b"], |dump| {
        dump["authorizationPolicies"].as_array().unwrap().iter().any(|policy| policy["dry_run"] == true)
    });
    for server in ["near", "far"] {
        expect(&world, (server, WHOAMI), "", &[("client", true)]);
        let agent = world.agent(&world.pod(server).node).process().unwrap();
        let line = agent.wait_line("policy on trial", SOON).unwrap().text;
        assert!(line.contains("policy=shop/deny") && line.contains("client"), "{line}");
        // A connection by either family, and none of those that came before the trial.
        let labels = [("policy_namespace", SHOP), ("policy", "deny"), ("action", "DENY"), ("matched", "true")];
        let agent = world.agent(&world.pod(server).node);
        assert_eq!(agent.metrics().unwrap().sum("ambit_policy_trials_total", &labels), 2.0);
    }
    remove(&mut world, "AuthorizationPolicy", "deny");
    remove(&mut world, "AuthorizationPolicy", "allow");
    for server in ["near", "far"] {
        expect(&world, (server, WHOAMI), "", &[("client", true), ("outsider-a", true)]);
    }
}

/// When a log was seen to say so of each of the connections that a change of policy closed.
fn closed(lines: &[Line], direction: &str) -> Vec<Instant> {
    let text = "connection closed due to policy change: policy-denied, AuthorizationPolicy shop/deny, rule 0";
    let closed = |line: &AccessLog| {
        // The far side of a tunnel knows the reason and not the policy.
        line.has(&[("reason", "policy-changed"), ("direction", direction)])
            && text.starts_with(line.field("error"))
            && !line.field("error").is_empty()
    };
    let lines = lines.iter();
    lines.filter(|line| AccessLog::parse(&line.text).is_some_and(|line| closed(&line))).map(|line| line.at).collect()
}

/// Median and maximum of what has passed between `begun` and each of `moments`.
fn delays(begun: Instant, moments: &[Instant]) -> String {
    spread(&mut moments.iter().map(|at| at.saturating_duration_since(begun)).collect::<Vec<_>>())
}

/// Median and maximum of `delays`, which it sorts.
fn spread(delays: &mut [Duration]) -> String {
    delays.sort();
    format!("median {:.1?}, maximum {:.1?}", delays[delays.len() / 2], delays[delays.len() - 1])
}

#[test]
fn a_new_deny_closes_exactly_the_open_connections_that_it_is_for() {
    const COUNT: usize = 50;
    let pods = [("client", "a"), ("second", "a"), ("near", "a"), ("third", "b"), ("far", "b")];
    let outside = [("outsider-a", "a"), ("outsider-b", "b")];
    let plan = pods.iter().chain(&outside).fold(Plan::new(&["a", "b"]), |plan, (pod, node)| plan.pod(pod, node));
    let mut world = World::build(plan, &[]);
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let mut held = Vec::new();
    for client in ["client", "second", "third", "outsider-a", "outsider-b"] {
        for (family, server) in ["near", "far"].into_iter().enumerate() {
            held.push((client, world.hold(client, world.at(server, ECHO)[family], COUNT)));
        }
    }
    let rules = source(json!({"serviceAccounts": ["client"]}));
    let marks = ["a", "b"].map(|node| world.process(node).mark());
    let begun = Instant::now();
    world.apply("AuthorizationPolicy", "deny", json!({"action": "DENY", "rules": rules}));
    // Within the node both ends are this agent's; across, each has its own: 50 of each.
    let closes = [("a", "inbound", COUNT), ("b", "inbound", COUNT), ("a", "outbound", 2 * COUNT)];
    for (node, direction, count) in closes {
        let all = |lines: &[Line]| (closed(lines, direction).len() == count).then_some(());
        world.process(node).wait_for(SOON, all).unwrap();
    }
    eprintln!("{} of {} connections were closed by policy", 2 * COUNT, held.len() * COUNT);
    for (node, direction, _) in closes {
        let closed = closed(&world.process(node).lines(), direction);
        let mark = if node == "a" { marks[0] } else { marks[1] };
        let published = world.process(node).wait_line_after(mark, "snapshot published", SOON).unwrap();
        let (written, shown) = (delays(begun, &closed), delays(published.at, &closed));
        let late = |at: &&Instant| at.saturating_duration_since(published.at) > Duration::from_secs(1);
        assert_eq!(closed.iter().find(late), None, "after the snapshot {shown}");
        eprintln!("node {node}, {direction}: after the file was written {written}; after the snapshot {shown}");
    }
    for (client, held) in &mut held {
        let expected = if *client == "client" { 0 } else { COUNT };
        assert_eq!(held.alive(), expected, "{client}");
    }
    assert!(closed(&world.process("b").lines(), "outbound").is_empty());
    for node in ["a", "b"] {
        let full = world.agent(node).access_log().into_iter();
        let full = full.filter(|line| line.field("error").ends_with("AuthorizationPolicy shop/deny, rule 0"));
        assert!(full.count() >= COUNT, "the destination's agent names the policy");
    }
    apply(&mut world, "PeerAuthentication", "strict", json!({"mtls": {"mode": "STRICT"}}));
    // Of two outsiders to a server on each node.
    for node in ["a", "b"] {
        let cut = |line: &&AccessLog| line.field("error").contains("PeerAuthentication shop/strict");
        world.agent(node).wait_access_logs(SOON, |log| log.iter().filter(cut).count() == 2 * COUNT).unwrap();
    }
    for (client, held) in &mut held {
        let expected = if ["second", "third"].contains(client) { COUNT } else { 0 };
        assert_eq!(held.alive(), expected, "{client}");
    }
}

#[test]
fn the_applications_at_both_ends_of_what_policy_closes_are_reset() {
    let mut world = World::new();
    for (client, server) in [("client", "near"), ("client", "far"), ("outsider-a", "far")] {
        for (family, to) in world.at(server, 7100).into_iter().enumerate() {
            let listening = world.listen(server, to, "recv:5,observe:20000");
            let dialling = world.dial(client, to, "send:5,observe:20000");
            listening.wait_line(r#""event":"received""#, SOON).unwrap();
            let deny = format!("deny{family}");
            let rules = json!([{"to": [{"operation": {"ports": ["7100"]}}]}]);
            apply(&mut world, "AuthorizationPolicy", &deny, json!({"action": "DENY", "rules": rules}));
            for end in [listening, dialling] {
                let seen = end.finish(SOON).unwrap().stdout();
                assert!(seen.contains(r#""error":"reset""#), "{client} to {to}: {seen}");
            }
            remove(&mut world, "AuthorizationPolicy", &deny);
        }
    }
}
