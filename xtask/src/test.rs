//! `cargo xtask test`: every check and every test, in an order in which what fails soonest comes first. Installs what a
//! fresh Debian machine lacks; skips nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::build::{self, cargo};
use crate::setup;

/// Programs that the tests run, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 12] = [
    ("cc", "build-essential"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("bpftool", "bpftool"),
    ("nft", "nftables"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("psql", "postgresql"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
];

/// This very program, though cargo may have put another in its place since it was started.
const THIS: &str = "/proc/self/exe";

/// The test runner, built from its source where it is missing.
const NEXTEST: &str = "0.9.143";

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the checks and tests that need neither root nor network namespaces: quick, and no proof.
    #[arg(long)]
    quick: bool,
}

/// A step: what it is called, and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

const CHECKS: [Step; 5] = [
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("layers", || xtask(&["layers"])),
    ("features", || xtask(&["features", "--check"])),
    ("definitions", || xtask(&["codegen", "--check"])),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
];

const PROOFS: [Step; 7] = [
    ("eBPF object", || xtask(&["ebpf", "--check"])),
    ("Kubernetes", || xtask(&["cluster", "build"])),
    ("programs", || cargo(&["build", "--workspace", "--bins", "--locked"])),
    ("building the tests", || cargo(&["nextest", "run", "--no-run", "--workspace", "--locked"])),
    ("tests", || cargo(&["nextest", "run", "--workspace", "--locked"])),
    ("documentation tests", || cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"])),
    ("demo", demo),
];

const QUICK: [Step; 1] =
    [("tests", || cargo(&["nextest", "run", "--workspace", "--locked", "-E", "kind(lib) | kind(bin)"]))];

/// Runs everything; the first step that fails ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    prepare(args.quick)?;
    let proofs: &[Step] = if args.quick { &QUICK } else { &PROOFS };
    let mut took = Vec::new();
    let mut outcome = Ok(());
    for (name, step) in CHECKS.iter().chain(proofs) {
        eprintln!("── {name}");
        let begun = Instant::now();
        outcome = step().with_context(|| format!("the step `{name}` failed"));
        took.push((*name, begun.elapsed()));
        if outcome.is_err() {
            break;
        }
    }
    eprintln!();
    for (name, elapsed) in &took {
        eprintln!("{:>9}  {name}", seconds(*elapsed));
    }
    let verdict = if outcome.is_ok() { ": everything passed" } else { "" };
    eprintln!("{:>9}  in all{verdict}", seconds(started.elapsed()));
    outcome
}

fn prepare(quick: bool) -> anyhow::Result<()> {
    if !quick {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the end-to-end tests make network namespaces and load eBPF programs: run them as root, or --quick"
        );
        let (programs, packages): (Vec<_>, Vec<_>) = PROGRAMS.into_iter().unzip();
        setup::ensure(&programs, &[&packages[..], &["python3-venv"]].concat())?;
    }
    if !has_nextest() {
        eprintln!("building cargo-nextest {NEXTEST} (some minutes, once)");
        cargo(&["install", "cargo-nextest", "--version", NEXTEST, "--locked"])?;
    }
    Ok(())
}

fn has_nextest() -> bool {
    let mut version = Command::new("cargo");
    version.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// The demo, as a script would run it: what it prints is read, not looked at.
fn demo() -> anyhow::Result<()> {
    let mut demo = Command::new(THIS);
    let output = demo.args(["demo", "--json"]).stderr(Stdio::inherit()).output()?;
    let shown: Value = serde_json::from_slice(&output.stdout).context("the demo printed no JSON")?;
    ensure!(output.status.success(), "the demo ended with {}", output.status);
    for check in shown.pointer("/checks").and_then(Value::as_array).context("the demo shows no checks")? {
        ensure!(check.pointer("/held") == Some(&Value::Bool(true)), "the demo shows that something fails: {check}");
    }
    let rows = shown.pointer("/calls/rows").and_then(Value::as_array).map_or(0, Vec::len);
    // Bookinfo's six pods and the visitor make seven pairs.
    ensure!(rows == 7, "the demo shows {rows} pairs of pods, not 7");
    Ok(())
}

/// Runs another task of this very program.
fn xtask(arguments: &[&str]) -> anyhow::Result<()> {
    let mut task = Command::new(THIS);
    let status = task.args(arguments).current_dir(build::root()).status()?;
    if !status.success() {
        bail!("cargo xtask {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}
