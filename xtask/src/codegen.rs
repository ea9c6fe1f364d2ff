//! `cargo xtask codegen`: writes the CustomResourceDefinitions that the chart installs, from the schemas of `ambit_api`,
//! or checks that those which are committed are what these say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ambit_api::schema::Definition;
use ambit_tests::yaml;
use anyhow::{Context, bail};

use crate::build::root;

/// Where the chart has them.
const DIRECTORY: &str = "charts/ambit/files/crds";

/// Arguments of `cargo xtask codegen`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail if a committed file differs by a byte; change nothing.
    #[arg(long)]
    check: bool,
}

/// Writes them, or checks them.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (directory, wanted) = (root().join(DIRECTORY), files()?);
    if args.check {
        let different = different(&directory, &wanted)?;
        if !different.is_empty() {
            bail!("not what crates/api/src/schema says: {}; run `cargo xtask codegen`", different.join(", "));
        }
        println!("{DIRECTORY} is what crates/api/src/schema says ({} kinds)", wanted.len());
        return Ok(());
    }
    fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    for name in different(&directory, &wanted)? {
        let path = directory.join(&name);
        match wanted.get(&name) {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("{} cannot be written", path.display()))?;
        println!("{DIRECTORY}/{name}");
    }
    Ok(())
}

/// Every file and what is in it.
fn files() -> anyhow::Result<BTreeMap<String, String>> {
    let file = |definition: Definition| {
        let written = yaml::documents([&serde_json::to_value(&definition)?]);
        let written = written.trim_start_matches("---\n");
        let text = format!("# Written by `cargo xtask codegen` from crates/api/src/schema.\n{written}");
        anyhow::Ok((format!("{}.yaml", definition.name()), text))
    };
    Definition::all().into_iter().map(file).collect()
}

/// The names of the files that are missing, differ, or are there for no kind.
fn different(directory: &Path, wanted: &BTreeMap<String, String>) -> anyhow::Result<Vec<String>> {
    let mut names: BTreeSet<_> = wanted.keys().cloned().collect();
    if directory.is_dir() {
        for entry in fs::read_dir(directory)? {
            names.insert(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    let differs = |name: &String| fs::read_to_string(directory.join(name)).ok().as_ref() != wanted.get(name);
    Ok(names.into_iter().filter(differs).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_chart_installs_is_what_the_schemas_say() {
        let wanted = files().unwrap();
        assert_eq!(different(&root().join(DIRECTORY), &wanted).unwrap(), Vec::<String>::new());
        // What `kubectl apply` keeps of an object beside it, as JSON: 256 KiB at the most.
        for definition in Definition::all() {
            let size = serde_json::to_vec(&definition).unwrap().len();
            assert!(size < 200 * 1024, "{} has {size} bytes", definition.kind);
        }
    }

    #[test]
    fn a_file_that_is_missing_or_changed_or_stray_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("changed"), "other").unwrap();
        fs::write(path("same"), "same").unwrap();
        fs::write(path("stray"), "").unwrap();
        let wanted = ["changed", "missing", "same"].map(|name| (name.to_owned(), name.to_owned()));
        assert_eq!(different(directory.path(), &wanted.into()).unwrap(), ["changed", "missing", "stray"]);
    }
}
