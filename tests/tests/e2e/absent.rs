//! Endpoints where nobody is any more: a connection finds another one of its service, with what the client has said meanwhile,
//! and nobody has heard it before.

use ambit_tests::Process;
use ambit_tests::process::Line;
use ambit_tests::topology::Plan;
use serde_json::json;

use crate::world::{DUPLEX, ECHO, HTTP, SHOP, SOON, World, socket};

const VIPS: [&str; 2] = ["10.96.0.9", "fd00:10:96::9"];
const PORTS: [u16; 3] = [ECHO, DUPLEX, HTTP];

/// A service of three pods: one near the client and two on the other node, of which one serves.
fn service() -> World {
    let plan = Plan::new(&["a", "b"]).pod("client", "a").pod("near", "a").pod("gone", "b").pod("alive", "b");
    let mut world = World::build(plan, &[]);
    for server in ["near", "gone", "alive"] {
        world.manifests.label(("Pod", SHOP, server), "app", Some("trio")).unwrap();
    }
    let ports = PORTS.map(|port| json!({"name": format!("tcp-{port}"), "port": port}));
    let spec = json!({"selector": {"app": "trio"}, "clusterIP": VIPS[0], "clusterIPs": VIPS, "ports": ports});
    world.apply("Service", "trio", spec);
    world.await_service(&["a", "b"], &format!("trio.{SHOP}.svc.cluster.local"));
    world
}

#[test]
fn no_connection_fails_for_endpoints_that_refuse_while_another_serves() {
    const COUNT: u64 = 120;
    let world = service();
    let _alive = world.serve("alive");
    for vip in VIPS {
        let to = |port| socket(vip, port).to_string();
        let asked =
            world.report("client", &["requests", "--to", &to(HTTP), "--every", "5", "--count", &COUNT.to_string()]);
        assert_eq!((&asked["ok"], &asked["failed"]), (&COUNT.into(), &0.into()), "{vip}: {asked}");
        // More than is kept of what a client says, all of it said at once.
        for _ in 0..12 {
            let sent = world.report("client", &["duplex", "--to", &to(DUPLEX), "--bytes", "300000"]);
            assert_eq!(sent["received"], 300_000, "{vip}: {sent}");
        }
        // Who has said all that he has to say is answered as well, and one who says nothing is not kept waiting.
        for _ in 0..12 {
            let seen = world.dialled("client", socket(vip, ECHO), "send:100,shutdown,observe:5000");
            assert!(seen.contains(r#""bytes":100"#) && seen.contains(r#""event":"eof""#), "{vip}: {seen}");
        }
    }
    // Each is recorded: at either node, and by a tunnel or within the node.
    let logged = |server: &str| {
        let identity = format!("spiffe://cluster.local/ns/{SHOP}/sa/{server}");
        let fields = [("direction", "outbound"), ("dst.identity", identity.as_str()), ("reason", "connection-refused")];
        let line = world.agent("a").wait_access_log(&fields, SOON).unwrap();
        assert!(line.field("error").contains("another endpoint is asked"), "{line:?}");
    };
    ["near", "gone"].into_iter().for_each(logged);
}

#[test]
fn where_nobody_serves_it_is_refused_after_as_many_as_are_asked() {
    let world = service();
    for vip in VIPS {
        let log = world.process("a").mark();
        let seen = world.dialled("client", socket(vip, ECHO), "send:100,observe:5000");
        assert!(seen.contains(r#""error":"reset""#), "{vip}: {seen}");
        let last = |lines: &[Line]| {
            let refused = |line: &&Line| line.text.contains("connection-refused") && line.text.contains("outbound");
            let refused: Vec<_> = lines.iter().skip(log).filter(refused).map(|line| line.text.clone()).collect();
            (refused.len() == 3).then_some(refused)
        };
        let lines = world.process("a").wait_for(SOON, last).expect("three lines");
        let again = lines.iter().filter(|line| line.contains("another endpoint is asked")).count();
        assert_eq!(again, 2, "{lines:?}");
    }
}

#[test]
fn what_somebody_may_have_heard_is_told_to_nobody_else() {
    let world = service();
    // Takes what is said, and aborts.
    let servers =
        ["near", "gone", "alive"].map(|server| world.listen(server, world.at(server, ECHO)[0], "recv:100,reset"));
    let seen = world.dialled("client", socket(VIPS[0], ECHO), "send:100,observe:5000");
    assert!(seen.contains(r#""error":"reset""#), "{seen}");
    let connected = |server: Process| server.stop(SOON).unwrap().stdout().contains(r#""event":"connected""#);
    assert_eq!(servers.map(connected).into_iter().filter(|connected| *connected).count(), 1);
}
