//! `cargo xtask image`: builds the programs statically and puts them into one container image, without a container engine:
//! an archive that containerd, Docker and Podman import, the same bytes from the same source and compiler, and a list of what
//! is in it (SPDX) beside it. It does not know what the programs do.
//!
//! Static means glibc, linked in: its allocator is not used (the programs have jemalloc), its memcpy is chosen by the
//! processor, and it takes no other toolchain than Rust's and a C compiler's. musl would cost the relay its fast copies.

mod elf;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ambit_tests::digest::sha256;
use ambit_tests::image::{self, Files, Image, architecture};
use anyhow::{Context, ensure};

use crate::build::root;
use crate::setup;

/// The programs, which are in packages of the same names.
const PROGRAMS: [&str; 3] = ["controller", "waypoint", "ztunnel"];
/// Where they are in the image.
const BIN: &str = "/usr/local/bin";
/// Roots of the public's CAs, for waypoints that are told to speak TLS to hosts outside the mesh.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Arguments of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The first part of the image's name.
    #[arg(long, default_value = "localhost/ambit")]
    hub: String,

    /// The image's tag. Default: the workspace's version.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,

    /// The profile to build with: `release`, as it is shipped, or `dev`, which is sooner built and slow.
    #[arg(long, default_value = "release")]
    profile: String,

    /// The directory to write to.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    output: PathBuf,
}

/// Builds and writes them.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    setup::ensure(&["cc"], &["build-essential"])?;
    setup::ensure(&[ROOTS], &["ca-certificates"])?;
    let begun = Instant::now();
    let built = build(&args.profile)?;
    for program in PROGRAMS {
        elf::ensure_static(&built.join(program))?;
    }
    let directory = root().join(&args.output);
    fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let name = format!("{}/ambit:{}", args.hub, args.tag);
    let archive = directory.join(format!("ambit-{}-linux-{}.tar", args.tag, architecture()));
    write(&archive, &name, &args.tag, &built)?;
    let list = archive.with_extension("spdx.json");
    let graph = sbom::Graph::read(&target())?;
    fs::write(&list, graph.spdx(&name, &PROGRAMS)?).with_context(|| format!("{} cannot be written", list.display()))?;
    for path in [&archive, &list] {
        let bytes = fs::read(path)?;
        println!("{}  {:>6.1} MB  sha256:{}", path.display(), mega(bytes.len()), sha256(&bytes));
    }
    for program in PROGRAMS {
        println!("  {program}: {:.1} MB", mega(fs::metadata(built.join(program))?.len().try_into()?));
    }
    println!(
        "image {name}, in {:.0} s; import it with `ctr -n k8s.io images import` or `docker load -i`",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Builds the programs, and returns the directory that they are in.
fn build(profile: &str) -> anyhow::Result<PathBuf> {
    let target = target();
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Cstrip=debuginfo".to_owned()];
    // Neither where the sources are nor who builds them is in the programs.
    let registry = std::env::home_dir().context("no home directory")?.join(".cargo/registry/src");
    flags.push(format!("--remap-path-prefix={}=/registry", registry.display()));
    flags.push(format!("--remap-path-prefix={}=/ambit", root().display()));
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--profile", profile, "--target", &target]).current_dir(root());
    for program in PROGRAMS {
        cargo.args(["--package", program, "--bin", program]);
    }
    // Of the host's own compiler flags none counts: the image is the same wherever it is built.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS");
    let status = cargo.status().context("cargo cannot be run")?;
    ensure!(status.success(), "the static programs do not build");
    let directory = if profile == "dev" { "debug" } else { profile };
    Ok(root().join("target").join(target).join(directory))
}

/// Writes the image of the programs in `built` to `archive`.
fn write(archive: &Path, name: &str, version: &str, built: &Path) -> anyhow::Result<()> {
    let mut files = Files::default();
    for program in PROGRAMS {
        files.add_program(&built.join(program), &format!("{BIN}/{program}"))?;
    }
    files.add_text(Path::new(ROOTS), ROOTS)?;
    let labels = [
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
        ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY")),
        ("org.opencontainers.image.title", "ambit"),
        ("org.opencontainers.image.version", version),
    ];
    image::write(archive, &[Image { name, entrypoint: &[], labels: &labels }], &files)
}

/// This machine's target: programs are built for the architecture that they are built on.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
fn mega(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_same_programs_make_the_same_image_whoever_may_run_them_here() {
        let directory = tempfile::tempdir().unwrap();
        let archives = [0o755, 0o700].map(|mode| {
            let built = directory.path().join(format!("{mode:o}"));
            fs::create_dir(&built).unwrap();
            for program in PROGRAMS {
                fs::write(built.join(program), program).unwrap();
                fs::set_permissions(built.join(program), fs::Permissions::from_mode(mode)).unwrap();
            }
            let archive = built.join("image.tar");
            write(&archive, "localhost/ambit/ambit:1", "1", &built).unwrap();
            fs::read(archive).unwrap()
        });
        assert_eq!(archives[0], archives[1]);
        let held = |text: &str| archives[0].windows(text.len()).any(|window| window == text.as_bytes());
        for program in PROGRAMS {
            assert!(held(&format!("usr/local/bin/{program}")), "{program} is not in the image");
        }
        assert!(held("ca-certificates.crt"));
    }
}
