//! Builds Kubernetes into the cache: once, in a directory beside it that gets its name when it is complete. Says what it
//! does to whom it is told; knows nothing of how clusters are run.

mod compile;
mod debian;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;

use self::debian::Debian;
use super::recipe::{self, Part};
use super::settings::Settings;
use crate::python::run;

/// What the name of a directory begins with that is built in.
const WORK: &str = "work-";

/// Builds those of `parts` that the cache lacks; `tell` hears of each step and how long it took. Whoever asks at the same
/// time waits.
///
/// # Errors
/// When Debian's packages cannot be had or do not build.
pub fn build(settings: &Settings, parts: &[Part], tell: &dyn Fn(&str)) -> anyhow::Result<()> {
    let cache = settings.cache();
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let cache = cache.canonicalize()?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let missing: Vec<_> = parts.iter().copied().filter(|part| !part.directory(&cache).is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    remove_interrupted(&cache)?;
    let begun = Instant::now();
    tell(&format!("Kubernetes {} out of Debian's packages (some minutes, once)", recipe::VERSION));
    let work = tempfile::Builder::new().prefix(WORK).tempdir_in(&cache)?;
    let steps = Steps { work: work.path(), tell };
    steps.prepare(&missing)?;
    for part in missing {
        steps.part(part, &part.directory(&cache))?;
    }
    tell(&format!("{:>6.1} s  in all, in {}", begun.elapsed().as_secs_f64(), cache.display()));
    Ok(())
}

/// Removes what builds have left that were killed; to be called with the lock held.
fn remove_interrupted(cache: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WORK)) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The steps of a build, in a directory of its own.
struct Steps<'a> {
    work: &'a Path,
    tell: &'a dyn Fn(&str),
}

impl Steps<'_> {
    /// Everything that parts have in common: packages, source, generated code.
    fn prepare(&self, parts: &[Part]) -> anyhow::Result<()> {
        let packages: Vec<_> =
            parts.iter().flat_map(|part| part.packages()).chain(&recipe::BUILD_PACKAGES).copied().collect();
        let debian = self.step("apt-get update", || Debian::update(&self.work.join("apt")))?;
        let downloads = self.work.join("downloads");
        self.step("download", || debian.download(&downloads, &packages, recipe::SOURCE))?;
        self.step("unpack", || {
            debian::unpack(&downloads, &self.work.join("root"))?;
            compile::unpack(&downloads, self.work)
        })?;
        self.step("generated code", || compile::generate(self.work))
    }

    /// One part, into `directory`, which appears when it is complete.
    fn part(&self, part: Part, directory: &Path) -> anyhow::Result<()> {
        let made = self.work.join(format!("{part:?}"));
        fs::create_dir_all(made.join("bin"))?;
        for (from, to) in part.kept() {
            let (from, to) = (self.work.join("root").join(from), made.join(to));
            run(Command::new("cp").arg("-a").arg(from).arg(to))?;
        }
        for component in part.components() {
            self.step(component, || compile::component(self.work, component, &made.join("bin")))?;
        }
        fs::rename(&made, directory).with_context(|| format!("cannot name {}", directory.display()))
    }

    fn step<T>(&self, name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let begun = Instant::now();
        let done = work().with_context(|| format!("building Kubernetes: {name}"))?;
        (self.tell)(&format!("{:>6.1} s  {name}", begun.elapsed().as_secs_f64()));
        Ok(done)
    }
}
