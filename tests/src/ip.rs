//! iproute2 in batches: many changes of one network namespace by one process.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::netns::Netns;

/// Lines of `ip -batch` for one network namespace.
#[derive(Debug, Default)]
pub struct Batch(String);

impl Batch {
    /// Adds one command, such as `link set lo up`.
    pub fn add(&mut self, command: impl AsRef<str>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{}", command.as_ref());
    }

    /// Runs the commands in `netns`, stopping at the first that fails.
    ///
    /// # Errors
    /// When iproute2 is missing or a command fails; the message carries its line and what iproute2 said.
    pub fn run(self, netns: &Netns) -> anyhow::Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", netns.name(), "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("ip cannot be run: install iproute2")?;
        child.stdin.take().context("ip takes no input")?.write_all(self.0.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ip in {} failed: {}\n{}", netns.name(), String::from_utf8_lossy(&output.stderr), self.0);
        }
        Ok(())
    }
}

/// Runs one `ip` command, given as words, in `netns` and returns what it printed.
///
/// # Errors
/// When iproute2 is missing or the command fails; the message carries what iproute2 said.
pub fn ip(netns: &Netns, command: &str) -> anyhow::Result<String> {
    let output = Command::new("ip")
        .args(["-n", netns.name()])
        .args(command.split_whitespace())
        .output()
        .context("ip cannot be run: install iproute2")?;
    if !output.status.success() {
        bail!("ip {command} in {} failed: {}", netns.name(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
