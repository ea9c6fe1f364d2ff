//! Builds the programs that the demo, the tests and the benchmark run, with cargo's own progress on the terminal.

use std::path::{Path, PathBuf};
use std::process::Command;

use ambit_tests::Binaries;
use anyhow::{Context, bail};

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Builds the programs as developers do: quickly.
///
/// # Errors
/// When they do not build; the compiler has said why.
pub(crate) fn dev() -> anyhow::Result<Binaries> {
    cargo(&["build", "--workspace", "--bins"])?;
    Ok(Binaries::within(&root().join("target/debug")))
}

/// Builds the programs as they are shipped.
///
/// # Errors
/// When they do not build; the compiler has said why.
pub(crate) fn release() -> anyhow::Result<Binaries> {
    cargo(&["build", "--release", "--workspace", "--exclude", "xtask", "--bins"])?;
    Ok(Binaries::within(&root().join("target/release")))
}

/// Runs cargo in the workspace's directory.
///
/// # Errors
/// When it cannot be run or fails.
pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("cargo").args(arguments).current_dir(root()).status().context("cargo cannot be run")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}
