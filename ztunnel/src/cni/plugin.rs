//! The plugin: one short life for each thing that the container runtime does with a pod (CNI 1.0). It asks the agent and
//! says what that says; while the agent is away it goes by what the agent last knew.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{About, Ask, Reply};
use super::environment::Environment;
use super::known;

/// How long the agent has to answer: longer than it waits itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it is asked again where nobody answers, and how often.
const CHANGE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(100);
/// The versions of CNI whose results are handed on as they come.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The plugin's own part of the network configuration, with what the runtime adds to it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    cni_version: String,
    /// Where the agent listens.
    #[serde(default)]
    socket: PathBuf,
    /// Which namespaces are in the mesh, for while it does not.
    #[serde(default)]
    known: PathBuf,
    #[serde(default)]
    when_away: WhenAway,
    /// There is no other plugin: nobody could take a pod's network down, or make one.
    #[serde(default)]
    alone: bool,
    #[serde(default)]
    prev_result: Option<Value>,
}

/// What becomes of a pod that is in the mesh while the agent is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WhenAway {
    /// It waits: the kubelet tries again, and its events say why.
    #[default]
    Wait,
    /// It starts, and is captured when the agent is back.
    Start,
}

/// What the plugin refuses with (CNI 1.0, section 5, "Error").
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    code: u32,
    message: String,
}

const INVALID_ENVIRONMENT: u32 = 4;
const NOT_DECODED: u32 = 6;
const INVALID_CONFIGURATION: u32 = 7;
const TRY_AGAIN_LATER: u32 = 11;
const NOT_AVAILABLE: u32 = 50;

/// What the plugin learns from outside: the agent's answers, and what was written before.
trait Surroundings {
    fn ask(&self, socket: &Path, ask: &Ask) -> io::Result<Reply>;
    fn is_enrolled(&self, known: &Path, namespace: &str) -> io::Result<bool>;
}

struct Node;

impl Surroundings for Node {
    fn ask(&self, socket: &Path, ask: &Ask) -> io::Result<Reply> {
        let begun = Instant::now();
        loop {
            let outcome = ask.put(socket, PATIENCE);
            // One agent may be taking the place of another.
            if outcome.is_ok() || begun.elapsed() > CHANGE {
                return outcome;
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn is_enrolled(&self, known: &Path, namespace: &str) -> io::Result<bool> {
        known::is_enrolled(known, namespace)
    }
}

/// Does what the container runtime asks by `environment` and standard input, and answers on standard output.
pub(crate) fn run(environment: &Environment) -> ExitCode {
    let mut input = String::new();
    let read = io::stdin().read_to_string(&mut input);
    let outcome = match read {
        Ok(_) => act(environment, &input, &Node),
        Err(error) => Err(Refusal::new(NOT_DECODED, format!("the configuration cannot be read: {error}"))),
    };
    let (said, code) = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(result)) => (result, ExitCode::SUCCESS),
        Err(Refusal { code, message }) => {
            let version = serde_json::from_str::<Config>(&input).map(|config| config.cni_version).unwrap_or_default();
            (json!({"cniVersion": version, "code": code, "msg": message}), ExitCode::FAILURE)
        }
    };
    match serde_json::to_writer(io::stdout(), &said) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What is to be written to standard output, if anything.
fn act(environment: &Environment, input: &str, node: &impl Surroundings) -> Result<Option<Value>, Refusal> {
    let config: Config = serde_json::from_str(input)
        .map_err(|error| Refusal::new(NOT_DECODED, format!("the configuration is not understood: {error}")))?;
    match environment.command.as_str() {
        "ADD" | "DEL" if config.alone => {
            let message =
                "the network's configuration is gone from this node: pods are made and taken down when there is one";
            Err(Refusal::new(TRY_AGAIN_LATER, message))
        }
        "VERSION" => Ok(Some(json!({"cniVersion": config.cni_version, "supportedVersions": VERSIONS}))),
        "ADD" => add(environment, config, node).map(Some),
        "CHECK" => check(environment, &config, node).map(|()| None),
        "DEL" => {
            // What is gone is gone, whether the agent hears of it here or not.
            if let Some(ask) = ask(environment, About::Del) {
                let _ = node.ask(&config.socket, &ask);
            }
            Ok(None)
        }
        "STATUS" => status(&config, node).map(|()| None),
        "GC" => Ok(None),
        other => Err(Refusal::new(INVALID_ENVIRONMENT, format!("CNI_COMMAND is {other:?}, which is nothing to do"))),
    }
}

/// Lets a pod be made: with what the plugins before said of it.
fn add(environment: &Environment, config: Config, node: &impl Surroundings) -> Result<Value, Refusal> {
    let message = "there is no prevResult: this plugin follows others in a chain (plugins of a .conflist)";
    let result = config.prev_result.ok_or_else(|| Refusal::new(INVALID_CONFIGURATION, message))?;
    // Containers that are no pods' are nobody's business here.
    let Some(ask) = ask(environment, About::Add) else { return Ok(result) };
    match node.ask(&config.socket, &ask) {
        Ok(Reply::Captured | Reply::Outside) => Ok(result),
        Ok(Reply::Waits(why)) => Err(Refusal::waits(&ask, &why)),
        Err(_) if config.when_away == WhenAway::Start => Ok(result),
        Err(away) => match node.is_enrolled(&config.known, &ask.namespace) {
            Ok(false) => Ok(result),
            Ok(true) => Err(Refusal::waits(
                &ask,
                &format!("its namespace is in the mesh and this node's agent is away ({away})"),
            )),
            Err(unknown) => Err(Refusal::waits(
                &ask,
                &format!(
                    "this node's agent is away ({away}), and nothing says which namespaces are in the mesh ({}: {unknown})",
                    config.known.display()
                ),
            )),
        },
    }
}

fn check(environment: &Environment, config: &Config, node: &impl Surroundings) -> Result<(), Refusal> {
    let Some(ask) = ask(environment, About::Check) else { return Ok(()) };
    match node.ask(&config.socket, &ask) {
        Ok(Reply::Waits(why)) => Err(Refusal::waits(&ask, &why)),
        // What was captured stays so while the agent is away.
        Ok(Reply::Captured | Reply::Outside) | Err(_) => Ok(()),
    }
}

/// Whether pods can be made: not if nobody could say of any of them whether it is in the mesh.
fn status(config: &Config, node: &impl Surroundings) -> Result<(), Refusal> {
    if config.when_away == WhenAway::Start || std::os::unix::net::UnixStream::connect(&config.socket).is_ok() {
        return Ok(());
    }
    node.is_enrolled(&config.known, "").map(drop).map_err(|error| {
        let known = config.known.display();
        let message = format!("this node's agent has not begun yet: {}, {known}: {error}", config.socket.display());
        Refusal::new(NOT_AVAILABLE, message)
    })
}

/// What the agent is asked about the pod; none where the container is not a pod's.
fn ask(environment: &Environment, about: About) -> Option<Ask> {
    let argument = |name: &str| environment.arguments.get(name).filter(|value| !value.is_empty()).cloned();
    Some(Ask {
        about,
        namespace: argument("K8S_POD_NAMESPACE")?,
        name: argument("K8S_POD_NAME")?,
        uid: argument("K8S_POD_UID").and_then(|uid| uid.parse().ok()),
        container: environment.container.clone(),
        netns: environment.netns.clone(),
    })
}

impl Refusal {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The pod is held back, and the kubelet tries again.
    fn waits(ask: &Ask, why: &str) -> Self {
        Self::new(TRY_AGAIN_LATER, format!("pod {}/{} waits for the mesh: {why}", ask.namespace, ask.name))
    }
}

#[cfg(test)]
mod tests;
