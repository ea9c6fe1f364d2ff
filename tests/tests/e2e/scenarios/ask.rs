//! Requests of a scenario, and whether what came of them is what it expects.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::script::{Ask, Expect, Received, Share, Shares};
use super::stage::Stage;
use crate::world::SOON;

/// Longer than a thousand requests take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// What came of a request.
#[derive(Debug, Deserialize)]
struct Outcome {
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    body: String,
    grpc: Option<String>,
    error: Option<String>,
    ms: f64,
}

impl Outcome {
    /// The server that answered; none if a proxy did.
    fn server(&self) -> Option<&str> {
        self.headers.get("x-server")?.first().map(String::as_str)
    }

    /// What that has seen of the request.
    fn seen(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Asks, and compares.
pub(super) fn run(stage: &mut Stage, ask: &Ask) -> anyhow::Result<()> {
    for from in ask.from.split_whitespace() {
        for ipv6 in [false, true].into_iter().take(if ask.ipv6 { 2 } else { 1 }) {
            stage.within(ask.within, |stage| {
                stage.note_written()?;
                let id = stage.next_asked();
                let outcomes = send(stage, ask, (from, &id), ipv6)?;
                stage.asked = Some(id);
                ask.expect.compare(&outcomes).with_context(|| summary(&outcomes))?;
                if let Some(pod) = &ask.expect.peer {
                    let found =
                        outcomes.iter().filter_map(|outcome| outcome.seen()["peer"].as_str().map(str::to_owned));
                    stage.compare_peers(pod, found)?;
                }
                ask.expect.received.iter().try_for_each(|received| received.compare(stage, &outcomes))
            })?;
        }
    }
    Ok(())
}

fn send(stage: &Stage, ask: &Ask, (from, id): (&str, &str), ipv6: bool) -> anyhow::Result<Vec<Outcome>> {
    let (place, path) = ask.to.split_once('/').unwrap_or((&ask.to, ""));
    let to = stage.address(from, place, ipv6)?.to_string();
    let field = |line: &String| {
        let (name, value) = line.split_once(':').with_context(|| format!("{line}: no field"))?;
        anyhow::Ok((name.to_owned(), value.trim().to_owned()))
    };
    let mut headers = ask.headers.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    if let (Some(text), Some((_, value))) = (&ask.repeated, headers.last_mut()) {
        *value = text.repeat(16_000 / text.len());
    }
    headers.insert(0, ("x-request-id".to_owned(), id.to_owned()));
    let batch = json!([{
        "count": ask.count,
        "method": ask.method.as_deref().unwrap_or("GET"),
        "path": format!("/{path}"),
        "host": ask.host.as_deref().unwrap_or(place.trim_start_matches('@')),
        "headers": headers,
        "body": ask.body.as_deref().unwrap_or_default(),
        "protocol": ask.protocol.as_deref().unwrap_or("http1"),
        "reuse": !ask.anew,
        "concurrency": ask.concurrency,
        "patience": ask.patience.unwrap_or(20_000),
    }]);
    let arguments = ["ask", "--to", &to, "--requests", &batch.to_string()];
    let finished = stage.world.topology.pod(from)?.testapp(&arguments)?.finish(LONG)?.success()?;
    let outcomes = finished.stdout().lines().map(serde_json::from_str).collect::<Result<Vec<Outcome>, _>>()?;
    ensure!(outcomes.len() == ask.count, "{} outcomes of {} requests", outcomes.len(), ask.count);
    Ok(outcomes)
}

/// What was seen, for whoever has to find out why it is not what was expected.
fn summary(outcomes: &[Outcome]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes {
        let kind = format!("{} {:?} {:?} {:?}", outcome.status, outcome.server(), outcome.grpc, outcome.error);
        *kinds.entry(kind).or_default() += 1;
    }
    let slowest = outcomes.iter().map(|outcome| outcome.ms).fold(0.0, f64::max);
    format!("seen: {kinds:?}, the slowest took {slowest:.0} ms, the last: {:?}", outcomes.last())
}

impl Expect {
    fn compare(&self, outcomes: &[Outcome]) -> anyhow::Result<()> {
        let status = |outcome: &Outcome| outcome.error.is_none().then(|| outcome.status.to_string());
        self.status.compare("status", outcomes, status)?;
        self.servers.compare("server", outcomes, |outcome| outcome.server().map(str::to_owned))?;
        self.grpc.compare("grpc-status", outcomes, |outcome| outcome.grpc.clone())?;
        for (text, share) in &self.bodies.0 {
            let count = outcomes.iter().filter(|outcome| outcome.body.contains(text)).count();
            within(&format!("bodies with {text:?}"), count, outcomes.len(), *share)?;
        }
        for text in &self.all_of {
            ensure!(outcomes.iter().any(|outcome| outcome.body.contains(text)), "no body has {text:?}");
        }
        for (error, share) in &self.errors.0 {
            let is_it = |outcome: &&Outcome| match &outcome.error {
                Some(found) => error == "any" || found.contains(error),
                None => false,
            };
            within(&format!("errors {error:?}"), outcomes.iter().filter(is_it).count(), outcomes.len(), *share)?;
        }
        if self.errors.0.is_empty() {
            let error = outcomes.iter().find_map(|outcome| outcome.error.as_ref());
            ensure!(error.is_none(), "an error: {error:?}");
        }
        outcomes.iter().try_for_each(|outcome| self.compare_one(outcome))?;
        self.compare_kinds(outcomes)?;
        self.compare_times(outcomes)?;
        self.compare_connections(outcomes)
    }

    fn compare_one(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let by_server = outcome.server().is_some();
        if let Some(body) = self.own_body.as_ref().filter(|_| !by_server) {
            ensure!(outcome.body == *body, "the body is {:?}, not {body:?}", outcome.body);
        }
        if !by_server || self.own_body.is_none() {
            for (name, expected) in &self.headers {
                let found = outcome.headers.get(name).map_or_else(|| "~".to_owned(), |values| values.join(", "));
                ensure!(found == *expected, "{name} is {found:?}, not {expected:?}");
            }
        }
        if by_server {
            compare_seen(&outcome.seen(), &self.seen)?;
        }
        Ok(())
    }

    fn compare_kinds(&self, outcomes: &[Outcome]) -> anyhow::Result<()> {
        let kinds = |pointer: &str| {
            let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
            for outcome in outcomes {
                let kind = outcome.seen().pointer(pointer).with_context(|| format!("no {pointer}"))?.to_string();
                *kinds.entry(kind).or_default() += 1;
            }
            anyhow::Ok(kinds)
        };
        if let Some(pointer) = &self.same {
            let kinds = kinds(pointer)?;
            ensure!(kinds.len() == 1, "{pointer} is not alike in all: {kinds:?}");
        }
        if let Some(pointer) = &self.evenly {
            let kinds = kinds(pointer)?;
            let (least, most) = (kinds.values().min(), kinds.values().max());
            ensure!(kinds.len() > 1, "{pointer} is alike in all: {kinds:?}");
            ensure!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "not evenly: {kinds:?}");
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a test are few")]
    fn compare_times(&self, outcomes: &[Outcome]) -> anyhow::Result<()> {
        if let Some(least) = self.min_ms {
            let slow = outcomes.iter().filter(|outcome| outcome.ms >= least as f64).count();
            within(&format!("those that took {least} ms"), slow, outcomes.len(), self.slow.unwrap_or(Share::Of(1.0)))?;
        }
        if let Some(most) = self.max_ms {
            let late = outcomes.iter().find(|outcome| outcome.ms > most as f64);
            ensure!(late.is_none(), "longer than {most} ms: {late:?}");
        }
        Ok(())
    }

    fn compare_connections(&self, outcomes: &[Outcome]) -> anyhow::Result<()> {
        let open = |outcome: &Outcome| outcome.headers.get("x-open")?.first()?.parse::<u64>().ok();
        let most = outcomes.iter().filter_map(open).max();
        ensure!(self.open.is_none() || most == self.open, "{most:?} connections were open, not {:?}", self.open);
        if self.per_connection.is_none() && self.connections.is_none() {
            return Ok(());
        }
        let mut carried: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.server().is_some()) {
            let connection = outcome.seen()["connection"].as_u64().context("no connection in the body")?;
            *carried.entry((outcome.server().unwrap_or_default().to_owned(), connection)).or_default() += 1;
        }
        let most = carried.values().copied().max().unwrap_or_default();
        ensure!(self.per_connection.is_none_or(|limit| most <= limit), "a connection carried {most}");
        let count = self.connections.unwrap_or(carried.len());
        ensure!(carried.len() == count, "{} connections, not {count}", carried.len());
        Ok(())
    }
}

impl Shares {
    /// Compares what `of` finds: each kind that is listed has its share, and there are no others.
    fn compare(&self, what: &str, outcomes: &[Outcome], of: impl Fn(&Outcome) -> Option<String>) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let found: Vec<String> = outcomes.iter().filter_map(of).collect();
        for (kind, share) in &self.0 {
            let count = found.iter().filter(|found| *found == kind).count();
            within(&format!("{what} {kind}"), count, outcomes.len(), *share)?;
        }
        let other = found.iter().find(|kind| !self.0.contains_key(*kind));
        ensure!(other.is_none(), "{what} {other:?} is not expected");
        Ok(())
    }

    /// The same of names that were found, of so many.
    pub(super) fn compare_names(&self, what: &str, found: &BTreeMap<String, usize>, of: usize) -> anyhow::Result<()> {
        for (name, share) in &self.0 {
            within(&format!("{what} {name}"), found.get(name).copied().unwrap_or_default(), of, *share)?;
        }
        let other = found.keys().find(|name| !self.0.contains_key(*name));
        ensure!(other.is_none(), "{what} {other:?} is not expected");
        Ok(())
    }
}

/// `count` of `all` is the share, within five standard deviations: what is right fails once in 1.7 million runs.
#[allow(clippy::cast_precision_loss, reason = "requests of a test are few")]
fn within(what: &str, count: usize, all: usize, share: Share) -> anyhow::Result<()> {
    let right = match share {
        Share::Exactly(exactly) => count == exactly,
        Share::Of(share) => {
            let (all, deviation) = (all as f64, (all as f64 * share * (1.0 - share)).sqrt());
            // What a fraction rounds away is no deviation.
            (count as f64 - all * share).abs() <= 5.0f64.mul_add(deviation, 1e-6)
        }
    };
    ensure!(right, "{what}: {count} of {all} are not {share:?}");
    Ok(())
}

fn compare_seen(seen: &Value, expected: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for (pointer, expected) in expected {
        let found = match seen.pointer(pointer) {
            None => "~".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        ensure!(found == *expected, "the server has seen {found:?} at {pointer}, not {expected:?}: {seen}");
    }
    Ok(())
}

impl Received {
    /// Waits until the server has written of as many requests as it should have got, which have to be such.
    fn compare(&self, stage: &Stage, outcomes: &[Outcome]) -> anyhow::Result<()> {
        let server = stage.servers.get(&self.by).with_context(|| format!("nothing runs in {}", self.by))?;
        let expected = match self.as_status {
            Some(status) => outcomes.iter().filter(|outcome| outcome.status == status).count(),
            None => outcomes.len(),
        };
        let of = |lines: &[ambit_tests::process::Line]| {
            let all = lines.iter().filter_map(|line| serde_json::from_str::<Value>(&line.text).ok());
            all.filter(|seen| seen["headers"]["x-request-id"][0].as_str() == stage.asked.as_deref()).collect::<Vec<_>>()
        };
        let enough = |count: usize| within("requests", count, expected, self.share).is_ok();
        let got = server.wait_for(SOON, |lines| Some(of(lines)).filter(|got| enough(got.len())));
        let got = got.unwrap_or_else(|| of(&server.lines()));
        within(&format!("requests to {}", self.by), got.len(), expected, self.share)?;
        got.iter().try_for_each(|seen| compare_seen(seen, &self.seen))
    }
}
