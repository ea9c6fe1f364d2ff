//! Container images made of files, without a container engine: one archive that containerd, Docker and Podman import, being
//! an OCI image layout and a `docker save` at once. The same files make the same bytes.

mod tar;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use crate::digest::sha256;
use crate::python::run;
use tar::Tar;

/// The image of what holds a pod's namespaces; it does nothing.
pub const PAUSE: &str = "localhost/ambit/pause:1";
/// The image of the tests' servers and clients; its arguments are theirs.
pub const TESTAPP: &str = "localhost/ambit/testapp:1";

/// Files of an image, by their paths in it.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<String, (Vec<u8>, u32)>);

/// An image: a name and what it runs. Its files are those of the archive that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Its name with its tag, such as `localhost/ambit/testapp:1`.
    pub name: &'a str,
    /// The program and its first arguments; none where whoever runs it says which.
    pub entrypoint: &'a [&'a str],
    /// What it says of itself, such as its version, by the names that OCI has for that.
    pub labels: &'a [(&'a str, &'a str)],
}

impl Files {
    /// Adds the file `from` at `to`, an absolute path, with the permissions that it has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        let metadata = fs::metadata(from).with_context(|| format!("{} cannot be read", from.display()))?;
        self.put(from, to, std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777)
    }

    /// Adds the program `from` at `to`, an absolute path, for everybody to run, whatever permissions it has here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_program(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        self.put(from, to, 0o755)
    }

    /// Adds the file `from` at `to`, an absolute path, for everybody to read, whatever permissions it has here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_text(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        self.put(from, to, 0o644)
    }

    fn put(&mut self, from: &Path, to: &str, mode: u32) -> anyhow::Result<()> {
        let bytes = fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
        self.0.insert(to.trim_start_matches('/').to_owned(), (bytes, mode));
        Ok(())
    }

    /// Adds the shared libraries that the program `of` loads, at the places where it looks for them.
    ///
    /// # Errors
    /// When the loader does not know the program or lacks a library.
    pub fn add_libraries(&mut self, of: &Path) -> anyhow::Result<()> {
        for library in libraries(&run(Command::new("ldd").arg(of))?) {
            self.add(&library, &library.to_string_lossy())?;
        }
        Ok(())
    }
}

/// Writes `images`, all of the same `files`, to the archive `to`.
///
/// # Errors
/// When it cannot be written.
pub fn write(to: &Path, images: &[Image<'_>], files: &Files) -> anyhow::Result<()> {
    let mut layer = Tar::default();
    for (path, (bytes, mode)) in &files.0 {
        layer.file(path, bytes, *mode)?;
    }
    let mut archive = Archive::default();
    let layer = archive.blob(layer.end());
    let layer = layer.describe("application/vnd.oci.image.layer.v1.tar");
    for image in images {
        archive.image(image, &layer)?;
    }
    fs::write(to, archive.end()?).with_context(|| format!("{} cannot be written", to.display()))
}

/// Writes the images that the pods of tests are made of, with the program `testapp`, to the archive `to`.
///
/// The program is the one that the tests run elsewhere, with the shared libraries that it loads here: a static one would
/// take another toolchain and a build of all that it depends on.
///
/// # Errors
/// When the program cannot be read or the archive cannot be written.
pub fn write_for_tests(to: &Path, testapp: &Path) -> anyhow::Result<()> {
    let mut files = Files::default();
    files.add(testapp, "/testapp")?;
    files.add_libraries(testapp)?;
    let of = |name, entrypoint| Image { name, entrypoint, labels: &[] };
    let images = [of(PAUSE, &["/testapp", "pause"][..]), of(TESTAPP, &["/testapp"])];
    write(to, &images, &files)
}

/// An archive while it is written.
#[derive(Debug, Default)]
struct Archive {
    blobs: BTreeMap<String, Vec<u8>>,
    /// The descriptors of the images' manifests.
    index: Vec<Value>,
    /// What `docker save` lists.
    listed: Vec<Value>,
}

/// Contents that are named by their digest.
struct Blob {
    digest: String,
    size: usize,
}

impl Archive {
    fn blob(&mut self, bytes: Vec<u8>) -> Blob {
        let blob = Blob { digest: sha256(&bytes), size: bytes.len() };
        self.blobs.insert(blob.digest.clone(), bytes);
        blob
    }

    fn image(&mut self, image: &Image<'_>, layer: &Value) -> anyhow::Result<()> {
        let labels: BTreeMap<_, _> = image.labels.iter().copied().collect();
        let config = self.blob(serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": image.entrypoint, "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }))?);
        let manifest = self.blob(serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.describe("application/vnd.oci.image.config.v1+json"),
            "layers": [layer],
        }))?);
        let (_, tag) = image.name.rsplit_once(':').with_context(|| format!("{} has no tag", image.name))?;
        self.index.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", manifest.digest),
            "size": manifest.size,
            "annotations": {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": tag},
        }));
        let path = |digest: &str| format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
        let layers = [path(layer["digest"].as_str().unwrap_or_default())];
        self.listed.push(json!({"Config": path(&config.digest), "RepoTags": [image.name], "Layers": layers}));
        Ok(())
    }

    fn end(self) -> anyhow::Result<Vec<u8>> {
        let mut tar = Tar::default();
        for (digest, bytes) in &self.blobs {
            tar.file(&format!("blobs/sha256/{digest}"), bytes, 0o644)?;
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.index,
        });
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        for (name, value) in [("index.json", index), ("manifest.json", json!(self.listed)), ("oci-layout", layout)] {
            tar.file(name, &serde_json::to_vec(&value)?, 0o644)?;
        }
        Ok(tar.end())
    }
}

impl Blob {
    fn describe(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.size})
    }
}

/// This machine's architecture, as images name it.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The files that `ldd` names: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)`, and the loader by its path alone.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_that_have_a_file() {
        let listed = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f12)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x7f13)\n";
        assert_eq!(
            libraries(listed),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
        assert!(libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn the_archive_is_one_that_tar_reads_and_the_same_every_time() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "#!").unwrap();
        let mut files = Files::default();
        files.add(&program, "/bin/program").unwrap();
        let labels = &[("org.opencontainers.image.version", "2")];
        let image = Image { name: "localhost/x/program:2", entrypoint: &["/bin/program"], labels };
        let archives = ["one.tar", "other.tar"].map(|name| directory.path().join(name));
        for archive in &archives {
            write(archive, &[image], &files).unwrap();
        }
        assert_eq!(fs::read(&archives[0]).unwrap(), fs::read(&archives[1]).unwrap());

        let extracted = directory.path().join("extracted");
        fs::create_dir(&extracted).unwrap();
        run(Command::new("tar").arg("-xf").arg(&archives[0]).arg("-C").arg(&extracted)).unwrap();
        let json = |path: &str| serde_json::from_slice::<Value>(&fs::read(extracted.join(path)).unwrap()).unwrap();
        let listed = json("manifest.json");
        assert_eq!(listed[0]["RepoTags"][0], "localhost/x/program:2");
        let layer = listed[0]["Layers"][0].as_str().unwrap();
        let held = run(Command::new("tar").arg("-tf").arg(extracted.join(layer))).unwrap();
        assert_eq!(held, "bin/program\n");
        let config = json(listed[0]["Config"].as_str().unwrap());
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "2");
        assert_eq!(format!("blobs/{}", config["rootfs"]["diff_ids"][0].as_str().unwrap().replace(':', "/")), layer);
        let manifest = json("index.json")["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
        assert_eq!(
            json(&format!("blobs/{manifest}"))["layers"][0]["size"],
            fs::metadata(extracted.join(layer)).unwrap().len()
        );
    }
}
