//! The steps of a scenario that are no requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use ambit_tests::Manifests;
use anyhow::{Context, ensure};
use serde_json::Value;

use super::ask;
use super::script::{Dial, LogLine, Metric, Reports, Run, Step};
use super::stage::{Operated, Stage};
use crate::databases::{PATIENCE, postgres_client};
use crate::world::SOON;

/// Does what `step` says, or finds that what it says is not so.
pub(super) fn run(stage: &mut Stage, step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Apply(files) => write(stage, files, Manifests::apply_text),
        Step::Delete(files) => write(stage, files, Manifests::delete_text),
        Step::Ask(asked) => ask::run(stage, asked).with_context(|| format!("{} asks {}", asked.from, asked.to)),
        Step::Dial(dialled) => dial(stage, dialled).with_context(|| format!("{} dials {}", dialled.from, dialled.to)),
        Step::Log(line) => log(stage, line),
        Step::Metric(wanted) => metric(stage, wanted),
        Step::Reports(wanted) => reports(stage, wanted),
        Step::Kill(name) => stage.kill(name).with_context(|| format!("kill {name}")),
        Step::Start(name) => stage.start(name).with_context(|| format!("start {name}")),
        Step::Ready(name) => stage.set_ready(name, true).with_context(|| format!("ready {name}")),
        Step::Unready(name) => stage.set_ready(name, false).with_context(|| format!("unready {name}")),
        Step::Label(what) => label(stage, what).with_context(|| format!("label {what}")),
        Step::Run(client) => client_runs(stage, client),
    }
}

/// Writes or removes what is in `files`, and waits until everything that runs knows.
fn write(stage: &mut Stage, files: &str, write: fn(&mut Manifests, &str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for file in files.split_whitespace() {
        let text = stage.text(file)?;
        write(&mut stage.world.manifests, &text).with_context(|| file.to_owned())?;
    }
    stage.settle()
}

fn dial(stage: &mut Stage, dial: &Dial) -> anyhow::Result<()> {
    for from in dial.from.split_whitespace() {
        for ipv6 in [false, true].into_iter().take(if dial.ipv6 { 2 } else { 1 }) {
            stage.within(dial.within, |stage| {
                stage.note_written()?;
                let served = if dial.psql { query(stage, dial, from, ipv6)? } else { greet(stage, dial, from, ipv6)? };
                dial.servers.compare_names("server", &served, dial.count).with_context(|| format!("{from}: {served:?}"))
            })?;
        }
    }
    Ok(())
}

/// How often each server greets; a connection that is refused counts for nobody.
fn greet(stage: &Stage, dial: &Dial, from: &str, ipv6: bool) -> anyhow::Result<BTreeMap<String, usize>> {
    let to = stage.address(from, &dial.to, ipv6)?.to_string();
    let mut served = BTreeMap::new();
    // One that is refused ends the client, so that each is its own where some are to be.
    let (rounds, each) = if dial.servers.0.is_empty() { (dial.count, 1) } else { (1, dial.count) };
    for _ in 0..rounds {
        let arguments = ["greeting", "--to", &to, "--count", &each.to_string()];
        let finished = stage.world.topology.pod(from)?.testapp(&arguments)?.finish(PATIENCE)?;
        if !finished.status.success() {
            continue;
        }
        let report: Value = finished.report()?;
        for line in report["lines"].as_array().context("no lines")? {
            let mut words = line.as_str().unwrap_or_default().split(' ');
            let name = words.next().unwrap_or_default();
            if let (Some(pod), Some(peer)) = (&dial.peer, words.next()) {
                stage.compare_peers(pod, [peer.parse::<SocketAddr>()?.ip().to_string()])?;
            }
            *served.entry(name.to_owned()).or_default() += 1;
        }
    }
    Ok(served)
}

/// The same of PostgreSQL, which answers a query or not.
fn query(stage: &Stage, dial: &Dial, from: &str, ipv6: bool) -> anyhow::Result<BTreeMap<String, usize>> {
    let to = stage.address(from, &dial.to, ipv6)?;
    let mut served = BTreeMap::new();
    for _ in 0..dial.count {
        let mut query = Command::new(postgres_client("psql"));
        query.args(["-h", &to.ip().to_string(), "-p", &to.port().to_string(), "-U", "postgres"]);
        query.args(["-XAtqc", "select 6 * 7", "postgres"]);
        let finished = stage.world.topology.pod(from)?.start(query)?.finish(PATIENCE)?;
        if finished.status.success() && finished.stdout() == "42\n" {
            *served.entry("postgres".to_owned()).or_default() += 1;
        }
    }
    Ok(served)
}

fn log(stage: &Stage, wanted: &LogLine) -> anyhow::Result<()> {
    let operated = stage.operated(&wanted.of)?;
    let process = operated.process()?;
    // Agents know of no requests.
    let id = stage.asked.as_deref().filter(|_| matches!(operated, Operated::Waypoint(_))).unwrap_or_default();
    let mark = stage.written.get(&wanted.of).copied().unwrap_or_default();
    let count = |lines: &[ambit_tests::process::Line]| {
        let is_it = |text: &str| text.contains(id) && wanted.has.iter().all(|part| text.contains(part));
        lines.iter().skip(mark).filter(|line| is_it(&line.text)).count()
    };
    let enough = |count: usize| wanted.count.map_or(count > 0, |exactly| count >= exactly);
    let found = process.wait_for(SOON, |lines| Some(count(lines)).filter(|count| enough(*count)));
    let found = found.unwrap_or_else(|| count(&process.lines()));
    let right = wanted.count.map_or(found > 0, |exactly| found == exactly);
    ensure!(right, "{} lines of {} with {:?}\n{}", found, wanted.of, wanted.has, process.tail());
    Ok(())
}

fn metric(stage: &Stage, wanted: &Metric) -> anyhow::Result<()> {
    let labels: Vec<_> = wanted.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let operated = stage.operated(&wanted.of)?;
    let mut seen = Ok(0.0);
    let mut samples = String::new();
    let come = ambit_tests::until(SOON, || {
        seen = operated.metrics().map(|metrics| {
            samples = format!("{:?}", metrics.matching(&wanted.name, &[]).collect::<Vec<_>>());
            metrics.sum(&wanted.name, &labels)
        });
        let such = |sum: f64| {
            wanted.at_least.is_none_or(|least| sum >= least) && wanted.is.is_none_or(|is| (sum - is).abs() < 0.5)
        };
        seen.as_ref().map_or(true, |sum| such(*sum))
    });
    let sum = seen?;
    ensure!(come.is_ok(), "{} of {} with {labels:?} is {sum}; there are {samples}", wanted.name, wanted.of);
    Ok(())
}

fn reports(stage: &Stage, wanted: &Reports) -> anyhow::Result<()> {
    let said = stage.operated(&wanted.of)?.admin("/reports")?.to_string();
    for text in &wanted.has {
        ensure!(said.contains(text), "{} does not report {text:?}: {said}", wanted.of);
    }
    for text in &wanted.lacks {
        ensure!(!said.contains(text), "{} reports {text:?}: {said}", wanted.of);
    }
    Ok(())
}

/// As `kubectl label` takes it: `Kind/namespace/name key=value`, or `key-` to remove it.
fn label(stage: &mut Stage, what: &str) -> anyhow::Result<()> {
    let (object, label) = what.split_once(' ').context("no label")?;
    let mut parts = object.split('/');
    let mut part = || parts.next().context("Kind/namespace/name");
    let object = (part()?, part()?, part()?);
    let (key, value) = match label.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (label.trim_end_matches('-'), None),
    };
    stage.world.manifests.label(object, key, value)?;
    stage.settle()
}

fn client_runs(stage: &mut Stage, client: &Run) -> anyhow::Result<()> {
    stage.note_written()?;
    let arguments = stage.arguments(&client.from, &client.testapp)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let process = stage.world.topology.pod(&client.from)?.testapp(&arguments)?;
    if client.stays {
        return client.reports.iter().try_for_each(|text| process.wait_line(text, PATIENCE).map(drop));
    }
    let said = process.finish(PATIENCE)?.success()?.stdout();
    let missing = client.reports.iter().find(|text| !said.contains(text.as_str()));
    ensure!(missing.is_none(), "{:?} does not report {missing:?}: {said}", client.testapp);
    Ok(())
}
