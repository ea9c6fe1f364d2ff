//! What a case came to: medians and spread of its rounds, as one line of JSON.

use serde::Serialize;

use super::cases::Case;
use super::field::{CONGESTION_CONTROL, Field};

/// What a case came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// The case's name.
    pub(crate) case: String,
    #[serde(flatten)]
    pub(crate) figures: Figures,
    rounds: u32,
    seconds: f64,
    congestion_control: &'static str,
    same_node: String,
    cpus: usize,
    /// Another mesh measured in the same run: none yet.
    peer: Option<()>,
    #[serde(skip)]
    pub(crate) of: Case,
}

/// What was found out.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Figures {
    Rates(Rates),
    Idle(Idle),
}

/// How fast it went.
#[derive(Debug, Serialize)]
pub(crate) struct Rates {
    /// Bytes, requests or connections a second.
    pub(crate) raw: Spread,
    pub(crate) mesh: Spread,
    /// Median of the mesh over median of the raw path.
    pub(crate) ratio: f64,
    /// Latency of which 99 in 100 were better, in microseconds; 0 for bulk.
    pub(crate) raw_p99_us: Spread,
    pub(crate) mesh_p99_us: Spread,
    /// Seconds of processor time, of all agents, for a byte, a request or a connection.
    pub(crate) cpu_per_unit: Spread,
}

/// Several measurements of the same.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// Resident bytes of the agents, each, before, while and after connections were held.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) connections: u32,
    pub(crate) idle: Vec<u64>,
    pub(crate) held: Vec<u64>,
    pub(crate) after: Vec<u64>,
}

impl Outcome {
    pub(crate) fn new(case: &Case, field: &Field, (rounds, seconds): (u32, f64), figures: Figures) -> Self {
        Self {
            case: case.name(),
            figures,
            rounds,
            seconds,
            congestion_control: CONGESTION_CONTROL,
            same_node: field.same_node.clone(),
            cpus: std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
            peer: None,
            of: *case,
        }
    }
}

impl Rates {
    /// Of the measurements: rates and latencies raw and by the mesh, and the mesh's processor time.
    pub(crate) fn of([raw, mesh]: [Vec<f64>; 2], [raw_p99, mesh_p99]: [Vec<f64>; 2], cpu: Vec<f64>) -> Self {
        let (raw, mesh) = (Spread::of(raw), Spread::of(mesh));
        Self {
            raw,
            mesh,
            ratio: mesh.median / raw.median,
            raw_p99_us: Spread::of(raw_p99),
            mesh_p99_us: Spread::of(mesh_p99),
            cpu_per_unit: Spread::of(cpu),
        }
    }
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let median = match values.len() {
            0 => return Self::default(),
            odd if odd % 2 == 1 => values.get(odd / 2).copied().unwrap_or_default(),
            even => values.get(even / 2 - 1..=even / 2).map_or(0.0, |middle| middle.iter().sum::<f64>() / 2.0),
        };
        let (least, most) = (values.first().copied(), values.last().copied());
        Self { median, least: least.unwrap_or_default(), most: most.unwrap_or_default() }
    }

    /// How far the measurements lie apart, as a part of the median.
    pub(crate) fn relative(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.most - self.least) / self.median }
    }
}

impl Idle {
    /// Bytes for each connection and each side of it.
    #[allow(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
    pub(crate) fn per_side(&self) -> f64 {
        let sum = |of: &[u64]| of.iter().sum::<u64>() as f64;
        (sum(&self.held) - sum(&self.idle)) / f64::from(self.connections) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spread_are_of_what_was_measured() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.least, spread.most, spread.relative()), (2.0, 1.0, 3.0, 1.0));
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of(Vec::new()).relative(), 0.0);
    }

    #[test]
    fn an_idle_connection_has_two_sides() {
        let idle = Idle { connections: 10, idle: vec![100, 100], held: vec![200, 300], after: vec![100, 100] };
        assert_eq!(idle.per_side(), 15.0);
    }
}
