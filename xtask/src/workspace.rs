//! What cargo says of the workspace: its packages, what they depend on and where their sources begin.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The workspace, as far as it is read here (`cargo metadata --format-version 1 --no-deps`).
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Its members.
    pub(crate) packages: Vec<Package>,
    /// The directory of its Cargo.toml.
    pub(crate) workspace_root: PathBuf,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// What it depends on, for whatever purpose.
    pub(crate) dependencies: Vec<Dependency>,
    /// What is built of it.
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

/// A dependency of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package depended on.
    pub(crate) name: String,
    /// `dev`, `build` or, for what the crate itself links, nothing.
    pub(crate) kind: Option<String>,
}

/// Something that is built of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `example`, ...
    pub(crate) kind: Vec<String>,
    /// The file that its sources begin with.
    pub(crate) src_path: PathBuf,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo cannot be run or refuses a manifest.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo).args(["metadata", "--format-version", "1", "--no-deps"]).output()?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("cargo metadata cannot be read")
    }
}

impl Package {
    /// What the package links or builds with, each once; what only its tests need is left out.
    pub(crate) fn linked(&self) -> BTreeSet<&str> {
        let linked = self.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        linked.map(|dependency| dependency.name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_writes_is_read() {
        let text = r#"{"packages":[{"name":"a","version":"0.1.0","dependencies":[
            {"name":"b","kind":null,"path":"/b","target":null},{"name":"c","kind":"dev"}],
            "targets":[{"name":"a","kind":["lib"],"crate_types":["lib"],"src_path":"/a/src/lib.rs"}]}],
            "workspace_root":"/"}"#;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        assert_eq!(metadata.packages[0].linked(), BTreeSet::from(["b"]));
        assert_eq!(metadata.packages[0].targets[0].kind, ["lib"]);
    }
}
