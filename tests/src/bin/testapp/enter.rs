//! Enters a network namespace and a cgroup, then becomes another program. Only the network namespace changes, so that
//! /sys/fs/cgroup and /sys/fs/bpf stay what they are on the machine.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::SigSet;
use nix::unistd::User;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file that stands for the network namespace.
    #[arg(long)]
    net: PathBuf,
    /// The cgroup's directory.
    #[arg(long)]
    cgroup: PathBuf,
    /// The user to become.
    #[arg(long)]
    user: Option<String>,
    /// The program and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let procs = args.cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("cannot enter {}", procs.display()))?;
    let netns = File::open(&args.net).with_context(|| format!("cannot open {}", args.net.display()))?;
    setns(netns, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", args.net.display()))?;
    // Signals that whoever starts this holds back for itself are not held back from the program.
    SigSet::empty().thread_set_mask()?;
    let (program, arguments) = args.command.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(name) = &args.user {
        let user = User::from_name(name)?.with_context(|| format!("there is no user {name}"))?;
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    // Returns only if the program could not be started.
    Err(command.exec()).with_context(|| format!("cannot run {}", program.to_string_lossy()))
}
