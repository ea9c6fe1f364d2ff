//! `cargo xtask test`: every check and every test, in the order in which they fail soonest.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{build, setup};

/// Programs that the end-to-end tests run, and the packages that bring them.
const PROGRAMS: [&str; 7] = ["ip", "nsenter", "redis-server", "redis-cli", "psql", "openssl", "python3"];
const PACKAGES: [&str; 8] =
    ["iproute2", "util-linux", "redis-server", "redis-tools", "postgresql", "openssl", "python3-venv", "python3-pip"];
const NEXTEST: &str = "0.9.143";

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the demo at the end.
    #[arg(long)]
    no_demo: bool,
    /// Run only the tests that this nextest filter selects, and nothing else.
    #[arg(long, value_name = "FILTER")]
    only: Option<String>,
}

/// What was run, and how long it took.
struct Step {
    name: &'static str,
    took: Duration,
    note: String,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the end-to-end tests make network namespaces and load eBPF programs: run them as root"
    );
    install()?;
    if let Some(filter) = &args.only {
        build::dev()?;
        return nextest(&["-E", filter]);
    }
    let mut steps = Vec::new();
    let mut step = |name, work: &dyn Fn() -> anyhow::Result<String>| -> anyhow::Result<()> {
        eprintln!("\n=== {name}");
        let started = Instant::now();
        let note = work().with_context(|| format!("{name} failed"))?;
        steps.push(Step { name, took: started.elapsed(), note });
        Ok(())
    };
    let silent = |result: anyhow::Result<()>| result.map(|()| String::new());
    step("format", &|| silent(build::cargo(&["fmt", "--all", "--check"])))?;
    step("layers", &|| silent(xtask(&["layers"])))?;
    step("clippy", &|| silent(build::cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])))?;
    step("build", &|| silent(build::dev().map(drop)))?;
    step("tests", &|| silent(nextest(&["--workspace"])))?;
    step("documentation tests", &|| silent(build::cargo(&["test", "--quiet", "--workspace", "--doc"])))?;
    step("features", &|| silent(xtask(&["features", "--check"])))?;
    step("eBPF object", &|| silent(xtask(&["ebpf", "--check"])))?;
    if !args.no_demo {
        step("demo", &demo)?;
    }
    eprintln!("\nall of it holds:");
    for Step { name, took, note } in &steps {
        eprintln!("  {name:<20} {:>6.1} s  {note}", took.as_secs_f64());
    }
    Ok(())
}

/// Installs what the tests run and a fresh machine lacks.
fn install() -> anyhow::Result<()> {
    setup::ensure(&PROGRAMS, &PACKAGES)?;
    // Debian keeps the server's programs off the PATH.
    if !setup::on_path("initdb") && !Path::new("/usr/lib/postgresql").is_dir() {
        setup::ensure(&["initdb"], &["postgresql"])?;
    }
    if !setup::on_path("cargo-nextest") && Command::new("cargo").args(["nextest", "--version"]).output().is_err() {
        eprintln!("installing cargo-nextest {NEXTEST}: this takes a few minutes, once");
        build::cargo(&["install", "cargo-nextest", "--locked", "--version", NEXTEST])?;
    }
    Ok(())
}

fn nextest(arguments: &[&str]) -> anyhow::Result<()> {
    build::cargo(&[&["nextest", "run"], arguments].concat())
}

/// Runs another task of this very program.
fn xtask(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(std::env::current_exe()?).args(arguments).current_dir(build::root()).status()?;
    if !status.success() {
        bail!("xtask {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

fn demo() -> anyhow::Result<String> {
    let output = Command::new(std::env::current_exe()?)
        .args(["demo", "--json"])
        .current_dir(build::root())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let shown: Value = serde_json::from_slice(&output.stdout).context("the demo printed no JSON")?;
    ensure!(output.status.success() && shown["held"] == true, "the demo did not hold: {}", shown["checks"]);
    let rows = shown["calls"]["rows"].as_array().map_or(0, Vec::len);
    ensure!(rows >= 7, "the demo shows {rows} pairs of pods");
    Ok(format!(
        "{} connections, {} TLS records",
        shown["calls"]["logged"],
        shown["wire"]["flows"].as_array().map_or(0, Vec::len)
    ))
}
