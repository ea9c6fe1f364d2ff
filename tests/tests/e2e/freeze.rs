//! Receivers that never read, 64 each way between one pod pair: every other connection of that pair, old and new, answers
//! as before, and memory stays bounded.

use std::net::SocketAddr;
use std::time::Duration;

use ambit_tests::Process;
use serde_json::Value;

use crate::shop::until;
use crate::world::{self, SOON, World, vips};

/// Sleeping receivers in each direction.
const SLEEPERS: usize = 64;
/// Connections that are open all the time.
const OLD: &str = "50";
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
    let stuck = ["serve", &format!("source={SOURCE}"), &format!("sleeper={SLEEPER}")];
    let stuck = world.pod("far").testapp(&stuck).unwrap();
    stuck.wait_line("listening", SOON).unwrap();
    let mut old = world.pod("client").testapp(&["hold", "--to", &to(world::ECHO), "--count", OLD]).unwrap();
    old.wait_line("holding", SOON).unwrap();
    let before = (of_old(&mut old), of_new(&world));

    let client = world.pod("client");
    let [to_source, to_sleeper] =
        [SOURCE, SLEEPER].map(|port| SocketAddr::new(world.pod("far").v4.into(), port).to_string());
    let downloads: Vec<Process> =
        (0..SLEEPERS).map(|_| client.testapp(&["peer", "--dial", &to_source, "--script", "hold"]).unwrap()).collect();
    downloads.iter().for_each(|download| drop(download.wait_line("connected", SOON).unwrap()));
    let count = SLEEPERS.to_string();
    let uploads = ["load", "bulk", "--to", &to_sleeper, "--connections", &count, "--seconds", "600"];
    let uploads = client.testapp(&uploads).unwrap();
    let all = OLD.parse::<usize>().unwrap() + 2 * SLEEPERS;
    await_open(&world, all);
    await_standstill(&world);

    // A machine that is busy with something else delays a round now and then; what is frozen stays frozen.
    let now = (0..3).map(|_| (of_old(&mut old), of_new(&world)));
    let seen: Vec<_> = now.collect();
    let good = seen.iter().any(|(old, new)| old.within(BOUND, before.0) && new.within(BOUND, before.1));
    assert!(good, "before {before:?}, then {seen:?}");
    // Not only small answers: a transfer of the same pair moves.
    let transfer = world.report("client", &["duplex", "--to", &to(world::DUPLEX), "--bytes", "20000000"]);
    assert_eq!(transfer["received"], 20_000_000);
    for node in ["a", "b"] {
        let resident = resident(world.agent(node).process().unwrap());
        assert!(resident < MEMORY, "the agent of {node} needs {resident} KiB");
    }

    // Once they are gone, nothing is left of them.
    downloads.into_iter().for_each(|download| download.kill().unwrap());
    uploads.kill().unwrap();
    stuck.kill().unwrap();
    await_open(&world, OLD.parse().unwrap());
    of_old(&mut old);
}

fn to(port: u16) -> String {
    SocketAddr::new(vips("far")[0], port).to_string()
}

/// Waits until each agent has so many connections open.
fn await_open(world: &World, count: usize) {
    let open = |node: &str| -> usize {
        let workers = world.agent(node).admin("/connections").unwrap();
        workers.as_array().unwrap().iter().map(|worker| worker.as_array().unwrap().len()).sum()
    };
    until(SOON, || open("a") == count && open("b") == count)
        .unwrap_or_else(|_| panic!("not {count} connections are open, but {} and {}", open("a"), open("b")));
}

/// A round trip on all connections held, again and again: each round takes as long as the slowest of them.
fn of_old(old: &mut Process) -> Answers {
    let mut rounds: Vec<Duration> = (0..21)
        .map(|_| {
            let mark = old.mark();
            old.write_line("again").unwrap();
            let line = old.wait_line_after(mark, "\"ok\"", Duration::from_secs(40)).unwrap();
            let report: Value = serde_json::from_str(&line.text).unwrap();
            assert_eq!((report["ok"].to_string().as_str(), &report["failed"]), (OLD, &0.into()), "{report}");
            Duration::from_secs_f64(report["seconds"].as_f64().unwrap())
        })
        .collect();
    rounds.sort();
    Answers { median: rounds[10], worst: rounds[20] }
}

/// Requests, each on a connection of its own.
fn of_new(world: &World) -> Answers {
    let report = world.report("client", &["requests", "--to", &to(world::HTTP), "--every", "20", "--count", "50"]);
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
