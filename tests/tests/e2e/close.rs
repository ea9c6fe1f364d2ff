//! How connections end: each end sees what it would see without the mesh (C-07). The same play is staged
//! between two strangers, whose connection nobody touches, and on every path through the mesh.

mod gone;
mod unreachable;

use std::collections::BTreeMap;

use ambit_tests::process::{Finished, Line};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::world::{SOON, World};

/// From which pod to which: how a connection between them is carried.
#[derive(Clone, Copy, Debug)]
struct Path {
    name: &'static str,
    client: &'static str,
    server: &'static str,
}

/// Nobody touches a connection between two strangers.
const RAW: Path = Path { name: "raw", client: "outsider-a", server: "outsider-b" };
const SAME_NODE: Path = Path { name: "same-node", client: "client", server: "near" };
const TUNNEL: Path = Path { name: "tunnel", client: "client", server: "far" };
const PASSTHROUGH: Path = Path { name: "passthrough", client: "client", server: "outsider-b" };
const INTO_THE_MESH: Path = Path { name: "into-the-mesh", client: "outsider-a", server: "far" };
const THROUGH_US: [Path; 4] = [SAME_NODE, TUNNEL, PASSTHROUGH, INTO_THE_MESH];

/// What the two ends do; either may be the client.
struct Scene {
    name: &'static str,
    closer: &'static str,
    other: &'static str,
    /// The closer is killed (SIGKILL) once it has seen this.
    killed_after: Option<&'static str>,
    /// The end is an abort, which is logged with its reason.
    aborts: bool,
}

const SCENES: [Scene; 9] = [
    Scene {
        name: "FIN",
        closer: "send:5,recv:3,close",
        other: "recv:5,send:3,observe:5000",
        killed_after: None,
        aborts: false,
    },
    Scene { name: "FIN without a byte", closer: "close", other: "observe:5000", killed_after: None, aborts: false },
    Scene {
        name: "half-close, then data",
        closer: "send:5,shutdown,observe:5000",
        other: "observe:5000,send:70000,close",
        killed_after: None,
        aborts: false,
    },
    Scene {
        name: "RST",
        closer: "send:5,recv:3,reset",
        other: "recv:5,send:3,observe:5000",
        killed_after: None,
        aborts: true,
    },
    Scene {
        name: "RST with unread data",
        closer: "send:5,unread:3,close",
        other: "recv:5,send:3,observe:5000",
        killed_after: None,
        aborts: true,
    },
    Scene {
        name: "RST right after an answer, with unread data",
        closer: "recv:1,send:3,close",
        other: "send:60000,observe:5000",
        killed_after: None,
        aborts: true,
    },
    Scene {
        name: "RST in the midst of data",
        closer: "recv:1,reset",
        other: "send:50000000",
        killed_after: None,
        aborts: true,
    },
    Scene {
        name: "killed",
        closer: "send:5,recv:3,hold",
        other: "recv:5,send:3,observe:5000",
        killed_after: Some("received"),
        aborts: false,
    },
    Scene {
        name: "killed with unread data",
        closer: "send:5,unread:3,hold",
        other: "recv:5,send:3,observe:5000",
        killed_after: Some("unread"),
        aborts: true,
    },
];

/// An event at one end.
#[derive(Clone, Debug, Deserialize)]
struct Seen {
    event: String,
    #[serde(default)]
    ms: u64,
    bytes: Option<usize>,
    error: Option<String>,
}

/// What both ends saw, in order.
struct Played {
    client: Vec<Seen>,
    server: Vec<Seen>,
}

/// How much later than without us an event may be seen, in milliseconds.
const LATER: u64 = 1000;

#[test]
fn each_end_sees_what_it_would_see_without_the_mesh() {
    let world = World::new();
    let mut differences = Vec::new();
    for scene in &SCENES {
        for (family, client_closes) in [(0, true), (0, false), (1, true), (1, false)] {
            let expected = play(&world, RAW, family, scene, client_closes);
            for path in THROUGH_US {
                let played = play(&world, path, family, scene, client_closes);
                let ends = [("client", &expected.client, &played.client), ("server", &expected.server, &played.server)];
                for (end, expected, played) in ends {
                    if !alike(expected, played) {
                        let closer = if client_closes { "client" } else { "server" };
                        let (row, expected, played) = (scene.name, show(expected), show(played));
                        differences.push(format!(
                            "{row}, {closer} ends it, {}, family {family}: the {end} should see\n  {expected}\n  {played}",
                            path.name
                        ));
                    }
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    carried_by_the_mesh(&world);
}

/// Without this the strangers would only have been compared with themselves. And the log knows who aborted.
fn carried_by_the_mesh(world: &World) {
    let (scenes, aborts) = (SCENES.len(), SCENES.iter().filter(|scene| scene.aborts).count());
    let mut expected = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (path, agent, reporter) in [
        (SAME_NODE, "a", "source"),
        (SAME_NODE, "a", "destination"),
        (TUNNEL, "a", "source"),
        (TUNNEL, "b", "destination"),
        (PASSTHROUGH, "a", "source"),
        (INTO_THE_MESH, "b", "destination"),
    ] {
        let ends = [("reporter", reporter), ("source_workload", path.client), ("destination_workload", path.server)];
        let opened = world.agent(agent).metrics().unwrap().sum("istio_tcp_connections_opened_total", &ends);
        assert_eq!(opened, (4 * scenes) as f64, "{path:?}, {reporter}");
        for reason in ["reset-by-client", "reset-by-server"] {
            let direction = if reporter == "source" { "outbound" } else { "inbound" };
            let fields = [
                ("src.workload", path.client),
                ("dst.workload", path.server),
                ("direction", direction),
                ("reason", reason),
            ];
            let lines = world.agent(agent).access_log();
            let key = (path.name, reporter, reason);
            expected.insert(key, 2 * aborts);
            found.insert(key, lines.iter().filter(|line| line.has(&fields)).count());
        }
    }
    assert_eq!(found, expected, "lines in the access log");
}

fn play(world: &World, path: Path, family: usize, scene: &Scene, client_closes: bool) -> Played {
    let (client_plays, server_plays) =
        if client_closes { (scene.closer, scene.other) } else { (scene.other, scene.closer) };
    let at = world.at(path.server, 9000)[family];
    let server = world.listen(path.server, at, server_plays);
    let client = world.dial(path.client, at, client_plays);
    if let Some(event) = scene.killed_after {
        let closer = if client_closes { &client } else { &server };
        closer.wait_line(&format!("\"event\":\"{event}\""), SOON).unwrap();
        closer.signal(Signal::SIGKILL).unwrap();
    }
    Played { client: seen(&client.finish(SOON).unwrap()), server: seen(&server.finish(SOON).unwrap()) }
}

fn seen(finished: &Finished) -> Vec<Seen> {
    finished.lines.iter().filter_map(event).collect()
}

fn event(line: &Line) -> Option<Seen> {
    serde_json::from_str(&line.text).ok()
}

/// The same events in the same order, none of them much later.
fn alike(expected: &[Seen], played: &[Seen]) -> bool {
    let same = |(one, other): (&Seen, &Seen)| {
        (&one.event, one.bytes, &one.error) == (&other.event, other.bytes, &other.error) && other.ms <= one.ms + LATER
    };
    expected.len() == played.len() && expected.iter().zip(played).all(same)
}

fn show(events: &[Seen]) -> String {
    let one = |seen: &Seen| {
        let bytes = seen.bytes.map(|bytes| format!(" {bytes}")).unwrap_or_default();
        let error = seen.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        format!("{}{bytes}{error} at {}", seen.event, seen.ms)
    };
    events.iter().map(one).collect::<Vec<_>>().join(", ")
}
