//! The marks to beat: what Istio's ztunnel came to on two cores, and what we aim for (the study of the ceiling that the
//! data path was designed after). Only ratios and processor time for a unit of work carry over.

use super::cases::{Placement, Work};

/// A mark for one case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) work: Work,
    pub(crate) connections: u32,
    pub(crate) placement: Placement,
    /// Ratio to the raw path: Istio's ztunnel's, and ours to be.
    pub(crate) ratio: (f64, f64),
    /// Processor time of both proxies for a GiB (s), a request or a connection (us): Istio's ztunnel's, and ours to be
    /// where one was set.
    pub(crate) cpu: (f64, Option<f64>),
}

/// The marks.
pub(crate) const MARKS: [Mark; 11] = [
    mark(Work::Bulk, 1, Placement::Across, (0.17, 0.17 * 1.7), (1.02, Some(0.60))),
    mark(Work::Bulk, 4, Placement::Across, (0.21, 0.21 * 2.0), (1.15, Some(0.62))),
    mark(Work::Bulk, 16, Placement::Across, (0.15, 0.15 * 2.1), (1.40, Some(0.72))),
    mark(Work::Requests, 16, Placement::Across, (0.21, 0.21 * 1.7), (35.5, Some(17.0))),
    mark(Work::Requests, 64, Placement::Across, (0.25, 0.25 * 1.85), (29.7, Some(13.0))),
    mark(Work::Connections, 16, Placement::Across, (0.21, 0.21 * 2.3), (221.0, Some(75.0))),
    mark(Work::Bulk, 1, Placement::OneNode, (0.15, 0.15 * 4.5), (1.02, None)),
    mark(Work::Bulk, 16, Placement::OneNode, (0.15, 0.15 * 4.5), (1.02, None)),
    mark(Work::Requests, 16, Placement::OneNode, (0.20, 1.3), (29.0, None)),
    mark(Work::Requests, 64, Placement::OneNode, (0.20, 1.3), (29.0, None)),
    mark(Work::Connections, 16, Placement::OneNode, (0.19, 0.8), (192.0, None)),
];

/// Resident memory of an idle agent, in bytes: Istio's ztunnel's, and at most ours to be.
pub(crate) const IDLE_BYTES: (f64, f64) = (15e6, 15e6);
/// Memory for each side of an idle connection, in bytes.
pub(crate) const SIDE_BYTES: (f64, f64) = (5_500.0, 3_000.0);
/// Memory still held once 10,000 connections have closed, as a multiple of what was held before: Istio's ztunnel keeps
/// 67 MB of 15.
pub(crate) const KEPT: (f64, f64) = (67.0 / 15.0, 1.1);

const fn mark(work: Work, connections: u32, placement: Placement, ratio: (f64, f64), cpu: (f64, Option<f64>)) -> Mark {
    Mark { work, connections, placement, ratio, cpu }
}
