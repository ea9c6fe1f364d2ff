//! What each verb does, from its flags to what is printed: asks whom it has to, and has pure functions say how it looks.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ambit_discovery::resource;
use anyhow::Context;
use bytes::Bytes;
use clap::{CommandFactory, Parser};
use futures_util::StreamExt;
use futures_util::stream;
use kube::api::ListParams;
use serde_json::{Map, Value};

use crate::check::{self, network_policy};
use crate::cluster::Cluster;
use crate::cluster::forward::Place;
use crate::cluster::pods::Pod;
use crate::config::{certificate, connection, dump, policy, service, workload};
use crate::error::Error;
use crate::output::{Format, View, screen, written};
use crate::settings::{
    Agent, Check, Config, Reach, Settings, Status, Verb, Version, Waypoint, Whose, is_plain, levels,
};
use crate::status::{self, Proxy};
use crate::version::{self, Found, Remote};
use crate::waypoint::{self, verbs};

/// So many proxies are asked at once.
const AT_ONCE: usize = 16;
/// The port of the controller's metrics.
const CONTROLLER_METRICS: u16 = 15014;

/// Does what the arguments say.
///
/// # Errors
/// What a verb has failed with.
pub(crate) fn run() -> anyhow::Result<()> {
    let Settings { reach, verb } = Settings::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        match verb {
            Verb::Waypoint(verb) => on_waypoints(&reach, verb).await,
            Verb::Config(verb) => on_config(&reach, verb).await,
            Verb::Status(asked) => on_status(&reach, asked).await,
            Verb::Check(asked) => on_check(&reach, asked).await,
            Verb::Version(asked) => on_version(&reach, asked).await,
            Verb::Completion { shell } => {
                let mut words = Vec::new();
                clap_complete::generate(shell, &mut Settings::command(), "ambit", &mut words);
                print(&String::from_utf8_lossy(&words))
            }
        }
    })?;
    Ok(())
}

fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever reads has read enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn show(view: &View, format: Format) -> Result<(), Error> {
    print(&view.text(format, screen(is_plain()))?)
}

/// Results go to stdout, warnings to stderr.
struct Terminal;

impl verbs::Tell for Terminal {
    fn done(&self, line: &str) {
        // A result that nobody reads is no failure of what was done.
        let _ = print(&format!("{line}\n"));
    }

    fn warn(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "warning: {line}");
    }
}

async fn on_waypoints(reach: &Reach, verb: Waypoint) -> Result<(), Error> {
    match verb {
        Waypoint::Generate { shape, output } => {
            let version = ambit_api::Kind::Gateway.versions().first().copied().unwrap_or_default();
            let gateway = waypoint::gateway(&shape, version, reach.namespace.as_deref());
            print(&written(&gateway, output)?)
        }
        Waypoint::Apply { shape, enroll_namespace: enroll, overwrite, wait, patience } => {
            let wait = wait.then_some(patience.waypoint_timeout);
            let then = verbs::Afterwards { wait, enroll, overwrite };
            verbs::apply(&Cluster::open(reach).await?, &shape, then, &Terminal).await
        }
        Waypoint::List { all_namespaces, output } => {
            let found = verbs::found(&Cluster::open(reach).await?, all_namespaces, None).await?;
            show(&waypoint::list(&found), output.output)
        }
        Waypoint::Status { name, wait, patience, output } => {
            let cluster = Cluster::open(reach).await?;
            let mut found = verbs::found(&cluster, false, name.as_deref()).await?;
            let mut waited = Ok(());
            if wait {
                waited = verbs::wait(&cluster, &found, patience.waypoint_timeout).await;
                found = verbs::found(&cluster, false, name.as_deref()).await?;
            }
            show(&waypoint::status(&found), output.output)?;
            waited
        }
        Waypoint::Delete { names, all: _, revision } => {
            verbs::delete(&Cluster::open(reach).await?, &names, revision.as_deref(), &Terminal).await
        }
    }
}

async fn on_config(reach: &Reach, verb: Config) -> Result<(), Error> {
    match verb {
        Config::Workload { agent, filter } => {
            show(&workload::view(&dumped(reach, &agent).await?, &filter), agent.output.output)
        }
        Config::Service { agent, filter } => {
            show(&service::view(&dumped(reach, &agent).await?, &filter), agent.output.output)
        }
        Config::Policy { agent, filter } => {
            show(&policy::view(&dumped(reach, &agent).await?, &filter), agent.output.output)
        }
        Config::Certificate { agent } => {
            chosen(&agent)?;
            show(&certificate::view(&dumped(reach, &agent).await?), agent.output.output)
        }
        Config::Connections { agent, filter } => {
            chosen(&agent)?;
            let (open, domain) = opened(reach, &agent).await?;
            show(&connection::view(&open, &filter, domain.as_deref()), agent.output.output)
        }
        Config::Log { whose, level, reset } => on_log(reach, &whose, level.as_deref(), reset).await,
        Config::All { agent } => all(reach, &agent).await,
    }
}

/// Everything of an agent: its tables one after the other, or all that it says.
async fn all(reach: &Reach, agent: &Agent) -> Result<(), Error> {
    let place = source(reach, agent).await?;
    let whom = place.to_string();
    let mut whole: Map<String, Value> = dump::parse(&whom, &place.get("/config_dump").await?)?;
    if let Source::Asked(place) = &place {
        let open = dump::parse(&whom, &place.get("/connections").await?)?;
        whole.insert("connections".to_owned(), open);
    }
    let whole = Value::Object(whole);
    let format = agent.output.output;
    if format != Format::Table {
        return print(&written(&whole, format)?);
    }
    let read: dump::Dump = dump::of(&whom, &whole)?;
    let views = [
        workload::view(&read, &workload::Filter::default()),
        service::view(&read, &service::Filter::default()),
        policy::view(&read, &policy::Filter::default()),
        certificate::view(&read),
        connection::view(&read.open(), &connection::Filter::default(), Some(&read.mesh.domain)),
    ];
    let texts = views.iter().map(|view| view.text(format, screen(is_plain()))).collect::<Result<Vec<_>, _>>()?;
    print(&texts.join("\n"))
}

/// The open connections, and the mesh's domain where that is known.
async fn opened(reach: &Reach, agent: &Agent) -> Result<(Vec<dump::Listed<dump::Connection>>, Option<String>), Error> {
    let place = source(reach, agent).await?;
    let (text, about) = (place.get("/connections").await?, place.get("/status").await?);
    let whom = place.to_string();
    Ok((dump::connections(&whom, &text)?, dump::domain(&whom, &about)?))
}

/// Makes sure that it is said which agent is meant, of what each has for itself.
fn chosen(agent: &Agent) -> Result<(), Error> {
    let Whose { pod, node, admin, .. } = &agent.whose;
    if pod.is_some() || node.is_some() || agent.file.is_some() || admin.is_some() {
        return Ok(());
    }
    let message = "every agent has its own of these: name one by --node NODE, or by a pod of its node";
    Err(Error::Unmet(message.to_owned()))
}

async fn dumped(reach: &Reach, agent: &Agent) -> Result<dump::Dump, Error> {
    let place = source(reach, agent).await?;
    dump::parse(&place.to_string(), &place.get("/config_dump").await?)
}

/// Where it is said what is in force at the agent that is meant.
async fn source(reach: &Reach, agent: &Agent) -> Result<Source, Error> {
    if let Some(file) = &agent.file {
        return Ok(Source::Saved(file.clone(), read(file)?));
    }
    let places = places(reach, &agent.whose).await?;
    let first = places.into_iter().next().ok_or_else(|| Error::Unmet("there is no agent".to_owned()))?;
    Ok(Source::Asked(first))
}

/// The admin interface of the agent that is meant; of all, those that run first, if none is.
async fn places(reach: &Reach, whose: &Whose) -> Result<Vec<Place>, Error> {
    if let Some(address) = &whose.admin {
        return Ok(vec![Place::Address(address.clone())]);
    }
    let cluster = Cluster::open(reach).await?;
    let pods = match (&whose.pod, &whose.node) {
        (Some(named), _) => vec![cluster.agent_named(&named.parse()?).await?],
        (None, Some(node)) => vec![cluster.agent_of(node).await?],
        (None, None) => cluster.running_agents().await?,
    };
    Ok(pods.iter().map(|pod| place(&cluster, pod, whose.proxy_admin_port)).collect())
}

/// Shows the log levels of agents, or changes them.
async fn on_log(reach: &Reach, whose: &Whose, level: Option<&str>, reset: bool) -> Result<(), Error> {
    let query = match level {
        Some(level) => format!("?level={}", levels(level)),
        None if reset => "?reset".to_owned(),
        None => String::new(),
    };
    let mut failed = 0;
    for place in places(reach, whose).await? {
        match place.post(&format!("/logging{query}")).await {
            Ok(said) => print(&format!("{}: {}\n", place.name(), String::from_utf8_lossy(&said).trim_end()))?,
            Err(error) => {
                failed += 1;
                verbs::Tell::warn(&Terminal, &error.to_string());
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::Several(failed)) }
}

/// Where it is said what is in force at an agent.
enum Source {
    /// It is asked.
    Asked(Place),
    /// In this file, which says this, whatever is asked for.
    Saved(PathBuf, Bytes),
}

impl Source {
    async fn get(&self, path: &str) -> Result<Bytes, Error> {
        match self {
            Self::Asked(place) => place.get(path).await,
            Self::Saved(_, text) => Ok(text.clone()),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked(place) => place.fmt(f),
            Self::Saved(file, _) => file.display().fmt(f),
        }
    }
}

fn read(file: &Path) -> Result<Bytes, Error> {
    let mut text = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().lock().read_to_end(&mut text).map(drop),
        _ => std::fs::read(file).map(|found| text = found),
    };
    read.map_err(|cause| Error::File { path: file.to_owned(), cause })?;
    Ok(text.into())
}

fn place(cluster: &Cluster, pod: &Pod, port: u16) -> Place {
    Place::Pod { client: cluster.client.clone(), namespace: pod.namespace.clone(), name: pod.name.clone(), port }
}

async fn on_status(reach: &Reach, asked: Status) -> Result<(), Error> {
    let proxies = if asked.admin.is_empty() {
        let cluster = Cluster::open(reach).await?;
        let pods = cluster.proxies().await?;
        if pods.is_empty() {
            return Err(cluster.no_agents());
        }
        said_by(&cluster, &pods, asked.proxy_admin_port).await
    } else {
        let each = asked.admin.iter().map(|address| async {
            let said = said_at(&Place::Address(address.clone())).await;
            Proxy { name: address.clone(), node: String::new(), said }
        });
        stream::iter(each).buffered(AT_ONCE).collect().await
    };
    show(&status::view(&proxies), asked.output.output)?;
    if asked.output.output == Format::Table {
        let reasons = status::reasons(&proxies);
        if !reasons.is_empty() {
            print(&format!("\n{}\n", reasons.join("\n")))?;
        }
    }
    Ok(())
}

/// What each of `pods` says of itself, in their order.
async fn said_by(cluster: &Cluster, pods: &[Pod], port: u16) -> Vec<Proxy> {
    let each = pods.iter().map(|pod| async move {
        let said = match pod.runs {
            true => said_at(&place(cluster, pod, port)).await,
            false => Err(format!("its pod does not run: `kubectl describe pod -n {} {}`", pod.namespace, pod.name)),
        };
        Proxy { name: format!("{}.{}", pod.name, pod.namespace), node: pod.node.clone(), said }
    });
    stream::iter(each).buffered(AT_ONCE).collect().await
}

async fn said_at(place: &Place) -> Result<status::Said, String> {
    let text = place.get("/status").await.map_err(|error| error.to_string())?;
    dump::parse(&place.to_string(), &text).map_err(|error| error.to_string())
}

async fn on_check(reach: &Reach, asked: Check) -> Result<(), Error> {
    let cluster = Cluster::open(reach).await?;
    let namespace = (!asked.all_namespaces).then_some(cluster.namespace.as_str());
    let (policies, everything) =
        (resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"), ListParams::default());
    let pods = resource("v1", "Pod", "pods");
    let (policies, pods) = futures_util::try_join!(
        cluster.list(namespace, &policies, &everything),
        cluster.list(namespace, &pods, &everything)
    )?;
    let outcomes = [network_policy::check(&policies, &pods)];
    show(&check::view(&outcomes), asked.output.output)?;
    match check::count(&outcomes) {
        0 => Ok(()),
        count => Err(Error::Found(count)),
    }
}

async fn on_version(reach: &Reach, asked: Version) -> Result<(), Error> {
    let remote = match asked.remote {
        Some(false) => None,
        Some(true) => Some(remote(reach).await?),
        None => match remote(reach).await {
            Ok(remote) => Some(remote),
            Err(error) => {
                verbs::Tell::warn(&Terminal, &format!("no cluster was asked: {error}"));
                None
            }
        },
    };
    match asked.output.output {
        Format::Table => print(&version::text(remote.as_ref(), asked.short)),
        format => print(&written(&version::whole(remote.as_ref()), format)?),
    }
}

/// The versions of what runs in the cluster.
async fn remote(reach: &Reach) -> Result<Remote, Error> {
    let cluster = Cluster::open(reach).await?;
    let (controllers, proxies) = futures_util::try_join!(cluster.controllers(), cluster.proxies())?;
    let of_controllers = controllers.iter().map(|pod| async {
        let page = place(&cluster, pod, CONTROLLER_METRICS).get("/metrics").await;
        let version = page.map_err(|error| error.to_string()).and_then(|page| {
            version::of_metrics(&String::from_utf8_lossy(&page)).ok_or_else(|| "its metrics name none".to_owned())
        });
        Found { name: format!("{}.{}", pod.name, pod.namespace), version }
    });
    let controllers = stream::iter(of_controllers).buffered(AT_ONCE).collect().await;
    let said = said_by(&cluster, &proxies, 15000).await.into_iter();
    let proxies = said.map(|Proxy { name, said, .. }| Found { name, version: said.map(|said| said.version) }).collect();
    Ok(Remote { controllers, proxies })
}
