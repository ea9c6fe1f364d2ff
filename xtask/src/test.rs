//! `cargo xtask test`: every check and every test, in an order in which what fails soonest comes first. Installs what a
//! fresh Debian machine lacks; skips nothing.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::build::cargo;
use crate::{demo, ebpf, features, layers, setup};

/// Programs that the tests run, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 8] = [
    ("cc", "build-essential"),
    ("ip", "iproute2"),
    ("bpftool", "bpftool"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("psql", "postgresql"),
    ("redis-server", "redis-server"),
    ("nft", "nftables"),
];

/// The test runner, built from its source where it is missing.
const NEXTEST: &str = "0.9.143";

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the checks and tests that need neither root nor the network namespaces: quick, and no proof.
    #[arg(long)]
    quick: bool,
}

/// A step: what it is called, and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

const CHECKS: [Step; 4] = [
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("layers", || layers::run(&layers::Args {})),
    ("features", || features::run(&features::Args::checking())),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
];

const PROOFS: [Step; 5] = [
    ("kernel programs", || ebpf::run(&ebpf::Args::checking())),
    ("programs", || cargo(&["build", "--workspace", "--bins", "--locked"])),
    ("tests", || cargo(&["nextest", "run", "--workspace", "--locked"])),
    ("documentation tests", || cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"])),
    ("demo", || demo::run(&demo::Args::silent())),
];

const QUICK: [Step; 1] = [("tests", || {
    cargo(&["nextest", "run", "--workspace", "--locked", "-E", "kind(lib) | kind(bin)"])
})];

/// Runs everything; the first step that fails ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    prepare(args.quick)?;
    let proofs: &[Step] = if args.quick { &QUICK } else { &PROOFS };
    let mut took = Vec::new();
    for (name, step) in CHECKS.iter().chain(proofs) {
        println!("── {name}");
        let begun = Instant::now();
        step().with_context(|| format!("the step `{name}` failed"))?;
        took.push((*name, begun.elapsed()));
    }
    println!();
    for (name, elapsed) in &took {
        println!("{:>7}  {name}", seconds(*elapsed));
    }
    println!("{:>7}  in all: everything passed", seconds(started.elapsed()));
    Ok(())
}

fn prepare(quick: bool) -> anyhow::Result<()> {
    let (programs, packages): (Vec<_>, Vec<_>) = PROGRAMS.into_iter().unzip();
    if !quick {
        setup::ensure(&programs, &[&packages[..], &["python3-venv"]].concat())?;
    }
    if !setup::on_path("cargo-nextest") {
        println!("building cargo-nextest {NEXTEST} (some minutes, once)");
        cargo(&["install", "cargo-nextest", "--version", NEXTEST, "--locked"])?;
    }
    Ok(())
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}
