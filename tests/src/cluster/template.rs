//! What clusters begin with: the store of one that has come up and knows the mesh's kinds, and the keys that signed what is
//! in it. An API server that finds all of that is ready in half the time. It is kept in the cache, by the text of what makes
//! it: what another text has made is never taken for it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::Cluster;
use super::control_plane::{CERTIFICATES, STORE};
use super::crds;
use super::recipe::Part;
use crate::digest;
use crate::python::run;

/// The text of what makes one.
const MAKERS: [&str; 6] = [
    include_str!("../cluster.rs"),
    include_str!("template.rs"),
    include_str!("certificates.rs"),
    include_str!("control_plane.rs"),
    include_str!("crds.rs"),
    include_str!("network.rs"),
];

/// Copies the template of clusters with nodes, or of those without, to `directory`, a cluster's own. One that is not in
/// `cache` is what `settled` leaves; whoever asks at the same time waits.
///
/// # Errors
/// When it cannot be made or copied.
pub(super) fn copy(
    cache: &Path,
    for_nodes: bool,
    directory: &Path,
    settled: impl FnOnce() -> anyhow::Result<Cluster>,
) -> anyhow::Result<()> {
    let kind = if for_nodes { "template-nodes-" } else { "template-api-" };
    let lock = File::create(cache.join("template.lock"))?;
    lock.lock()?;
    let template = cache.join(format!("{kind}{}", key(cache)?));
    if !template.is_dir() {
        remove_all(cache, kind)?;
        let work = tempfile::Builder::new().prefix(kind).tempdir_in(cache)?;
        copy_parts(settled().context("the template of clusters")?.directory(), work.path())?;
        fs::rename(work.path(), &template)?;
    }
    copy_parts(&template, directory)
}

/// Files that are mostly nothing, as a store's log is, take no room.
fn copy_parts(from: &Path, to: &Path) -> anyhow::Result<()> {
    let parts = [STORE, CERTIFICATES].map(|part| from.join(part));
    run(Command::new("cp").args(["-a", "--sparse=always"]).args(parts).arg(to)).map(drop)
}

fn remove_all(cache: &Path, kind: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind)) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn key(cache: &Path) -> anyhow::Result<String> {
    let mut makers = vec![Part::Api.directory(cache).display().to_string()];
    makers.extend(MAKERS.map(str::to_owned));
    for definition in crds::MESH.iter().filter(|definition| definition.is_of_chart()) {
        let file = definition.file();
        makers.push(fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?);
    }
    Ok(digest::sha256(makers.join("\n").as_bytes()).chars().take(16).collect())
}
