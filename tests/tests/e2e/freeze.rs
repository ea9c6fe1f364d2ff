//! Receivers that never read, 64 each way between one pod pair: every other connection of that pair, old and new, answers
//! as before, and memory stays bounded.

use std::time::Duration;

use ambit_tests::{Process, until};

use crate::world::{DUPLEX, ECHO, HTTP, Held, SOON, World, vip};

/// Sleeping receivers in each direction.
const SLEEPERS: usize = 64;
/// Connections that are open all the time.
const OLD: usize = 50;
/// How much later an answer may come than before.
const BOUND: Duration = Duration::from_millis(100);
/// More than either agent may need, in KiB.
const MEMORY: u64 = 256 << 10;
/// Where the server listens that sends without end, and the one that never reads.
const SOURCE: u16 = 7100;
const SLEEPER: u16 = 7101;

/// How soon connections answered: as a rule, and the slowest of them.
#[derive(Clone, Copy, Debug)]
struct Answers {
    median: Duration,
    worst: Duration,
}

impl Answers {
    fn within(self, bound: Duration, before: Self) -> bool {
        self.median <= before.median + bound && self.worst <= before.worst + bound
    }
}

#[test]
fn heavy_receivers_that_never_read_hold_up_nobody_else() {
    let world = World::new();
    let _server = world.serve("far");
    let stuck = world.serve_only("far", &[&format!("source={SOURCE}"), &format!("sleeper={SLEEPER}")]);
    let mut old = world.hold("client", vip("far", ECHO)[0], OLD);
    let before = (of_old(&mut old), of_new(&world));

    let [to_source, to_sleeper] = [SOURCE, SLEEPER].map(|port| world.at("far", port)[0]);
    let downloads: Vec<Process> = (0..SLEEPERS).map(|_| world.dial("client", to_source, "hold")).collect();
    downloads.iter().for_each(|download| drop(download.wait_line("connected", SOON).unwrap()));
    let count = SLEEPERS.to_string();
    let to_sleeper = to_sleeper.to_string();
    let uploads = ["load", "bulk", "--to", &to_sleeper, "--connections", &count, "--seconds", "600"];
    let uploads = world.start("client", &uploads);
    await_open(&world, OLD + 2 * SLEEPERS);
    await_standstill(&world);

    // A machine that is busy with something else delays a round now and then; what is frozen stays frozen.
    let now = (0..3).map(|_| (of_old(&mut old), of_new(&world)));
    let seen: Vec<_> = now.collect();
    let good = seen.iter().any(|(old, new)| old.within(BOUND, before.0) && new.within(BOUND, before.1));
    assert!(good, "before {before:?}, then {seen:?}");
    // Not only small answers: a transfer of the same pair moves.
    let transfer = world.report("client", &["duplex", "--to", &to(DUPLEX), "--bytes", "20000000"]);
    assert_eq!(transfer["received"], 20_000_000);
    for node in ["a", "b"] {
        let resident = resident(world.process(node));
        assert!(resident < MEMORY, "the agent of {node} needs {resident} KiB");
    }

    // Once they are gone, nothing is left of them.
    downloads.into_iter().for_each(|download| download.kill().unwrap());
    uploads.kill().unwrap();
    stuck.kill().unwrap();
    await_open(&world, OLD);
    of_old(&mut old);
}

fn to(port: u16) -> String {
    vip("far", port)[0].to_string()
}

/// Waits until each agent has so many connections open.
fn await_open(world: &World, count: usize) {
    let open = |node: &str| world.open_connections(node).len();
    until(SOON, || open("a") == count && open("b") == count)
        .unwrap_or_else(|_| panic!("not {count} connections are open, but {} and {}", open("a"), open("b")));
}

/// A round trip on all connections held, again and again: each round takes as long as the slowest of them.
fn of_old(old: &mut Held) -> Answers {
    let mut rounds: Vec<Duration> = (0..21).map(|_| old.all_work()).collect();
    rounds.sort();
    Answers { median: rounds[10], worst: rounds[20] }
}

/// Requests, each on a connection of its own.
fn of_new(world: &World) -> Answers {
    let report = world.report("client", &["requests", "--to", &to(HTTP), "--every", "20", "--count", "50"]);
    assert_eq!((&report["ok"], &report["failed"]), (&50.into(), &0.into()), "{report}");
    let [median, worst] = ["p50_us", "max_us"].map(|name| report["latency"][name].as_u64().unwrap());
    Answers { median: Duration::from_micros(median), worst: Duration::from_micros(worst) }
}

/// Waits until every window is full: until the link between the nodes carries next to nothing any more.
fn await_standstill(world: &World) {
    let nodes = world.topology.nodes();
    let link = nodes[0].link_to(nodes[1].number);
    let carried = || {
        let table = nodes[0].netns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{link}:")).map(str::to_owned));
        let fields: Vec<u64> = line.unwrap().split_whitespace().map(|field| field.parse().unwrap()).collect();
        fields[0] + fields[8]
    };
    let still = || {
        let before = carried();
        // There is no event for «nothing moves any more»: so long without a byte to speak of.
        std::thread::park_timeout(Duration::from_millis(300));
        carried() - before < 64 << 10
    };
    until(Duration::from_secs(60), still).expect("the receivers that never read are still sent to");
}

/// What a process has in memory, in KiB.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
