//! Pods that go. In order, as a node deletes them: its processes are killed, and the other end sees just that. Cut off,
//! their link and the name of their namespace taken away while they run: without us the other end would hear nothing
//! for as long as it asks nothing; the mesh resets what it carries.

use std::process::Command;
use std::time::{Duration, Instant};

use ambit_tests::ip;
use ambit_tests::process::Process;

use super::{INTO_THE_MESH, PASSTHROUGH, Path, RAW, SAME_NODE, Seen, TUNNEL, event};
use crate::world::{SOON, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Deleted,
    CutOff,
}

/// A connection of which one end goes.
struct Row {
    path: Path,
    client_goes: bool,
    how: How,
    /// The pod that goes.
    doomed: String,
}

/// What the other end should see, and within what time.
type Expected = (&'static str, Option<&'static str>, Duration);

/// Longer than the mesh takes to notice that one of its tunnels is dead: it looks every 10 s, pings when there was
/// nothing since the last look, and waits 20 s for the answer.
const DEAD_TUNNEL: Duration = Duration::from_secs(42);
/// A node looks at its pods every second.
const NODE_LOOKS: Duration = Duration::from_secs(3);

impl Row {
    fn new(path: Path, client_goes: bool, how: How) -> Self {
        let end = if client_goes { path.client } else { path.server };
        let prefix = if end.starts_with("outsider") { "outsider-" } else { "" };
        let (goes, way) =
            (if client_goes { "client" } else { "server" }, if how == How::Deleted { "deleted" } else { "cut" });
        Self { path, client_goes, how, doomed: format!("{prefix}{}-{goes}-{way}", path.name) }
    }

    fn node(&self) -> &'static str {
        if self.client_goes || self.path.name == SAME_NODE.name { "a" } else { "b" }
    }

    fn expected(&self) -> Expected {
        match (self.how, self.path.name) {
            (How::Deleted, _) => ("eof", None, Duration::from_secs(1)),
            (How::CutOff, name) if name == SAME_NODE.name => ("error", Some("reset"), NODE_LOOKS),
            (How::CutOff, name) if name == TUNNEL.name => ("error", Some("reset"), DEAD_TUNNEL),
            // One end is a stranger: it is as without us.
            (How::CutOff, _) => ("nothing", None, Duration::from_secs(13)),
        }
    }

    /// Starts both ends and waits until they have talked; returns the end that stays.
    fn start(&self, world: &World, port: u16) -> (Process, Process) {
        let (client, server) = match self.client_goes {
            true => (self.doomed.as_str(), self.path.server),
            false => (self.path.client, self.doomed.as_str()),
        };
        let patience = if self.expected().2 == DEAD_TUNNEL { 60_000 } else { 12_000 };
        let stays = format!("recv:5,send:3,observe:{patience}");
        let goes = "send:5,recv:3,hold";
        let (client_plays, server_plays) =
            if self.client_goes { (goes, stays.as_str()) } else { (stays.as_str(), goes) };
        let at = world.at(server, port)[0];
        let server = world.listen(server, at, server_plays);
        let client = world.dial(client, at, client_plays);
        let (goes, stays) = if self.client_goes { (client, server) } else { (server, client) };
        goes.wait_line("\"event\":\"received\"", SOON).unwrap();
        (goes, stays)
    }

    fn doom(&self, world: &mut World) {
        if self.how == How::Deleted {
            return world.topology.delete_pod(&self.doomed).unwrap();
        }
        let pod = world.pod(&self.doomed);
        let node = world.topology.node(&pod.node).unwrap();
        ip::ip(&node.netns, &format!("link del pod{}", pod.v4.octets()[3])).unwrap();
        let unnamed = Command::new("ip").args(["netns", "delete", pod.netns.name()]).status().unwrap();
        assert!(unnamed.success());
    }
}

#[test]
fn a_pod_that_goes_ends_its_connections() {
    let paths = [RAW, SAME_NODE, TUNNEL, PASSTHROUGH, INTO_THE_MESH];
    let rows: Vec<Row> = paths
        .iter()
        .flat_map(|path| {
            [(true, How::Deleted), (false, How::Deleted), (true, How::CutOff), (false, How::CutOff)]
                .map(|(client, how)| Row::new(*path, client, how))
        })
        .collect();
    let plan = rows.iter().fold(World::usual(), |plan, row| plan.pod(&row.doomed, row.node()));
    let mut world = World::build(plan, &[]);
    let started: Vec<_> = (9100..).zip(&rows).map(|(port, row)| row.start(&world, port)).collect();
    let mut watched = Vec::new();
    for (row, (goes, stays)) in rows.iter().zip(started) {
        row.doom(&mut world);
        watched.push((row, goes, stays, Instant::now()));
    }
    let mut differences = Vec::new();
    for (row, _goes, stays, since) in watched {
        let finished = stays.finish(Duration::from_secs(70)).unwrap();
        let (last, at) = finished.lines.iter().rev().find_map(|line| event(line).map(|seen| (seen, line.at))).unwrap();
        let Seen { event, error, .. } = last;
        let (after, (expected, with, within)) = (at.saturating_duration_since(since), row.expected());
        if (event.as_str(), error.as_deref()) != (expected, with) || after > within {
            differences.push(format!(
                "{}: should see {expected} {with:?} within {within:?}, saw {event} {error:?} after {after:?}",
                row.doomed
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
