//! How soon a new DENY refuses new connections: from the moment that its snapshot is published, and from its file's.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ambit_tests::process::Line;
use ambit_tests::{AccessLog, Process};
use serde_json::{Value, json};

use super::{await_policy, remove, spread};
use crate::world::{HTTP, SOON, World};

/// How often the policy is applied.
const APPLICATIONS: usize = 20;
/// Longer than the test: who connects does so until he is killed.
const SECONDS: &str = "600";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a line was written, as it says itself: since midnight, UTC. Whoever reads the log comes later.
fn written(line: &Line) -> Duration {
    let at = line.text.find('T').unwrap() + 1;
    let clock = &line.text[at..line.text.find('Z').unwrap()];
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    Duration::from_secs_f64(parts[0] * 3600.0 + parts[1] * 60.0 + parts[2])
}

/// The time of day now.
fn now() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since - DAY * u32::try_from(since.as_secs() / DAY.as_secs()).unwrap()
}

/// From one time of day to the other, midnight or not; none if it is the earlier, as a refusal can be than the line
/// about the snapshot that demands it.
fn between(from: Duration, to: Duration) -> Duration {
    let passed = if to >= from { to - from } else { to + DAY - from };
    if passed > DAY / 2 { Duration::ZERO } else { passed }
}

/// Whether the client was refused, if the line is about a connection of his as seen in `direction`.
fn refusal(line: &Line, direction: &str) -> Option<bool> {
    let log = AccessLog::parse(&line.text)?;
    let is_his = log.has(&[("direction", direction), ("src.workload", "client")]);
    is_his.then(|| log.field("reason") == "policy-denied")
}

/// When the first line after `mark` came that is `such`.
fn first(process: &Process, mark: usize, such: impl Fn(&Line) -> bool) -> Duration {
    let found = |lines: &[Line]| lines.iter().skip(mark).find(|line| such(line)).map(written);
    process.wait_for(SOON, found).unwrap_or_else(|| panic!("no such line:\n{}", process.tail()))
}

/// What is measured where.
struct Measured {
    says: &'static str,
    node: &'static str,
    direction: &'static str,
    after_snapshot: Vec<Duration>,
    after_file: Vec<Duration>,
}

impl Measured {
    fn new(says: &'static str, node: &'static str, direction: &'static str) -> Self {
        Self { says, node, direction, after_snapshot: Vec::new(), after_file: Vec::new() }
    }
}

fn deny() -> Value {
    json!({"action": "DENY", "rules": [{"from": [{"source": {"serviceAccounts": ["client"]}}]}]})
}

/// Applies the policy and removes it again while the client connects to `to`, on the node `at`, time after time.
fn measure(world: &mut World, (at, to): (&str, SocketAddr), all: &mut [Measured]) {
    let to = to.to_string();
    let _load = world.start("client", &["load", "connections", "--to", &to, "--seconds", SECONDS]);
    for _ in 0..APPLICATIONS {
        let mark = world.process(at).mark();
        first(world.process(at), mark, |line| refusal(line, "inbound") == Some(false));
        let marks = ["a", "b"].map(|node| world.process(node).mark());
        world.apply("AuthorizationPolicy", "deny", deny());
        let renamed = now();
        let mark = |node: &str| if node == "a" { marks[0] } else { marks[1] };
        let published = first(world.process(at), mark(at), |line| line.text.contains("snapshot published"));
        for measured in &mut *all {
            let process = world.process(measured.node);
            let refused = first(process, mark(measured.node), |line| refusal(line, measured.direction) == Some(true));
            measured.after_snapshot.push(between(published, refused));
            measured.after_file.push(between(renamed, refused));
        }
        await_policy(world, "AuthorizationPolicy", "deny", true);
        remove(world, "AuthorizationPolicy", "deny");
    }
    for measured in all {
        let (snapshot, file) = (spread(&mut measured.after_snapshot), spread(&mut measured.after_file));
        eprintln!("{}: after the snapshot {snapshot}; after the file {file}", measured.says);
        let late = |delay: &&Duration| **delay > Duration::from_secs(1);
        assert_eq!(measured.after_snapshot.iter().find(late), None, "{}: {snapshot}", measured.says);
    }
}

#[test]
fn a_new_deny_refuses_new_connections_at_once() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve_only(pod, &[&format!("http={HTTP}")]));
    let [near, far] = ["near", "far"].map(|pod| world.at(pod, HTTP)[0]);
    measure(&mut world, ("a", near), &mut [Measured::new("on one node", "a", "inbound")]);
    let across =
        [("across nodes, at the server's", "b", "inbound"), ("across nodes, at the client's", "a", "outbound")];
    measure(&mut world, ("b", far), &mut across.map(|(says, node, direction)| Measured::new(says, node, direction)));
}
