//! A node's file system and host name, as a node of a cluster has on a machine of its own: the machine's files, with what
//! the node changes of them in a directory of its own, and /dev and /run that are its alone. It ends with its processes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};

/// What a node changes of the machine's: its configuration, its state, its logs.
const LAYERED: [&str; 4] = ["/etc", "/opt", "/var/lib", "/var/log"];
/// Character devices that any process may need: name, major and minor number.
const DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("kmsg", 1, 11),
    ("tty", 5, 0),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Makes one and becomes a program in it.
    Make(Make),
    /// Becomes a program in that of another process.
    Join(Join),
}

#[derive(clap::Args)]
struct Make {
    /// The host name.
    #[arg(long)]
    hostname: String,
    /// Where what is changed goes.
    #[arg(long)]
    directory: PathBuf,
    /// CNI plugins, which others can be put beside.
    #[arg(long)]
    cni: PathBuf,
    /// The program and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

#[derive(clap::Args)]
struct Join {
    /// The process's ID.
    #[arg(long)]
    of: u32,
    /// The program and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Verb::Make(make) => {
            make.lay()?;
            become_program(&make.command)
        }
        Verb::Join(join) => {
            for (kind, flag) in [("uts", CloneFlags::CLONE_NEWUTS), ("mnt", CloneFlags::CLONE_NEWNS)] {
                let path = format!("/proc/{}/ns/{kind}", join.of);
                let namespace = File::open(&path).with_context(|| path.clone())?;
                setns(namespace, flag).with_context(|| format!("cannot enter {path}"))?;
            }
            become_program(&join.command)
        }
    }
}

impl Make {
    fn lay(&self) -> anyhow::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .context("no namespaces of its own: are you root?")?;
        // Nothing of what is mounted here is seen outside.
        propagate(MsFlags::MS_PRIVATE)?;
        fs::write("/proc/sys/kernel/hostname", &self.hostname)?;
        for place in LAYERED {
            self.layer(Path::new(place), Path::new(place))?;
        }
        fs::create_dir_all("/opt/cni/bin")?;
        self.layer(&self.cni, Path::new("/opt/cni/bin"))?;
        // Images are unpacked as layers, and layers cannot lie on layers.
        let images = self.directory.join("containerd");
        fs::create_dir_all(&images)?;
        fs::create_dir_all("/var/lib/containerd")?;
        bind(&images, Path::new("/var/lib/containerd"))?;
        devices()?;
        fresh("tmpfs", "/run", "mode=755")?;
        fs::create_dir_all("/run/lock")?;
        // What the node mounts is seen by those of its pods that ask for it, and the reverse.
        propagate(MsFlags::MS_SHARED)
    }

    /// Mounts at `place` the files of `below` under those that the node writes.
    fn layer(&self, below: &Path, place: &Path) -> anyhow::Result<()> {
        let name = place.to_string_lossy().trim_start_matches('/').replace('/', "-");
        let (upper, work) = (self.directory.join(&name), self.directory.join(format!("{name}.work")));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options = format!("lowerdir={},upperdir={},workdir={}", below.display(), upper.display(), work.display());
        mount(Some("overlay"), place, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot mount over {} ({options})", place.display()))
    }
}

fn devices() -> anyhow::Result<()> {
    fresh("tmpfs", "/dev", "mode=755")?;
    let usual = umask(Mode::empty());
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&Path::new("/dev").join(name), SFlag::S_IFCHR, mode, makedev(major, minor))?;
    }
    umask(usual);
    for directory in ["pts", "shm", "mqueue"] {
        fs::create_dir(Path::new("/dev").join(directory))?;
    }
    fresh("devpts", "/dev/pts", "newinstance,ptmxmode=0666")?;
    fresh("tmpfs", "/dev/shm", "mode=1777")?;
    for (link, to) in
        [("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(to, Path::new("/dev").join(link))?;
    }
    Ok(())
}

fn fresh(kind: &str, place: &str, options: &str) -> anyhow::Result<()> {
    mount(Some(kind), place, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {place}"))
}

fn bind(from: &Path, place: &Path) -> anyhow::Result<()> {
    mount(Some(from), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot mount {} at {}", from.display(), place.display()))
}

fn propagate(how: MsFlags) -> anyhow::Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | how, None::<&str>)
        .context("cannot set how mounts propagate")
}

fn become_program(command: &[OsString]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no program")?;
    // Returns only if the program could not be started.
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))
}
