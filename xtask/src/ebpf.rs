//! `cargo xtask ebpf`: builds the kernel programs into the object that the loader embeds, the same bytes from any
//! directory, and installs what that takes. It does not know what the programs do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use object::build::elf::{Builder, SectionData};

use crate::setup;

/// Debian's compiler, which brings a `core` for BPF; rustup's has none.
const RUSTC: &str = "/usr/bin/rustc";
const RUSTC_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// The LLVM that this compiler links, and that bpf-linker must link as well.
const LLVM: &str = "libLLVM.so.22.1";
const LINKER_VERSION: &str = "0.13.0";
const TARGET: &str = "bpfel-unknown-none";

/// Arguments of `cargo xtask ebpf`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build, and fail if the committed object differs by a byte; change nothing.
    #[arg(long)]
    check: bool,
}

/// Rebuilds ebpf/prebuilt, or checks it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let linker = toolchain()?;
    let ebpf = root()?.join("ebpf");
    let built = strip(&build(&ebpf, &linker)?)?;
    let prebuilt = ebpf.join("prebuilt/ambit.o");
    if args.check {
        let committed = fs::read(&prebuilt).with_context(|| format!("{} cannot be read", prebuilt.display()))?;
        if let Some(difference) = difference(&committed, &built) {
            let compiler = version(RUSTC)?;
            bail!(
                "{} is not what its source builds: {difference} (with {compiler}, bpf-linker {LINKER_VERSION}); \
                 run `cargo xtask ebpf` and commit it",
                prebuilt.display()
            );
        }
        println!("{} is what its source builds ({} bytes)", prebuilt.display(), built.len());
    } else {
        fs::write(&prebuilt, &built).with_context(|| format!("{} cannot be written", prebuilt.display()))?;
        println!("wrote {} ({} bytes)", prebuilt.display(), built.len());
    }
    Ok(())
}

/// The compiler and linker for BPF, installed where they are missing. Returns the linker's path.
fn toolchain() -> anyhow::Result<PathBuf> {
    if !Path::new(RUSTC_CORE).is_dir() || !Path::new(RUSTC).is_file() {
        setup::ensure(&[RUSTC_CORE], &PACKAGES)?;
    }
    let local = std::env::home_dir().context("no home directory to install bpf-linker in")?.join(".local");
    let linker = local.join("bin/bpf-linker");
    let installed = version(&linker).is_ok_and(|version| version.ends_with(LINKER_VERSION));
    if !installed {
        install_linker(&local)?;
    }
    Ok(linker)
}

fn install_linker(local: &Path) -> anyhow::Result<()> {
    let llvm = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH)).join(LLVM);
    ensure!(llvm.is_file(), "{} is missing: it comes with the package {}", llvm.display(), PACKAGES[0]);
    let prefix = local.join("llvm22");
    let link = prefix.join("lib/libLLVM.so");
    fs::create_dir_all(prefix.join("lib"))?;
    if !link.exists() {
        std::os::unix::fs::symlink(&llvm, &link).with_context(|| format!("{}", link.display()))?;
    }
    eprintln!("installing bpf-linker {LINKER_VERSION} (takes a minute)");
    let mut install = Command::new("cargo");
    install.args([
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--force",
        "--no-default-features",
    ]);
    install.args(["--features", "llvm-22", "--root"]).arg(local);
    // Its debug information would take LLVM's linker minutes.
    install.env("LLVM_PREFIX", &prefix).env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    succeed(&mut install)
}

/// Builds the programs and returns the object, debug information included.
fn build(ebpf: &Path, linker: &Path) -> anyhow::Result<Vec<u8>> {
    let programs = ebpf.join("programs");
    // So that the directories to be left out of the object are known before the build.
    succeed(Command::new("cargo").args(["fetch", "--quiet", "--locked"]).current_dir(&programs))?;
    let mut flags = vec!["--cfg=bpf_target_arch=\"x86_64\"".to_owned(), "-Clink-arg=--btf".to_owned()];
    flags.push(format!("-Clinker={}", linker.display()));
    // BTF names source files: without their directories the object is the same wherever it is built.
    flags.extend(registries()?.iter().map(|directory| remap(directory, "/registry")));
    flags.push(remap(ebpf, "/ebpf"));
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", TARGET]).current_dir(&programs);
    cargo.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", programs.join("target"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS").env_remove("RUSTC_WRAPPER");
    succeed(&mut cargo)?;
    let object = programs.join("target").join(TARGET).join("release/ambit");
    fs::read(&object).with_context(|| format!("{}", object.display()))
}

/// The directories that cargo unpacked its registries into.
fn registries() -> anyhow::Result<Vec<PathBuf>> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir().context("no home directory")?.join(".cargo"),
    };
    let sources = home.join("registry/src");
    let Ok(entries) = fs::read_dir(&sources) else { return Ok(Vec::new()) };
    let mut found = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Removes the debug information, of which the kernel reads only what bpf-linker turned into BTF.
fn strip(object: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("not an ELF object")?;
    for section in &mut builder.sections {
        section.delete = section.name.starts_with(b".debug") || section.name.starts_with(b".rel.debug");
    }
    // LLVM keeps the names of sections with those of symbols, which the writer does not.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// What sets two objects apart, in words.
fn difference(committed: &[u8], built: &[u8]) -> Option<String> {
    if committed.len() != built.len() {
        return Some(format!("{} bytes are committed, {} were built", committed.len(), built.len()));
    }
    let at = committed.iter().zip(built).position(|(one, other)| one != other)?;
    Some(format!("the first different byte is at {at:#x}"))
}

fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    Ok(root.to_owned())
}

fn version(program: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{:?} cannot be run", command.get_program()))?;
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_is_a_difference() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert!(difference(b"abc", b"abd").is_some_and(|text| text.contains("0x2")));
        assert!(difference(b"abc", b"ab").is_some_and(|text| text.contains("3 bytes")));
    }
}
