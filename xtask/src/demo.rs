//! `cargo xtask demo`: Bookinfo on two nodes with the mesh under it, and the proof of what crossed the link between
//! them. It runs the very manifests of examples/bookinfo.

mod calls;
mod cast;
pub(crate) mod interrupt;
pub(crate) mod show;
mod stage;

use std::path::Path;

use ambit_tests::leftovers;
use anyhow::{bail, ensure};

use crate::{build, setup};
use cast::Cast;
use stage::Stage;

/// Everything of the demo in the kernel is called so, as the annotations in the manifests say.
const NAME: &str = "ambit-demo";
/// The demo's manifests, logs and CA.
const DIRECTORY: &str = "/run/ambit-demo";

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything running, and say how to look at it.
    #[arg(long)]
    keep: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Remove what an earlier `--keep` left running.
    #[arg(long, conflicts_with_all = ["keep", "json"])]
    down: bool,
    /// Pages to fetch.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(30..=10_000))]
    pages: u32,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the demo makes network namespaces and loads eBPF programs: run it as root"
    );
    if args.down {
        down();
        eprintln!("the demo is gone");
        return Ok(());
    }
    ensure!(!Path::new(DIRECTORY).exists(), "a demo is still there: `cargo xtask demo --down` removes it");
    setup::ensure(&["ip", "nsenter"], &["iproute2", "util-linux"])?;
    progress("building (the first time takes a few minutes)");
    let binaries = build::dev()?;
    interrupt::clean_up_on(down)?;
    let outcome = play(args, binaries);
    if !(args.keep && outcome.is_ok()) {
        down();
    }
    outcome
}

fn play(args: &Args, binaries: ambit_tests::Binaries) -> anyhow::Result<()> {
    let cast = Cast::load(&build::root().join("examples/bookinfo"))?;
    progress("laying two nodes and their pods");
    let mut stage = Stage::set(&cast, binaries)?;
    progress("one request without the mesh, to see that the capture sees it");
    let before = stage.without_mesh(&cast)?;
    progress("starting the mesh: one ztunnel a node");
    stage.start_mesh()?;
    progress("fetching pages");
    let shown = stage.play(&cast, args.pages, before)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
    } else {
        print!("{}", show::table(&shown));
    }
    if args.keep {
        eprint!("{}", show::how_to_look(&cast));
        stage.leave()?;
    }
    if !shown.held {
        bail!("not everything held: see the checks above");
    }
    Ok(())
}

fn down() {
    leftovers::remove(NAME);
    // It may not be there, which is what is wanted.
    let _ = std::fs::remove_dir_all(DIRECTORY);
}

fn progress(what: &str) {
    eprintln!("demo: {what}");
}
