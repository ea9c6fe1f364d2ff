//! What a fresh Debian machine lacks: installs Debian packages when a program that needs them is missing.

use std::process::Command;

use anyhow::{Context, bail};

/// Installs `packages` with apt-get unless every one of `programs` is on the PATH.
///
/// # Errors
/// When a package is missing and cannot be installed; the message names the packages.
pub(crate) fn ensure(programs: &[&str], packages: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<_> = programs.iter().filter(|program| !on_path(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {} (missing: {missing:?})", packages.join(" "));
    apt(&["update", "-q"])?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    apt(&[&install[..], packages].concat()).with_context(|| format!("install {} by hand", packages.join(" ")))
}

/// True if `program` can be run by name (sbin directories included, as root's PATH may lack them).
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|dir| dir.join(program).is_file())
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments).status();
    match status.context("apt-get cannot be run")? {
        status if status.success() => Ok(()),
        status => bail!("apt-get {} ended with {status}", arguments.join(" ")),
    }
}
