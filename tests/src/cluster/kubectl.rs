//! kubectl, as people run it: one program a verb, with a kubeconfig. What reads and writes objects here goes through it, so
//! that any cluster can stand in, however its kubeconfig says who one is.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

/// kubectl and the cluster that it speaks to.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: Option<PathBuf>,
}

impl Kubectl {
    /// `program` with `kubeconfig`; what it remembers of the server goes to `cache`, or where it goes by default.
    #[must_use]
    pub fn new(program: &Path, kubeconfig: &Path, cache: Option<&Path>) -> Self {
        Self { program: program.to_owned(), kubeconfig: kubeconfig.to_owned(), cache: cache.map(Path::to_owned) }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The kubeconfig, as `KUBECONFIG` takes it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubectl that is not started yet, such as for `get --watch`.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        if let Some(cache) = &self.cache {
            command.arg("--cache-dir").arg(cache);
        }
        command.args(arguments);
        command
    }

    /// Runs it to its end: what it printed.
    ///
    /// # Errors
    /// When it fails; the message has what it said.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with(arguments, "")
    }

    /// The same with `input` on its stdin.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn run_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} cannot be run", self.program.display()))?;
        let mut stdin = child.stdin.take().context("kubectl takes no input")?;
        // It may write before it has read everything: neither waits for the other.
        let (written, output) = std::thread::scope(|scope| {
            let writing = scope.spawn(move || stdin.write_all(input.as_bytes()));
            let output = child.wait_with_output();
            (writing.join(), output)
        });
        let output = output?;
        if !output.status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        let written = written.map_err(|_| anyhow!("writing to kubectl panicked"))?;
        written.context("kubectl ended before it had read its input")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes `objects` as `kubectl apply` does.
    ///
    /// # Errors
    /// When the server refuses one; the others are written.
    pub fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        // What is not validated here is by the server.
        self.run_with(&["apply", "--validate=false", "-f", "-"], &list).map(drop)
    }

    /// The objects in `manifests`, YAML, as kubectl reads it. The server is asked only whether it knows their kinds.
    ///
    /// # Errors
    /// When it is no YAML, or a kind is not known.
    pub fn read(&self, manifests: &str) -> anyhow::Result<Vec<Value>> {
        let arguments = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
        let printed = self.run_with(&arguments, manifests)?;
        // One after the other, not as a list.
        let objects = serde_json::Deserializer::from_str(&printed).into_iter().collect::<Result<Vec<Value>, _>>()?;
        Ok(objects)
    }

    /// The object, or the list of objects, that `what` names, as `kubectl get` takes it: `["pods", "-n", "shop"]`.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, what: &[&str]) -> anyhow::Result<Value> {
        self.json(&[&["get", "-o", "json"], what].concat(), "")
    }

    /// GETs a path of the API, such as `/apis`.
    ///
    /// # Errors
    /// When the server refuses, or what it answers is not JSON.
    pub fn get_path(&self, path: &str) -> anyhow::Result<Value> {
        self.json(&["get", "--raw", path], "")
    }

    /// POSTs `object` to a path of the API, such as that of TokenReviews, and returns what comes back.
    ///
    /// # Errors
    /// When the server refuses, or what it answers is not JSON.
    pub fn post(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.json(&["create", "--raw", path, "-f", "-"], &object.to_string())
    }

    fn json(&self, arguments: &[&str], input: &str) -> anyhow::Result<Value> {
        let printed = self.run_with(arguments, input)?;
        serde_json::from_str(&printed).with_context(|| format!("kubectl {} printed no JSON", arguments.join(" ")))
    }
}
