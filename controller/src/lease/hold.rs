//! Takes the Lease and keeps it, as `decide` says, and tells who writes. The Lease is replaced in the version that was read:
//! of two that take it at once, the API lets one.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use ambit_discovery::resource;
use ambit_process::drain::Drain;
use kube::api::{Api, DynamicObject, PostParams};
use rand::Rng as _;
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{Action, LOOK, Record, Seen, WRITES, decide, held};
use crate::cluster::{Cluster, Why};
use crate::json::set;

/// The Lease's name.
const NAME: &str = "ambit-controller";
/// How long the API may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether this controller is the one that writes.
#[derive(Clone, Debug)]
pub(crate) struct Lead(watch::Receiver<bool>);

impl Lead {
    /// Does what `work` makes anew each time that this controller comes to write, and stops it where it is when it no longer
    /// may. Ends with the one who holds the Lease.
    pub(crate) async fn whenever<F: Future<Output = ()>>(mut self, work: impl Fn() -> F) {
        while self.0.wait_for(|leads| *leads).await.is_ok() {
            tokio::select! {
                _ = self.0.wait_for(|leads| !*leads) => {}
                () = work() => {}
            }
        }
    }
}

/// Holds the Lease as `me` whenever nobody else does, until `drain` begins; then gives it back.
pub(crate) fn hold(cluster: &Cluster, me: String, drain: Drain) -> Lead {
    let (leads, lead) = watch::channel(false);
    let kind = resource("coordination.k8s.io/v1", "Lease", "leases");
    let holder = Holder {
        leases: cluster.within(&cluster.namespace, &kind),
        me,
        leads,
        seen: None,
        writes: None,
        failing: false,
    };
    tokio::task::spawn_local(async move {
        let guard = drain.guard();
        holder.run(drain.graceful()).await;
        drop(guard);
    });
    Lead(lead)
}

struct Holder {
    leases: Api<DynamicObject>,
    me: String,
    leads: watch::Sender<bool>,
    seen: Option<Seen>,
    /// Until when this controller may write, if it does.
    writes: Option<Instant>,
    /// True from a failure until the API answers again: it is told once.
    failing: bool,
}

impl Holder {
    async fn run(mut self, stopping: impl Future<Output = ()>) {
        let mut stopping = std::pin::pin!(stopping);
        loop {
            let end = async {
                match self.writes {
                    Some(end) => tokio::time::sleep_until(end.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut stopping => break,
                () = end => {
                    warn!("the Lease {NAME} could not be renewed in time: nothing is written until it is");
                    self.writes = None;
                    self.leads.send_replace(false);
                    continue;
                }
                told = step(&self.leases, &self.me, self.seen.clone()) => self.note(told),
            }
            let wait = self.next();
            let until_end = self.writes.map(|end| end.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = &mut stopping => break,
                () = sleep(until_end.map_or(wait, |left| wait.min(left))) => {}
            }
        }
        self.leads.send_replace(false);
        if self.writes.is_some() {
            self.give_back().await;
        }
    }

    /// Takes in what came of a step.
    fn note(&mut self, (seen, outcome): (Option<Seen>, Result<Option<Instant>, String>)) {
        self.seen = seen;
        match outcome {
            Ok(Some(begun)) => {
                self.writes = Some(begun + WRITES);
                if !self.leads.send_replace(true) {
                    info!(me = self.me, "this controller writes");
                }
            }
            Ok(None) => {
                let mine = self.seen.as_ref().is_some_and(|seen| seen.record.holder.as_deref() == Some(&self.me));
                if !mine && self.leads.send_replace(false) {
                    self.writes = None;
                    warn!("another controller has the Lease {NAME}: this one no longer writes");
                }
            }
            Err(cause) if !self.failing => {
                self.failing = true;
                warn!("the Lease {NAME} cannot be looked at, it is tried again: {cause}");
                return;
            }
            Err(cause) => return debug!("the Lease {NAME} cannot be looked at: {cause}"),
        }
        self.failing = false;
    }

    /// How long until the next look, spread so that controllers that started together do not meet for ever.
    fn next(&self) -> Duration {
        let wait = match decide(self.seen.as_ref(), Instant::now(), &self.me) {
            Action::Wait(wait) => wait.min(LOOK),
            _ => LOOK / 2,
        };
        wait.mul_f64(rand::rng().random_range(0.8..=1.0))
    }

    /// Lets another have it at once.
    async fn give_back(&self) {
        let given = async {
            let mut lease = self.leases.get(NAME).await?;
            if Record::read(&lease).holder.as_deref() != Some(&self.me) {
                return Ok(());
            }
            set(&mut lease.data, &["spec", "holderIdentity"], json!(""));
            self.leases.replace(NAME, &PostParams::default(), &lease).await.map(drop)
        };
        match tokio::time::timeout(ANSWER, given).await {
            Ok(Ok(())) => info!("the Lease {NAME} is given back"),
            Ok(Err(error)) => debug!("the Lease {NAME} is not given back: {}", Why(&error)),
            Err(_) => debug!("the Lease {NAME} is not given back: the API does not answer"),
        }
    }
}

/// Looks at the Lease and does what is to be done: what it says now, and when a renewal that succeeded was begun.
async fn step(
    leases: &Api<DynamicObject>,
    me: &str,
    before: Option<Seen>,
) -> (Option<Seen>, Result<Option<Instant>, String>) {
    let begun = Instant::now();
    let acted = async {
        let lease = leases.get_opt(NAME).await?;
        let seen = lease.as_ref().map(|lease| Seen::update(before.clone(), Record::read(lease), Instant::now()));
        let written = match (decide(seen.as_ref(), Instant::now(), me), lease) {
            (Action::Wait(_), _) => return Ok((seen, None)),
            (Action::Create, _) | (_, None) => {
                let kind = resource("coordination.k8s.io/v1", "Lease", "leases");
                let lease = DynamicObject::new(NAME, &kind).data(json!({"spec": held(None, me, &stamp())}));
                leases.create(&PostParams::default(), &lease).await
            }
            (Action::Take | Action::Renew, Some(mut lease)) => {
                let spec = held(Some(&lease), me, &stamp());
                set(&mut lease.data, &["spec"], spec);
                leases.replace(NAME, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                let seen = Seen { record: Record::read(&lease), since: Instant::now() };
                Ok((Some(seen), Some(begun)))
            }
            // Another was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok((seen, None)),
            Err(error) => Err(error),
        }
    };
    match tokio::time::timeout(ANSWER, acted).await {
        Ok(Ok((seen, held))) => (seen, Ok(held)),
        Ok(Err(error)) => (before, Err(Why(&error).to_string())),
        Err(_) => (before, Err(format!("the API does not answer within {} s", ANSWER.as_secs()))),
    }
}

/// Now, as meta/v1 MicroTime is written.
fn stamp() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    OffsetDateTime::from(SystemTime::now()).format(&format).unwrap_or_default()
}
