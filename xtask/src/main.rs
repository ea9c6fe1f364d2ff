//! `cargo xtask`: builds, demonstrates, tests and measures Ambit, and checks the rules that no compiler checks.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its product is text on a terminal")]

mod bench;
mod build;
mod cluster;
mod codegen;
mod demo;
mod ebpf;
mod features;
mod image;
mod layers;
mod setup;
mod test;
mod workspace;

use clap::{Parser, Subcommand};

/// Builds, demonstrates, tests and measures Ambit.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts two nodes, the mesh and a Bookinfo-shaped application on this machine, and shows what went over the wire.
    Demo(demo::Args),
    /// Runs every check and every test, the end-to-end tests included.
    Test(test::Args),
    /// Measures the mesh against the raw path.
    Bench(bench::Args),
    /// Runs a Kubernetes on this machine, out of Debian's packages.
    Cluster(cluster::Args),
    /// Writes the CustomResourceDefinitions of the chart, or checks that they are what the schemas say.
    Codegen(codegen::Args),
    /// Rebuilds the eBPF object that the loader embeds, or checks that it is what its source says.
    Ebpf(ebpf::Args),
    /// Builds static programs, and a container image of them with the list of what is in it.
    Image(image::Args),
    /// Checks that crates depend on one another only downwards.
    Layers(layers::Args),
    /// Checks that every test that docs/features.md names exists.
    Features(features::Args),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Codegen(args) => codegen::run(&args),
        Command::Ebpf(args) => ebpf::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Layers(args) => layers::run(&args),
        Command::Features(args) => features::run(&args),
    }
}
