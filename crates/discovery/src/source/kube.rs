//! A cluster's API as a source: each kind is followed by a task of its own, and what they tell within a moment is taken
//! in together, on a thread where nothing waits for it.
//!
//! Read `follow` for the life of a watch, `mirror` for what becomes of what it tells.

mod access;
mod cache;
mod failure;
mod follow;
mod inventory;
mod mirror;
mod paced;
mod raw;
mod retry;
pub(crate) mod secrets;
mod served;
mod status;

use std::time::Instant;

use ambit_api::Kind;
use ambit_model::Mesh;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use super::{BURST, Change, QUIET, Source, aside};
use crate::error::Error;
use crate::event::Event;
use crate::index::Finding;
use crate::origin::Cluster;
use crate::report::Report;
use follow::{Told, follow};
use mirror::Mirror;

pub use served::find as find_resource;

/// How many objects wait at most to be taken in, and are taken in at once: a page of a list.
const BATCH: usize = 500;

/// A kind that is known with its version: its `apiVersion`, the kind, and its name in paths. Nothing is asked.
#[must_use]
pub fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The client for `cluster`, for who writes there as well. Nothing is asked yet.
///
/// # Errors
/// Where it is not said, or not well, how it is reached.
pub async fn client(cluster: &Cluster) -> Result<Client, Error> {
    access::client(cluster).await
}

/// Where `kind` is served, in the newest version that is read; none if it is not.
///
/// # Errors
/// The API does not say.
pub async fn resource_of(client: &Client, kind: Kind) -> kube::Result<Option<ApiResource>> {
    served::find(client, kind.versions(), kind.as_str()).await
}

/// A cluster of which everything is followed that concerns the mesh.
#[derive(Debug)]
pub(crate) struct Kube {
    told: mpsc::Receiver<Told>,
    /// The followers; they end with this.
    tasks: JoinSet<()>,
    /// None while something is taken in.
    mirror: Option<Mirror>,
    /// What was kept of the cluster before this process began, until it is told.
    restored: Option<Vec<Event>>,
}

impl Kube {
    /// Begins to follow `cluster`.
    ///
    /// # Errors
    /// Where it is not said, or not well, how it is reached.
    pub(crate) async fn open(cluster: Cluster, mesh: Mesh) -> Result<Self, Error> {
        let client = access::client(&cluster).await?;
        let (sender, told) = mpsc::channel(BATCH);
        let mut tasks = JoinSet::new();
        for kind in served::watched() {
            tasks.spawn(follow(kind, client.clone(), cluster.pace, sender.clone()));
        }
        let ((), (mirror, restored)) = aside((), move |()| Mirror::open(&cluster, mesh, Instant::now())).await?;
        Ok(Self { told, tasks, mirror: Some(mirror), restored: Some(restored) })
    }

    /// What is told next: nothing if it is time to look again all the same.
    async fn batch(&mut self, until: Option<Instant>) -> Result<Vec<Told>, Error> {
        let mut batch = Vec::new();
        let deadline = async {
            match until {
                Some(until) => sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.told.recv_many(&mut batch, BATCH) => {}
            // Followers end with us alone: this one panicked.
            _ = self.tasks.join_next() => return Err(Error::Panicked),
            () = deadline => {}
        }
        Ok(batch)
    }

    async fn take(&mut self, batch: Vec<Told>) -> Result<Vec<Event>, Error> {
        let Some(mirror) = self.mirror.take() else { return Err(Error::Panicked) };
        let (mirror, events) = aside(mirror, move |mirror| mirror.take(batch, Instant::now())).await?;
        self.mirror = Some(mirror);
        Ok(events)
    }

    fn is_complete(&self) -> bool {
        self.mirror.as_ref().is_some_and(|mirror| mirror.is_complete(Instant::now()))
    }
}

impl Source for Kube {
    async fn next(&mut self) -> Result<Change, Error> {
        if let Some(events) = self.restored.take() {
            return Ok(Change { events, complete: false });
        }
        let deadline = self.mirror.as_ref().and_then(|mirror| mirror.deadline(Instant::now()));
        let mut batch = self.batch(deadline).await?;
        let end = Instant::now() + BURST;
        let mut events = Vec::new();
        loop {
            events.extend(self.take(std::mem::take(&mut batch)).await?);
            let now = Instant::now();
            if now >= end {
                break;
            }
            let quiet = (now + QUIET).min(end);
            match timeout_at(quiet.into(), self.told.recv_many(&mut batch, BATCH)).await {
                Ok(more) if more > 0 => {}
                _ => break,
            }
        }
        Ok(Change { events, complete: self.is_complete() })
    }

    fn reports(&self, findings: &[Finding]) -> Vec<Report> {
        self.mirror.as_ref().map(|mirror| mirror.reports(findings, Instant::now())).unwrap_or_default()
    }
}
