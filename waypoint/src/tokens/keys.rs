//! The keys of the issuers whose tokens are taken here: fetched in the background as RequestAuthentications come, and again now
//! and then. What cannot be had leaves in force what was, and is told. One for all workers, who read and never wait for a lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::{Published, Publisher, Snapshots};
use ambit_identity::jose::{Fault, Keys};
use ambit_model::policy::token::KeySource;
use ambit_model::policy::{self, Addressed, TargetKind, TargetRef, WAYPOINT_CLASSES};
use ambit_model::waypoint::{self, WaypointKey};
use ambit_model::{ServiceKey, Snapshot, WorkloadUid};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::fetch::Fetcher;

/// How soon after keys were fetched they are fetched again because a token names another.
const COOLDOWN: Duration = Duration::from_secs(5);
/// The longest that fetching keys may take, whatever a RequestAuthentication says.
const LONGEST: Duration = Duration::from_secs(30);
/// After keys could not be fetched, and twice as long after each further time.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What is known of every source of keys that is asked for here.
pub(crate) type Known = BTreeMap<KeySource, Arc<Entry>>;

/// Who asks for keys again.
pub(crate) type Asks = mpsc::Receiver<KeySource>;

/// What is known of a source of keys.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The keys that were there last.
    keys: Option<Arc<Keys>>,
    /// Why those that are there now cannot be had.
    fault: Option<Arc<str>>,
    /// How often it was looked, and when last; none before the first time.
    looked: Option<(u64, Instant)>,
}

/// The keys.
pub(crate) struct KeyRing {
    known: Published<Known>,
    asks: mpsc::Sender<KeySource>,
}

impl KeyRing {
    /// The keys that are `known`, and how to have them looked at again.
    pub(crate) fn new(known: Published<Known>) -> (Self, Asks) {
        let (asks, asked) = mpsc::channel(64);
        (Self { known, asks }, asked)
    }

    /// The keys at `source`. What nobody has looked at yet is waited for, with `patience`.
    ///
    /// # Errors
    /// There are none, and never were; why.
    pub(super) async fn of(&self, source: &KeySource, patience: Duration) -> Result<Arc<Keys>, (Fault, Arc<str>)> {
        let until = Instant::now() + patience;
        let looked = |known: &Arc<Known>| known.get(source).filter(|entry| entry.looked.is_some()).cloned();
        let (entry, _) = self.known.answer(looked, |entry| entry.is_none().then_some(until)).await;
        let fault = if matches!(source, KeySource::Inline(_)) { Fault::NoKeys } else { Fault::KeysNotFetched };
        let Some(entry) = entry else { return Err((fault, Arc::from("the issuer's keys are not known yet"))) };
        entry.keys.clone().ok_or_else(|| (fault, entry.fault.clone().unwrap_or_default()))
    }

    /// The keys at `source` as they are once they were fetched again, with `patience`; none if that has just been done.
    pub(super) async fn newer(&self, source: &KeySource, patience: Duration) -> Option<Arc<Keys>> {
        let (count, at) = self.known.load().get(source)?.looked?;
        if matches!(source, KeySource::Inline(_)) || at.elapsed() < COOLDOWN {
            return None;
        }
        // Where as many ask already, one of them is heard.
        let _ = self.asks.try_send(source.clone());
        let until = Instant::now() + patience;
        let again = |known: &Arc<Known>| {
            let entry = known.get(source)?;
            entry.looked.filter(|(now, _)| *now != count).and(entry.keys.clone())
        };
        self.known.answer(again, |keys| keys.is_none().then_some(until)).await.0
    }

    /// Every source, with what is known of it.
    pub(crate) fn shown(&self) -> Vec<serde_json::Value> {
        let show = |(source, entry): (&KeySource, &Arc<Entry>)| {
            let of = match source {
                KeySource::Inline(_) => "jwks",
                KeySource::At(url) => url,
                KeySource::Discovered(issuer) => issuer,
            };
            serde_json::json!({
                "of": of,
                "keys": entry.keys.as_ref().map(|keys| keys.count()),
                "secondsAgo": entry.looked.map(|(_, at)| at.elapsed().as_secs()),
                "message": entry.fault,
            })
        };
        self.known.load().iter().map(show).collect()
    }
}

/// Who this is: whose keys matter here.
pub(crate) struct Here {
    /// The waypoint or gateway.
    pub(crate) key: WaypointKey,
    /// The gateway's pod; none of a waypoint.
    pub(crate) pod: Option<WorkloadUid>,
    /// How often keys are fetched again.
    pub(crate) refresh: Duration,
}

/// A source of keys, as whoever fetches them knows it.
struct Record {
    entry: Arc<Entry>,
    limit: Duration,
    /// When it is looked at next; none while it is, and where it never changes.
    due: Option<Instant>,
    failures: u32,
}

/// What came of looking at a source.
type Outcome = (KeySource, Result<Keys, String>);

/// Keeps known what is asked for `here`, and publishes it. Never ends.
pub(crate) async fn follow(
    mut snapshots: Snapshots,
    here: Here,
    fetcher: Fetcher,
    (publisher, mut asks): (Publisher<Known>, Asks),
) {
    let mut records: BTreeMap<KeySource, Record> = BTreeMap::new();
    let mut looking: FuturesUnordered<LocalBoxFuture<'_, Outcome>> = FuturesUnordered::new();
    let mut is_followed = true;
    loop {
        let now = Instant::now();
        for (source, record) in records.iter_mut().filter(|(_, record)| record.due.is_some_and(|due| due <= now)) {
            record.due = None;
            let (source, limit, fetcher) = (source.clone(), record.limit, &fetcher);
            looking.push(Box::pin(async move {
                let outcome = fetcher.keys(&source, limit).await;
                (source, outcome)
            }));
        }
        let next = records.values().filter_map(|record| record.due).min();
        tokio::select! {
            changed = snapshots.changed(), if is_followed => match changed {
                Some(snapshot) => {
                    if want(&mut records, wanted(&snapshot, &here)) {
                        publisher.publish(known(&records));
                    }
                }
                None => is_followed = false,
            },
            Some((source, outcome)) = looking.next(), if !looking.is_empty() => {
                if let Some(record) = records.get_mut(&source) {
                    record.take(&source, outcome, here.refresh);
                    publisher.publish(known(&records));
                }
            }
            Some(source) = asks.recv() => {
                let record = records.get_mut(&source).filter(|record| record.due.is_some() && !record.is_fresh());
                if let Some(record) = record {
                    record.due = Some(Instant::now());
                }
            }
            () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
        }
    }
}

impl Record {
    fn is_fresh(&self) -> bool {
        self.entry.looked.is_some_and(|(_, at)| at.elapsed() < COOLDOWN)
    }

    /// Notes what is at `source` now: what cannot be used changes nothing, and is told once.
    fn take(&mut self, source: &KeySource, outcome: Result<Keys, String>, refresh: Duration) {
        let before = self.entry.fault.clone();
        let of = match source {
            KeySource::Inline(_) => "the keys of a RequestAuthentication (jwks)".to_owned(),
            KeySource::At(url) => format!("the keys at {url}"),
            KeySource::Discovered(issuer) => format!("the keys of {issuer}"),
        };
        let (keys, fault) = match outcome {
            Ok(keys) => {
                if before.is_some() {
                    info!("resolved: {of} are in force");
                }
                self.failures = 0;
                // The same keys are the same value, so that what they have verified stays so.
                let same = self.entry.keys.clone().filter(|held| **held == keys);
                (Some(same.unwrap_or_else(|| Arc::new(keys))), None)
            }
            Err(why) => {
                let until_then = match self.entry.keys {
                    Some(_) => "tokens are verified by those that were there before",
                    None => "tokens of their issuer are refused",
                };
                if before.as_deref() != Some(why.as_str()) {
                    warn!("{of} cannot be used: {why}; until then {until_then}");
                }
                self.failures = self.failures.saturating_add(1);
                (self.entry.keys.clone(), Some(Arc::from(why)))
            }
        };
        let wait = match self.failures {
            0 => refresh,
            failures => RETRY.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(RETRY.1).min(refresh),
        };
        let now = Instant::now();
        self.due = (!matches!(source, KeySource::Inline(_))).then(|| now + wait);
        let count = self.entry.looked.map_or(1, |(count, _)| count.wrapping_add(1));
        self.entry = Arc::new(Entry { keys, fault, looked: Some((count, now)) });
    }
}

/// Has `records` be of what is `wanted`, each with how long fetching it may take. True if that is a change.
fn want(records: &mut BTreeMap<KeySource, Record>, wanted: BTreeMap<KeySource, Duration>) -> bool {
    let before = records.len();
    records.retain(|source, _| wanted.contains_key(source));
    let mut changed = records.len() < before;
    for (source, limit) in wanted {
        changed |= !records.contains_key(&source);
        let record = records.entry(source).or_insert_with(|| Record {
            entry: Arc::new(Entry { keys: None, fault: None, looked: None }),
            limit,
            due: Some(Instant::now()),
            failures: 0,
        });
        record.limit = limit;
    }
    changed
}

fn known(records: &BTreeMap<KeySource, Record>) -> Known {
    records.iter().map(|(source, record)| (source.clone(), record.entry.clone())).collect()
}

/// Whose keys matter `here`, with how long fetching them may take: of what tokens are taken of requests that may come.
fn wanted(snapshot: &Snapshot, here: &Here) -> BTreeMap<KeySource, Duration> {
    let mut wanted: BTreeMap<KeySource, Duration> = BTreeMap::new();
    let mut want = |rule: &policy::TokenRule| {
        let limit = wanted.entry(rule.keys.clone()).or_default();
        // Meanwhile nobody else's is fetched from there.
        *limit = rule.timeout.min(LONGEST).max(*limit);
    };
    match &here.pod {
        Some(pod) => {
            let policed = snapshot.workload(pod).map(|pod| Addressed::of_gateway(pod.clone()));
            let rules = policed.into_iter().flat_map(|policed| snapshot.policies.tokens(&policed));
            rules.for_each(|rule| want(rule));
        }
        None => {
            let all = snapshot.policies.authentications();
            let here = all.filter(|policy| match &policy.scope {
                policy::Scope::Targets(targets) => targets.iter().any(|target| is_here(snapshot, &here.key, target)),
                _ => false,
            });
            here.flat_map(|policy| &policy.rules).for_each(|rule| want(rule));
        }
    }
    wanted
}

/// True if requests for `target` come to the waypoint `key`.
fn is_here(snapshot: &Snapshot, key: &WaypointKey, target: &TargetRef) -> bool {
    match target.kind {
        TargetKind::GatewayClass => WAYPOINT_CLASSES.contains(&&*target.name),
        TargetKind::Gateway => (&*target.namespace, &*target.name) == (&*key.namespace, &*key.name),
        TargetKind::Service => {
            let service = snapshot.service(&ServiceKey::new(&target.namespace, &target.name));
            service.is_some_and(|service| waypoint::serves(snapshot, key, service))
        }
        TargetKind::ServiceEntry => {
            let mut hosts = snapshot.services().filter(|service| TargetRef::from(&service.key) == *target);
            hosts.any(|service| waypoint::serves(snapshot, key, service))
        }
    }
}
