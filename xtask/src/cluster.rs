//! `cargo xtask cluster`: a real Kubernetes on this machine, out of Debian's packages: an API server, or a cluster with
//! nodes. What it is made of is the tests' (`ambit_tests::cluster`); here it is one that stays until it is taken down.

use std::path::PathBuf;
use std::time::Instant;

use ambit_tests::cluster::build::build;
use ambit_tests::cluster::recipe::Part;
use ambit_tests::cluster::{self, Cluster, Kubectl, Plan, Programs, Settings};
use ambit_tests::{Binaries, image};
use anyhow::{bail, ensure};
use clap::Subcommand;
use serde_json::Value;

use crate::build::{cargo, root};
use crate::demo::interrupt;
use crate::setup;

/// Everything of it is called so.
const NAME: &str = "ambit-k8s-up";
/// Programs that a cluster runs beside its own, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("nsenter", "util-linux"), ("iptables", "iptables"), ("conntrack", "conntrack")];

/// Arguments of `cargo xtask cluster`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds Kubernetes into the cache, if it is not there.
    Build {
        /// Only the API server, its controllers, its store and its client.
        #[arg(long)]
        api_only: bool,
    },
    /// Starts a cluster, waits until it is ready and leaves it running.
    Up {
        /// How many nodes it has.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=200))]
        nodes: u8,
        /// Only an API server and its controllers.
        #[arg(long, conflicts_with = "nodes")]
        api_only: bool,
    },
    /// Removes it, whatever state it is in.
    Down,
    /// Shows what runs of it; fails if nothing does.
    Status,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match args.command {
        Verb::Build { api_only } => build(&Settings::from_environment(), parts(api_only), &|line| progress(line)),
        Verb::Up { nodes, api_only } => up(if api_only { 0 } else { nodes }),
        Verb::Down => {
            ensure_root()?;
            cluster::remove(NAME);
            progress("the cluster is gone");
            Ok(())
        }
        Verb::Status => status(),
    }
}

fn up(nodes: u8) -> anyhow::Result<()> {
    ensure_root()?;
    ensure!(!cluster::directory_of(NAME).exists(), "a cluster is still there: `cargo xtask cluster down` removes it");
    let (programs, packages): (Vec<_>, Vec<_>) = PROGRAMS.into_iter().unzip();
    setup::ensure(&programs, &packages)?;
    let settings = Settings::from_environment();
    if settings.assets.is_none() || nodes > 0 {
        build(&settings, parts(nodes == 0), &|line| progress(line))?;
    }
    cargo(&["build", "--quiet", "--package", "ambit-tests", "--bins"])?;
    let binaries = Binaries::within(&root().join("target/debug"));
    let begun = Instant::now();
    interrupt::clean_up_on(|| cluster::remove(NAME))?;
    // Whatever environment names a cluster that is there already: this one is to be made.
    let settings = Settings { existing: None, ..settings };
    let mut plan = Plan::new().lasting(NAME).nodes(nodes).settings(settings).binaries(binaries.clone());
    if nodes > 0 {
        let archive = root().join("target/images-of-tests.tar");
        image::write_for_tests(&archive, &binaries.testapp)?;
        plan = plan.image(&archive);
    }
    let cluster = plan.start()?;
    progress(&format!("ready after {:.1} s", begun.elapsed().as_secs_f64()));
    println!("{}", how_to_use(&cluster));
    cluster.leave();
    Ok(())
}

fn status() -> anyhow::Result<()> {
    let kubeconfig = kubeconfig();
    let processes = cluster::processes_of(NAME).len();
    if !kubeconfig.exists() || processes == 0 {
        bail!("no cluster is up");
    }
    let kubectl = kubectl()?;
    let version = kubectl.get_path("/version")?;
    let version = version.get("gitVersion").and_then(Value::as_str).unwrap_or("of an unknown version");
    println!("Kubernetes {version}, {processes} processes, kubeconfig {}", kubeconfig.display());
    print!("{}", kubectl.run(&["get", "nodes", "-o", "wide"])?);
    print!("{}", kubectl.run(&["get", "pods", "--all-namespaces", "-o", "wide"])?);
    Ok(())
}

fn kubectl() -> anyhow::Result<Kubectl> {
    let programs = Programs::find(&Settings::from_environment())?;
    Ok(Kubectl::new(&programs.kubectl, &kubeconfig(), Some(&cluster::directory_of(NAME).join("kubectl"))))
}

fn kubeconfig() -> PathBuf {
    cluster::directory_of(NAME).join("kubeconfig")
}

fn how_to_use(cluster: &Cluster) -> String {
    let mut text = format!(
        "\
Left running:
  use it:        export KUBECONFIG={}
  client:        {}
  logs:          {}",
        cluster.kubectl().kubeconfig().display(),
        cluster.kubectl().program().display(),
        cluster.directory().join("logs").display(),
    );
    if let [first, ..] = cluster.nodes() {
        text += &format!(
            "
  images:        {} (with imagePullPolicy: Never)
  on a node:     nsenter --net=/run/netns/{} --mount=/proc/{}/ns/mnt sh
  its cgroup:    {}",
            image::TESTAPP,
            first.netns.name(),
            first.pid(),
            first.cgroup.display(),
        );
    }
    text + "\n  remove it:     cargo xtask cluster down"
}

const fn parts(api_only: bool) -> &'static [Part] {
    if api_only { &[Part::Api] } else { &[Part::Api, Part::Nodes] }
}

fn ensure_root() -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "a cluster is made of network namespaces and cgroups: run it as root");
    Ok(())
}

fn progress(what: &str) {
    eprintln!("cluster: {what}");
}
