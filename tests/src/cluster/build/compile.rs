//! Compiles Kubernetes with Debian's compiler, out of Debian's source package and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cluster::recipe;
use crate::python::run;

/// Where the source stands below the directory of a build, so that its packages have the names that they import.
const SOURCE: &str = "go/src/k8s.io/kubernetes";
/// What marks a package whose types are described by generated code.
const MARK: &[u8] = b"+k8s:openapi-gen=";
/// The directories that such packages are in.
const MARKED: [&str; 4] = ["pkg", "cmd", "plugin", "vendor/k8s.io"];
/// Parts of paths that are left out of it.
const UNMARKED: [&str; 6] = [
    "/_examples/",
    "vendor/k8s.io/code-generator/",
    "vendor/k8s.io/sample-apiserver/",
    "/testdata/",
    "/test/",
    "/tests/",
];

/// Unpacks the source among `downloads` below `work` and replaces what does not work with this compiler.
pub(super) fn unpack(downloads: &Path, work: &Path) -> anyhow::Result<()> {
    let files = fs::read_dir(downloads)?.flatten().map(|entry| entry.path());
    let archive = files.into_iter().find(|path| path.to_string_lossy().contains(".orig.tar."));
    let archive = archive.context("the source package holds no source")?;
    let source = work.join(SOURCE);
    fs::create_dir_all(&source)?;
    run(Command::new("tar").arg("-xf").arg(archive).arg("--strip-components=1").arg("-C").arg(&source))?;
    let (from, to) = recipe::REPLACED;
    let (from, to) = (work.join("root").join(from), source.join(to));
    remove_code(&to)?;
    for entry in fs::read_dir(&from).with_context(|| format!("{}", from.display()))? {
        let file = entry?.path();
        let name = file.file_name().context("a file has no name")?.to_owned();
        if is_code(&file) && !name.to_string_lossy().ends_with("_test.go") {
            fs::copy(&file, to.join(name))?;
        }
    }
    Ok(())
}

/// Generates the description of the API, which the source package does not hold.
pub(super) fn generate(work: &Path) -> anyhow::Result<()> {
    let (source, generator) = (work.join(SOURCE), work.join("openapi-gen"));
    run(go(work).args(["build", "-o"]).arg(&generator).arg("./vendor/k8s.io/kube-openapi/cmd/openapi-gen"))?;
    let mut packages = BTreeSet::new();
    for directory in MARKED {
        marked(&source, &source.join(directory), &mut packages)?;
    }
    ensure!(packages.len() > 50, "only {} packages are marked: is this the source?", packages.len());
    let packages: Vec<_> = packages.into_iter().map(|package| format!("k8s.io/kubernetes/{package}")).collect();
    let mut generate = Command::new(generator);
    generate.args(["--logtostderr", "-i", &packages.join(","), "-p", "k8s.io/kubernetes/pkg/generated/openapi"]);
    generate.args(["-O", "zz_generated.openapi", "-h", "hack/boilerplate/boilerplate.generatego.txt"]);
    generate.arg("-r").arg(work.join("violations"));
    run(environment(&mut generate, work))?;
    Ok(())
}

/// Builds `name` into `directory`.
pub(super) fn component(work: &Path, name: &str, directory: &Path) -> anyhow::Result<()> {
    let [major, minor, _] = recipe::VERSION.split('.').collect::<Vec<_>>()[..] else { anyhow::bail!("no version") };
    let version = recipe::VERSION;
    let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
    for package in recipe::VERSION_PACKAGES {
        for (field, value) in [("Version", format!("v{version}")), ("Major", major.into()), ("Minor", minor.into())] {
            flags.extend(["-X".to_owned(), format!("{package}.git{field}={value}")]);
        }
    }
    let mut build = go(work);
    build.args(["build", "-tags", recipe::TAGS, "-ldflags", &flags.join(" "), "-o"]).arg(directory.join(name));
    run(build.arg(format!("./cmd/{name}")))?;
    Ok(())
}

fn go(work: &Path) -> Command {
    let mut go = Command::new(root(work).join("bin/go"));
    environment(&mut go, work);
    go
}

fn root(work: &Path) -> PathBuf {
    work.join("root").join(recipe::GO_ROOT)
}

/// Sets the compiler's environment: its own library, the source's own vendored packages, no network.
fn environment<'a>(command: &'a mut Command, work: &Path) -> &'a mut Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = root(work).join("bin");
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path))).unwrap_or(path);
    command.env("PATH", path).env("GOROOT", root(work)).env("GOPATH", work.join("go"));
    command.env("GOCACHE", work.join("go-cache")).env("GOTMPDIR", work).env("HOME", work);
    // The compiler is short-lived and memory is not: it need not collect its garbage so often.
    command.env("GOGC", "400");
    command.env("GO111MODULE", "off").env("GOPROXY", "off").env("GOFLAGS", "").env("CGO_ENABLED", "0");
    command.current_dir(work.join(SOURCE))
}

/// The marked packages in `directory` and below it, by their paths from `source`; links are followed.
fn marked(source: &Path, directory: &Path, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        let name = format!("{}/", path.strip_prefix(source)?.display());
        if UNMARKED.iter().any(|part| name.contains(part)) {
            continue;
        }
        if path.is_dir() {
            marked(source, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "go")
            && memchr::memmem::find(&fs::read(&path)?, MARK).is_some()
        {
            found.insert(directory.strip_prefix(source)?.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn remove_code(directory: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        if is_code(&file) {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn is_code(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "go" || extension == "s")
}
