//! `cargo xtask bench`: the mesh against the raw path, alternating in one run, on nodes and pods made for it. Only
//! ratios and CPU per unit of work carry over to another machine.

mod cases;
mod field;
mod l7;
mod marks;
mod outcome;
mod table;

use std::path::PathBuf;

use anyhow::ensure;

use crate::{build, demo, setup};
use cases::CASES;
use field::Field;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is measured: connections (`l4`), or requests through a waypoint (`l7`).
    #[arg(default_value = "l4", value_parser = ["l4", "l7"])]
    layer: String,
    /// Envoy's program, to be measured with the same routes in the same run (`l7`).
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often raw and mesh are measured in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only the cases whose names contain this, such as `requests` or `bulk 16 on one node`.
    #[arg(long, default_value = "")]
    case: String,
    /// How the mesh carries connections within a node: `direct` or `tls`.
    #[arg(long, default_value = "direct", value_parser = ["direct", "tls"])]
    same_node: String,
    /// Measure the developers' build: to try the benchmark, not the mesh.
    #[arg(long)]
    dev: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the benchmark makes network namespaces and loads eBPF programs: run it as root"
    );
    let cases: Vec<_> = CASES.iter().filter(|case| case.name().contains(&args.case)).collect();
    ensure!(!cases.is_empty(), "no case is called {:?}; there are {}", args.case, names());
    setup::ensure(&["ip"], &["iproute2"])?;
    let binaries = if args.dev { build::dev()? } else { build::release()? };
    demo::interrupt::clean_up_on(|| {
        field::clean_up();
        l7::clean_up();
    })?;
    if args.layer == "l7" {
        return l7::run(&binaries, args.envoy.as_deref(), args.rounds, args.seconds);
    }
    let mut field = Field::lay(&binaries, &args.same_node)?;
    let mut outcomes = Vec::new();
    for case in cases {
        eprintln!("bench: {}", case.name());
        let outcome = case.measure(&mut field, args.rounds, args.seconds)?;
        println!("{}", serde_json::to_string(&outcome)?);
        outcomes.push(outcome);
    }
    eprint!("{}", table::text(&outcomes));
    Ok(())
}

fn names() -> String {
    CASES.iter().map(cases::Case::name).collect::<Vec<_>>().join(", ")
}
