//! Debian's packages, had without changing what the machine has installed or knows: apt with lists of its own, over those
//! of the machine's sources that are Debian's, source packages included.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::python::run;

/// Where apt keeps its sources.
const SOURCES: &str = "/etc/apt";

/// apt, in a directory of its own.
pub(super) struct Debian {
    configuration: PathBuf,
}

impl Debian {
    /// Makes `directory` and asks the sources what they have.
    pub(super) fn update(directory: &Path) -> anyhow::Result<Self> {
        let parts = directory.join("sources");
        for place in [&parts, &directory.join("lists/partial"), &directory.join("cache/archives/partial")] {
            fs::create_dir_all(place)?;
        }
        let release = fs::read_to_string("/etc/os-release").context("not a Debian")?;
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let codename = codename.context("/etc/os-release has no VERSION_CODENAME")?.trim_matches('"');
        let mut found = 0;
        for file in source_files() {
            let Some(name) = file.file_name() else { continue };
            let text = fs::read_to_string(&file)?;
            let is_list = file.extension().is_some_and(|extension| extension == "list");
            let kept = if is_list { lines(&text, codename) } else { stanzas(&text, codename) };
            if !kept.is_empty() {
                fs::write(parts.join(name), kept)?;
                found += 1;
            }
        }
        ensure!(found > 0, "no source of {codename} in {SOURCES}");
        let debian = Self { configuration: directory.join("configuration") };
        fs::write(&debian.configuration, configuration(directory))?;
        run(debian.apt().args(["update", "-q"]))?;
        Ok(debian)
    }

    /// Downloads `packages` and the source package `source` into `directory`.
    pub(super) fn download(&self, directory: &Path, packages: &[&str], source: &str) -> anyhow::Result<()> {
        fs::create_dir_all(directory)?;
        run(self.apt().args(["download", "-q"]).args(packages).current_dir(directory))?;
        run(self.apt().args(["source", "-q", "--download-only", source]).current_dir(directory))?;
        Ok(())
    }

    fn apt(&self) -> Command {
        let mut apt = Command::new("apt-get");
        apt.env("APT_CONFIG", &self.configuration).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    }
}

/// Unpacks every package of `downloads` into `root`, without running its scripts.
pub(super) fn unpack(downloads: &Path, root: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(downloads)? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&package).arg(root))?;
        }
    }
    Ok(())
}

fn source_files() -> Vec<PathBuf> {
    let parts = fs::read_dir(Path::new(SOURCES).join("sources.list.d")).into_iter().flatten().flatten();
    let mut files: Vec<_> = parts.map(|entry| entry.path()).collect();
    files.push(Path::new(SOURCES).join("sources.list"));
    files.retain(|file| file.is_file() && file.extension().is_some_and(|kind| kind == "list" || kind == "sources"));
    files.sort();
    files
}

/// Those stanzas of a deb822 file that are for a release `codename` or its updates, for source packages as well.
fn stanzas(text: &str, codename: &str) -> String {
    let of_release = |stanza: &&str| {
        let suites = stanza.lines().find_map(|line| line.strip_prefix("Suites:"));
        suites.is_some_and(|suites| suites.split_whitespace().any(|suite| is_of(suite, codename)))
    };
    text.split("\n\n")
        .filter(of_release)
        .map(|stanza| stanza.lines().map(with_sources).collect::<String>() + "\n")
        .collect()
}

fn with_sources(line: &str) -> String {
    let line = if line.starts_with("Types:") { "Types: deb deb-src" } else { line };
    line.to_owned() + "\n"
}

/// The same of a file of one-line entries.
fn lines(text: &str, codename: &str) -> String {
    let entries = text.lines().filter_map(|line| line.strip_prefix("deb "));
    let of_release = |entry: &&str| entry.split_whitespace().any(|word| is_of(word, codename));
    entries.filter(of_release).map(|entry| format!("deb {entry}\ndeb-src {entry}\n")).collect()
}

fn is_of(suite: &str, codename: &str) -> bool {
    suite.strip_prefix(codename).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{directory}/sources\";\n\
         Dir::State::lists \"{directory}/lists\";\n\
         Dir::Cache \"{directory}/cache\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_releases_own_sources_are_kept_and_bring_source_packages() {
        let deb822 =
            "Types: deb\nURIs: a\nSuites: bookworm bookworm-updates\n\nTypes: deb\nURIs: b\nSuites: nodistro\n";
        assert_eq!(stanzas(deb822, "bookworm"), "Types: deb deb-src\nURIs: a\nSuites: bookworm bookworm-updates\n\n");
        let list =
            "# x\ndeb [signed-by=k] a bookworm-security main\ndeb b cloud-bookworm main\ndeb-src a bookworm main\n";
        assert_eq!(
            lines(list, "bookworm"),
            "deb [signed-by=k] a bookworm-security main\ndeb-src [signed-by=k] a bookworm-security main\n"
        );
    }
}
