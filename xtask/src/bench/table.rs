//! The outcomes beside the marks, for a person.

use std::fmt::Write as _;

use super::cases::Work;
use super::marks::{IDLE_BYTES, KEPT, MARKS, SIDE_BYTES};
use super::outcome::{Figures, Idle, Outcome, Rates};
use crate::demo::show::columns;

const GIB: f64 = 1_073_741_824.0;

/// The table.
pub(crate) fn text(outcomes: &[Outcome]) -> String {
    let heads =
        ["CASE", "RAW", "MESH", "SPREAD", "RATIO", "ISTIO", "AIM", "CPU", "ISTIO", "AIM", "P99 RAW", "P99 MESH"];
    let mut rates = vec![heads.map(str::to_owned)];
    let heads = ["CASE", "AGENT AT REST", "ISTIO", "A SIDE", "ISTIO", "AIM", "AFTERWARDS", "ISTIO", "AIM"];
    let mut idle = vec![heads.map(str::to_owned)];
    for outcome in outcomes {
        match &outcome.figures {
            Figures::Rates(found) => rates.push(rates_row(outcome, found)),
            Figures::Idle(found) => idle.push(idle_row(outcome, found)),
        }
    }
    let mut text = String::new();
    if rates.len() > 1 {
        text.push_str("\nrates (ratio: mesh to raw; CPU: all agents, for a GiB, a request or a connection)\n");
        text.push_str(&columns(&rates));
    }
    if idle.len() > 1 {
        text.push_str("\nmemory of all agents with idle connections (afterwards: to what was held before them)\n");
        text.push_str(&columns(&idle));
    }
    let _ = writeln!(text, "\nISTIO and AIM were measured on another machine: only ratios and CPU carry over.");
    text
}

fn rates_row(outcome: &Outcome, found: &Rates) -> [String; 12] {
    let of = &outcome.of;
    let mark = MARKS
        .iter()
        .find(|mark| (mark.work, mark.connections, mark.placement) == (of.work, of.connections, of.placement));
    let is_bulk = of.work == Work::Bulk;
    let rate = |per_second: f64| {
        if is_bulk { format!("{:.1} Gb/s", per_second * 8.0 / 1e9) } else { format!("{:.1}k/s", per_second / 1e3) }
    };
    let cpu = if is_bulk {
        format!("{:.2} s", found.cpu_per_unit.median * GIB)
    } else {
        format!("{:.1} us", found.cpu_per_unit.median * 1e6)
    };
    let ratio =
        |which: fn((f64, f64)) -> f64| mark.map_or_else(String::new, |mark| format!("{:.2}", which(mark.ratio)));
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let p99 = |us: f64| if is_bulk { String::new() } else { format!("{:.2} ms", us / 1e3) };
    [
        outcome.case.clone(),
        rate(found.raw.median),
        rate(found.mesh.median),
        format!("{:.0}/{:.0} %", found.raw.relative() * 100.0, found.mesh.relative() * 100.0),
        format!("{:.2}", found.ratio),
        ratio(|(istio, _)| istio),
        ratio(|(_, aim)| aim),
        cpu,
        number(mark.map(|mark| mark.cpu.0)),
        number(mark.and_then(|mark| mark.cpu.1)),
        p99(found.raw_p99_us.median),
        p99(found.mesh_p99_us.median),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
fn idle_row(outcome: &Outcome, found: &Idle) -> [String; 9] {
    let sum = |of: &[u64]| of.iter().sum::<u64>() as f64;
    let agents = found.idle.len().max(1) as f64;
    let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
    let kilobytes = |bytes: f64| format!("{:.1} kB", bytes / 1e3);
    [
        outcome.case.clone(),
        megabytes(sum(&found.idle) / agents),
        megabytes(IDLE_BYTES.0),
        kilobytes(found.per_side()),
        kilobytes(SIDE_BYTES.0),
        kilobytes(SIDE_BYTES.1),
        format!("{:.2}x", sum(&found.after) / sum(&found.idle)),
        format!("{:.2}x", KEPT.0),
        format!("{:.2}x", KEPT.1),
    ]
}
