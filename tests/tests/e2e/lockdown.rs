//! Three tiers, the last a real PostgreSQL, locked down by the policies of `examples/lock-down`: by their pods' labels
//! while they share a service account, and by service accounts of their own (SC-002-11, F-12, F-13).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::topology::Plan;
use ambit_tests::{Process, until};
use serde_json::{Value, json};

use crate::databases::{PATIENCE, Postgres, postgres_client};
use crate::policy::{Refusal, await_policy};
use crate::world::{SHOP, SOON, World, by_name};

const POSTGRES: u16 = 5432;
/// From the front to the back; each asks the next.
const TIERS: [(&str, u16); 3] = [("todoui", 8090), ("todobackend", 8080), ("postgresdb", POSTGRES)];
/// In the tiers' namespace; in another one of the mesh, labelled as a tier; outside the mesh.
const OTHERS: [&str; 3] = ["intruder", "imposter", "outsider"];
/// A namespace of the mesh that is not the tiers'.
const ELSEWHERE: &str = "elsewhere";
const POLICIES: [&str; 3] = ["allow-nothing", "todobackend", "postgresdb"];

/// The application and those who want to get at it, every pod of the mesh with the service account `default`.
struct Todo {
    world: World,
    psql: PathBuf,
    _servers: [Process; 2],
    _postgres: Postgres,
}

impl Todo {
    fn start() -> Self {
        let pods = [("todoui", "a"), ("todobackend", "b"), ("postgresdb", "b"), ("intruder", "a"), ("imposter", "b")];
        let plan = pods
            .iter()
            .filter(|(pod, _)| *pod != "imposter")
            .fold(Plan::new(&["a", "b"]), |plan, (pod, node)| plan.pod(pod, node));
        let mut world = World::build(plan.pod("outsider", "a"), &[]);
        world.manifests.namespace(ELSEWHERE, true).unwrap();
        world.topology.start_pod("imposter", "b").unwrap();
        world.manifests.pod(ELSEWHERE, world.topology.pod("imposter").unwrap(), "todobackend").unwrap();
        // No service has it as an endpoint, whatever its label.
        world.set_ready("intruder", false);
        for (number, (name, port)) in (1..).zip(TIERS) {
            let vips = [format!("10.96.1.{number}"), format!("fd00:10:96::1:{number}")].map(|ip| ip.parse().unwrap());
            world.manifests.service(SHOP, &ServiceSpec { name, vips: &vips, ports: &[(port, port)] }).unwrap();
        }
        for (pod, _) in pods {
            account(&mut world, pod, "default");
        }
        let server = |(name, port): (&str, u16)| world.serve_only(name, &[&format!("whoami={port}")]);
        let servers = [server(TIERS[0]), server(TIERS[1])];
        let postgres = Postgres::start(&world, "postgresdb");
        world.agent("b").wait_captured(ELSEWHERE, "imposter", true, SOON).unwrap();
        let todo = Self { world, psql: postgres_client("psql"), _servers: servers, _postgres: postgres };
        todo.await_everything_open();
        todo
    }

    /// True if `client` is served by a tier at `to`: PostgreSQL answers a query, the others greet.
    fn served(&self, client: &str, to: SocketAddr) -> bool {
        if to.port() != POSTGRES {
            return self.world.answered(client, to);
        }
        let mut query = Command::new(&self.psql);
        query.args(["-h", &to.ip().to_string(), "-p", &to.port().to_string(), "-U", "postgres"]);
        query.args(["-XAtqc", "select 6 * 7", "postgres"]);
        let finished = self.world.pod(client).start(query).unwrap().finish(PATIENCE).unwrap();
        finished.status.success() && finished.stdout() == "42\n"
    }

    /// Everybody else with every tier, by the addresses of its service.
    fn pairs(&self) -> impl Iterator<Item = (&'static str, &'static str, SocketAddr)> {
        let clients = TIERS.map(|(name, _)| name).into_iter().chain(OTHERS);
        clients.flat_map(move |client| {
            let tiers = (1_u8..).zip(TIERS).filter(move |(_, (tier, _))| *tier != client);
            tiers.flat_map(move |(number, (tier, port))| {
                // Who is outside the mesh knows no service.
                let pod = self.world.pod(tier).addresses();
                let vips = [format!("10.96.1.{number}"), format!("fd00:10:96::1:{number}")];
                let vips = vips.map(|ip| ip.parse().unwrap());
                let addresses = if client == "outsider" { pod } else { vips };
                addresses.map(move |ip| (client, tier, SocketAddr::new(ip, port)))
            })
        })
    }

    /// A new service account reaches pod and peers at different moments.
    fn await_everything_open(&self) {
        for (client, tier, to) in self.pairs() {
            until(SOON, || self.served(client, to)).unwrap_or_else(|_| panic!("{client} to {tier} at {to}"));
        }
    }

    /// Exactly the pairs in `open` work; every other is reset, and both ends have logged why.
    fn locked_down_but_for(&self, open: &[(&str, &str)]) {
        for (client, tier, to) in self.pairs() {
            let reason = if client == "outsider" { "mtls-required" } else { "no-policy-matched" };
            let refusal = Refusal { world: &self.world, client, server: tier, to, reason };
            let before = refusal.logged();
            let admitted = open.contains(&(client, tier));
            assert_eq!(self.served(client, to), admitted, "{client} to {tier} at {to}");
            if admitted {
                assert_eq!(refusal.logged(), before, "{client} to {tier} at {to}");
                continue;
            }
            refusal.wait_beyond(&before);
            let seen = self.world.dialled(client, to, "observe:20000");
            assert!(seen.contains(r#""error":"reset""#), "{client} to {tier} at {to}: {seen}");
        }
    }

    /// Puts the policies of the example in force, in place of others of their names.
    fn apply(&mut self, example: &str) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lock-down").join(example);
        let text = fs::read_to_string(directory.join("policies.yaml")).unwrap();
        self.world.manifests.write("policies.yaml", &text).unwrap();
        self.await_policies(true);
    }

    fn remove(&mut self) {
        fs::remove_file(self.world.manifests.directory().join("policies.yaml")).unwrap();
        self.await_policies(false);
    }

    fn await_policies(&self, present: bool) {
        await_policy(&self.world, "PeerAuthentication", "default", present);
        POLICIES.iter().for_each(|name| await_policy(&self.world, "AuthorizationPolicy", name, present));
    }
}

fn account(world: &mut World, pod: &str, account: &str) {
    let namespace = if pod == "imposter" { ELSEWHERE } else { SHOP };
    let edit = |object: &mut Value| object["spec"]["serviceAccountName"] = json!(account);
    world.manifests.edit("Pod", namespace, pod, edit).unwrap();
    let identity = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
    await_workload(world, pod, |workload| workload["identity"] == identity);
}

fn label(world: &mut World, pod: &str, app: &str) {
    world.manifests.label(("Pod", SHOP, pod), "app", Some(app)).unwrap();
    await_workload(world, pod, |workload| workload["labels"]["app"] == app);
}

/// Waits until both agents see `pod` as it `is`.
fn await_workload(world: &World, pod: &str, is: impl Fn(&Value) -> bool) {
    world.await_config(&["a", "b"], |dump| by_name(dump, "workloads", "name", pod).is_some_and(&is));
}

#[test]
fn tiers_in_front_of_a_postgresql_are_locked_down_by_labels_and_by_service_accounts() {
    const NEXT: [(&str, &str); 2] = [("todoui", "todobackend"), ("todobackend", "postgresdb")];
    let mut todo = Todo::start();
    todo.apply("by-labels");
    todo.locked_down_but_for(&NEXT);
    // Whoever may label pods in the namespace may join a tier, and leaves it with the label.
    label(&mut todo.world, "intruder", "todobackend");
    todo.locked_down_but_for(&[NEXT[0], NEXT[1], ("intruder", "postgresdb")]);
    label(&mut todo.world, "intruder", "intruder");
    todo.locked_down_but_for(&NEXT);
    todo.remove();
    todo.await_everything_open();

    // Service accounts tell nobody from anybody while they are shared.
    todo.apply("by-accounts");
    todo.locked_down_but_for(&[]);
    todo.remove();
    for (tier, _) in TIERS {
        account(&mut todo.world, tier, tier);
    }
    todo.await_everything_open();
    todo.apply("by-accounts");
    // To them a label is nothing.
    label(&mut todo.world, "intruder", "todobackend");
    todo.locked_down_but_for(&NEXT);
    todo.remove();
    todo.await_everything_open();
}
