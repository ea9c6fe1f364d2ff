//! The harness without a mesh: pods reach one another on the raw path, every tool works, and the capture sees what is
//! there to be seen. Without this no other test proves anything.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use ambit_tests::payload::MARKER;
use ambit_tests::topology::Plan;
use ambit_tests::{Process, Topology, Wire};
use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

fn two_nodes() -> Topology {
    Plan::new(&["a", "b"]).pod("client", "a").pod("near", "a").pod("far", "b").build().unwrap()
}

fn serve(topology: &Topology, pod: &str, services: &[&str]) -> Process {
    let arguments = [&["serve"], services].concat();
    let server = topology.pod(pod).unwrap().testapp(&arguments).unwrap();
    server.wait_line("listening", SOON).unwrap();
    server
}

fn report(topology: &Topology, arguments: &[&str]) -> Value {
    topology.pod("client").unwrap().testapp(arguments).unwrap().report(SOON).unwrap()
}

/// Every way from the client: same node and across, both families.
fn ways(topology: &Topology, port: u16) -> Vec<String> {
    let pods = ["near", "far"].map(|name| topology.pod(name).unwrap());
    pods.iter().flat_map(|pod| pod.addresses()).map(|ip| SocketAddr::new(ip, port).to_string()).collect()
}

#[test]
fn pods_reach_one_another_at_once_by_both_families() {
    let topology = two_nodes();
    let _servers = ["near", "far"].map(|pod| serve(&topology, pod, &["whoami=7000"]));
    for way in ways(&topology, 7000) {
        let client = topology.pod("client").unwrap();
        let script = ["peer", "--dial", &way, "--script", "observe:2000"];
        let finished = client.testapp(&script).unwrap().finish(SOON).unwrap().success().unwrap();
        assert!(finished.stdout().contains(r#""event":"eof""#), "{way}: {}", finished.stdout());
    }
}

#[test]
fn a_topology_is_made_in_a_second_and_leaves_nothing() {
    let started = Instant::now();
    let topology = two_nodes();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let (name, cgroup) = (topology.name().to_owned(), topology.nodes()[0].cgroup.clone());
    let server = serve(&topology, "far", &["echo=7000"]);
    let pid = server.pid();
    server.detach();
    drop(topology);
    let netns = std::fs::read_dir("/run/netns").unwrap().flatten();
    assert_eq!(netns.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name)).count(), 0);
    assert!(!cgroup.exists());
    // Dead, though nobody has waited for it: a zombie has no command line.
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default(), "");
}

#[test]
fn a_process_stops_when_asked_even_if_its_starter_holds_signals_back() {
    let topology = two_nodes();
    let mut held_back = SigSet::empty();
    held_back.add(Signal::SIGTERM);
    held_back.thread_block().unwrap();
    let sleeper = topology.pod("far").unwrap().start(Command::new("cat")).unwrap();
    assert_eq!(sleeper.stop(SOON).unwrap().status.signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn the_tools_work_on_the_raw_path() {
    let topology = two_nodes();
    let services = ["echo=7000", "duplex=7001", "http=7002", "http2=7003", "websocket=7004", "discard=7005"];
    let _server = serve(&topology, "far", &services);
    let far = topology.pod("far").unwrap();
    let at = |port: u16| SocketAddr::new(far.v6.into(), port).to_string();

    let duplex = report(&topology, &["duplex", "--to", &at(7001), "--bytes", "20000000", "--streams", "2"]);
    assert_eq!(duplex["received"], 40_000_000);
    let grpc = report(&topology, &["grpc", "--to", &at(7003), "--messages", "50"]);
    assert_eq!((&grpc["received"], &grpc["status"]), (&50.into(), &"0".into()));
    assert_eq!(report(&topology, &["h2c", "--to", &at(7003)])["ok"], 100);
    assert_eq!(report(&topology, &["websocket", "--to", &at(7004)])["received"], 100);
    let fetch = report(&topology, &["fetch", "--to", &at(7002), "--count", "10"]);
    assert_eq!(fetch["status"], 200);
    let requests = report(&topology, &["requests", "--to", &at(7002), "--count", "20"]);
    assert_eq!((&requests["ok"], &requests["failed"]), (&20.into(), &0.into()));
    for (kind, port) in [("bulk", 7005), ("requests", 7002), ("connections", 7002)] {
        let load = report(&topology, &["load", kind, "--to", &at(port), "--connections", "4", "--seconds", "0.2"]);
        assert!(load["units"].as_u64().unwrap() > 100, "{kind}: {load}");
        assert_eq!(load["failed"], 0, "{kind}");
    }
}

#[test]
fn held_connections_and_sequences_are_counted() {
    let topology = two_nodes();
    let server = serve(&topology, "far", &["echo=7000"]);
    let client = topology.pod("client").unwrap();
    let to = SocketAddr::new(topology.pod("far").unwrap().v4.into(), 7000).to_string();

    let sequence = client.testapp(&["sequence", "--to", &to, "--streams", "10", "--every", "1"]).unwrap();
    sequence.wait_line("running", SOON).unwrap();
    let mut hold = client.testapp(&["hold", "--to", &to, "--count", "200"]).unwrap();
    hold.wait_line("holding", SOON).unwrap();
    let counted: Value = sequence.stop(SOON).unwrap().report().unwrap();
    assert_eq!((&counted["ok"], &counted["failed"], &counted["sent"]), (&10.into(), &0.into(), &counted["received"]));

    let mark = hold.mark();
    hold.write_line("try").unwrap();
    assert!(hold.wait_line_after(mark, "failed", SOON).unwrap().text.contains(r#""ok":200,"failed":0"#));
    server.kill().unwrap();
    let mark = hold.mark();
    hold.write_line("try").unwrap();
    assert!(hold.wait_line_after(mark, "failed", SOON).unwrap().text.contains(r#""ok":0,"failed":200"#));
}

#[test]
fn the_capture_sees_clear_text_and_says_what_is_no_tls() {
    let topology = two_nodes();
    let wire = Wire::between(&topology, &[MARKER, b"never sent"]).unwrap();
    let _server = serve(&topology, "far", &["duplex=7000", "duplex=15008"]);
    let far = topology.pod("far").unwrap();
    for (address, port) in [(far.addresses()[0], 7000), (far.addresses()[1], 15008)] {
        let to = SocketAddr::new(address, port).to_string();
        report(&topology, &["duplex", "--to", &to, "--bytes", "3000000"]);
    }
    let seen = wire.stop().unwrap();
    // Each KiB carries the marker, each way, twice.
    assert_eq!(seen.marker_hits(), 4 * 3_000_000_u64.div_ceil(1024));
    assert_eq!(seen.markers[1].hits, 0);
    assert_eq!(seen.ports().into_iter().collect::<Vec<_>>(), [7000, 15008]);
    assert!(seen.flows.iter().all(|flow| flow.missing == 0 && flow.from_start), "{seen:?}");
    let tunnel = seen.flows.iter().find(|flow| flow.to.port() == 15008).unwrap();
    assert!(tunnel.violation.as_ref().unwrap().contains("no TLS record"));
    assert!(seen.only_hbone().is_err());
}

#[test]
fn traffic_on_one_node_does_not_cross_the_link() {
    let topology = two_nodes();
    let wire = Wire::between(&topology, &[MARKER]).unwrap();
    let _server = serve(&topology, "near", &["duplex=7000"]);
    let to = SocketAddr::new(topology.pod("near").unwrap().v4.into(), 7000).to_string();
    report(&topology, &["duplex", "--to", &to, "--bytes", "1000000"]);
    let seen = wire.stop().unwrap();
    assert!(seen.flows.is_empty(), "{seen:?}");
    seen.no_clear_text().unwrap();
    assert!(seen.only_hbone().is_err(), "an empty capture proves nothing");
}

#[test]
fn a_peer_tells_refusals_resets_and_ends_apart() {
    let topology = two_nodes();
    let far = topology.pod("far").unwrap();
    let dial = |to: &str, script: &str| {
        let client = topology.pod("client").unwrap();
        let arguments = ["peer", "--dial", to, "--patience", "300", "--script", script];
        client.testapp(&arguments).unwrap().finish(SOON).unwrap().success().unwrap().stdout()
    };
    for address in far.addresses() {
        let to = SocketAddr::new(address, 7000).to_string();
        assert!(dial(&to, "hold").contains(r#""error":"refused""#));
        for (script, expected) in [
            ("recv:5,send:3,shutdown,observe:2000", r#""event":"eof""#),
            ("recv:5,reset", r#""error":"reset""#),
            ("pause:100,close", r#""error":"reset""#),
        ] {
            let server = far.testapp(&["peer", "--listen", &to, "--script", script]).unwrap();
            server.wait_line("listening", SOON).unwrap();
            let seen = dial(&to, "send:5,observe:2000");
            assert!(seen.contains(expected), "{script}: {seen}");
        }
    }
    assert!(dial("10.96.0.1:80", "hold").contains(r#""error":"unreachable""#));
}
