//! What is measured, and how.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::field::{Field, Side};
use super::outcome::{Figures, Idle, Outcome, Rates};

/// How long a client may take beyond its time.
const GRACE: Duration = Duration::from_secs(60);
/// How long after its connections have ended the memory of an agent is looked at.
const SETTLE: Duration = Duration::from_secs(12);

/// Something to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) work: Work,
    pub(crate) connections: u32,
    pub(crate) placement: Placement,
}

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Bytes, as many as go through.
    Bulk,
    /// Requests on connections that are kept.
    Requests,
    /// Connections with one request each.
    Connections,
    /// Connections that only exist.
    Idle,
}

/// Where the server is, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// On the other node.
    Across,
    /// On the same node.
    OneNode,
}

/// The cases, in the order in which they are measured. One agent holds both ends of every connection within a node: its
/// limit of 20,000 files leaves 9,000 idle ones there.
pub(crate) const CASES: [Case; 16] = [
    case(Work::Bulk, 1, Placement::Across),
    case(Work::Bulk, 4, Placement::Across),
    case(Work::Bulk, 16, Placement::Across),
    case(Work::Requests, 16, Placement::Across),
    case(Work::Requests, 64, Placement::Across),
    case(Work::Connections, 16, Placement::Across),
    case(Work::Connections, 64, Placement::Across),
    case(Work::Idle, 10_000, Placement::Across),
    case(Work::Bulk, 1, Placement::OneNode),
    case(Work::Bulk, 4, Placement::OneNode),
    case(Work::Bulk, 16, Placement::OneNode),
    case(Work::Requests, 16, Placement::OneNode),
    case(Work::Requests, 64, Placement::OneNode),
    case(Work::Connections, 16, Placement::OneNode),
    case(Work::Connections, 64, Placement::OneNode),
    case(Work::Idle, 9_000, Placement::OneNode),
];

const fn case(work: Work, connections: u32, placement: Placement) -> Case {
    Case { work, connections, placement }
}

/// What `testapp load` reports.
#[derive(Deserialize)]
struct Load {
    units: u64,
    per_second: f64,
    failed: u64,
    latency: Latency,
}

#[derive(Deserialize)]
struct Latency {
    p99_us: u64,
}

/// One measurement.
struct Measured {
    per_second: f64,
    p99_us: u64,
    cpu_per_unit: f64,
}

impl Case {
    /// Its name, such as `bulk 16 across nodes`.
    pub(crate) fn name(&self) -> String {
        let work = match self.work {
            Work::Bulk => "bulk",
            Work::Requests => "requests",
            Work::Connections => "connections",
            Work::Idle => "idle",
        };
        let placement = match self.placement {
            Placement::Across => "across nodes",
            Placement::OneNode => "on one node",
        };
        format!("{work} {} {placement}", self.connections)
    }

    /// Measures it: raw and mesh in turn, `rounds` times, each for `seconds`.
    pub(crate) fn measure(&self, field: &mut Field, rounds: u32, seconds: f64) -> anyhow::Result<Outcome> {
        let figures = match self.work {
            Work::Idle => Figures::Idle(self.hold(field)?),
            _ => Figures::Rates(self.rates(field, rounds, seconds)?),
        };
        Ok(Outcome::new(self, field, (rounds, seconds), figures))
    }

    fn rates(&self, field: &Field, rounds: u32, seconds: f64) -> anyhow::Result<Rates> {
        let (mut raw, mut mesh) = (Vec::new(), Vec::new());
        // Once without counting: caches, tunnels and the processor's clock are then as they will be.
        for side in [&field.raw, &field.mesh] {
            self.load(side, seconds.min(0.5))?;
        }
        for _ in 0..rounds {
            raw.push(self.load(&field.raw, seconds)?);
            mesh.push(self.load(&field.mesh, seconds)?);
        }
        let pick = |of: &[Measured], what: fn(&Measured) -> f64| of.iter().map(what).collect::<Vec<_>>();
        #[allow(clippy::cast_precision_loss, reason = "microseconds of one run")]
        let p99 = |measured: &Measured| measured.p99_us as f64;
        Ok(Rates::of(
            [pick(&raw, |measured| measured.per_second), pick(&mesh, |measured| measured.per_second)],
            [pick(&raw, p99), pick(&mesh, p99)],
            pick(&mesh, |measured| measured.cpu_per_unit),
        ))
    }

    fn load(&self, side: &Side, seconds: f64) -> anyhow::Result<Measured> {
        let (kind, port) = match self.work {
            Work::Bulk => ("bulk", Side::DISCARD),
            Work::Requests => ("requests", Side::HTTP),
            Work::Connections | Work::Idle => ("connections", Side::HTTP),
        };
        let to = side.server(self.placement, port)?.to_string();
        let (connections, time) = (self.connections.to_string(), seconds.to_string());
        let before = side.cpu_seconds()?;
        let arguments = ["load", kind, "--to", &to, "--connections", &connections, "--seconds", &time];
        let load: Load = side.client()?.testapp(&arguments)?.report(Duration::from_secs_f64(seconds) + GRACE)?;
        let spent = side.cpu_seconds()? - before;
        ensure!(load.failed == 0, "{}: {} of {} failed", self.name(), load.failed, load.units);
        ensure!(load.units > 0, "{}: nothing was done", self.name());
        #[allow(clippy::cast_precision_loss, reason = "counts and bytes of one run are far below 2^52")]
        let cpu_per_unit = spent / load.units as f64;
        Ok(Measured { per_second: load.per_second, p99_us: load.latency.p99_us, cpu_per_unit })
    }

    /// Holds idle connections by the mesh and looks at the agents' memory before, while and after.
    fn hold(&self, field: &mut Field) -> anyhow::Result<Idle> {
        field.mesh.restart_mesh()?;
        let side = &field.mesh;
        let to = side.server(self.placement, Side::ECHO)?.to_string();
        let count = self.connections.to_string();
        let idle = side.resident_bytes()?;
        let holder = side.client()?.testapp(&["hold", "--to", &to, "--count", &count])?;
        holder.wait_line("holding", Duration::from_secs(120))?;
        let first = holder.lines().into_iter().find(|line| line.text.starts_with('{')).context("no report")?;
        let report: Value = serde_json::from_str(&first.text)?;
        ensure!(report.pointer("/ok") == Some(&Value::from(self.connections)), "{}: {report}", self.name());
        let held = side.resident_bytes()?;
        holder.kill()?;
        // What an allocator gives back, it gives back after some seconds.
        std::thread::sleep(SETTLE);
        Ok(Idle { idle, held, after: side.resident_bytes()?, connections: self.connections })
    }
}
