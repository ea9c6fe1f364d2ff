//! Follows one kind for ever, by kube's watcher: finds where it is served, lists it page by page, watches it by
//! bookmarks, and after a failure waits and goes on from where it was. Decodes nothing and keeps nothing.

use std::pin::pin;
use std::time::Duration;

use ambit_api::Kind;
use futures_util::StreamExt;
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::failure::Failure;
use super::raw::Raw;
use super::retry::{Retry, spread};
use super::served;
use crate::origin::Pace;

/// What is told of a kind.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) news: News,
}

/// What there is to tell.
#[derive(Debug)]
pub(super) enum News {
    /// All objects are going to be listed.
    Listing,
    /// One of them.
    Listed(Raw),
    /// Those were all.
    Complete,
    /// An object is now this.
    Applied(Raw),
    /// An object is gone that was last this.
    Deleted(Raw),
    /// Following it fails, for now.
    Failed(Failure),
    /// It is followed again, though nothing has changed.
    Mended,
    /// The API does not serve it.
    Unserved,
}

/// Nobody listens any more.
struct Deaf;

/// Tells all that there is of `kind`, and all that changes, until nobody listens.
pub(super) async fn follow(kind: Kind, client: Client, pace: Pace, told: mpsc::Sender<Told>) {
    let mut follower = Follower { kind, client, pace, told, retry: Retry::new(pace) };
    while let Ok(wait) = follower.round().await {
        sleep(wait).await;
    }
}

struct Follower {
    kind: Kind,
    client: Client,
    pace: Pace,
    told: mpsc::Sender<Told>,
    retry: Retry,
}

impl Follower {
    /// Follows the kind until it has to be begun anew, and returns how long to wait before.
    async fn round(&mut self) -> Result<Duration, Deaf> {
        match served::find(&self.client, self.kind.versions(), self.kind.as_str()).await {
            Ok(Some(resource)) => self.watch(&resource).await,
            Ok(None) => {
                self.tell(News::Unserved).await?;
                Ok(spread(self.pace.absent))
            }
            Err(error) => {
                let failure = Failure::from(&error);
                let wait = self.wait(&failure);
                self.tell(News::Failed(failure)).await?;
                Ok(wait)
            }
        }
    }

    /// Follows the kind where it is served. Returns when its place is lost.
    async fn watch(&mut self, resource: &ApiResource) -> Result<Duration, Deaf> {
        let api: Api<Raw> = Api::all_with(self.client.clone(), resource);
        // Pages of 500, bookmarks, and an end every five minutes, of which nobody hears.
        let mut events = pin!(watcher(api, watcher::Config::default()));
        let mut failed = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                // A watch that begins again says nothing until something changes.
                () = sleep(self.pace.mended), if failed => {
                    if served::answers(&self.client, resource).await {
                        failed = false;
                        self.retry.succeeded();
                        self.tell(News::Mended).await?;
                    }
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => {
                    let news = news(event);
                    // A list may still fail in its midst.
                    if !matches!(news, News::Listing | News::Listed(_)) {
                        failed = false;
                        self.retry.succeeded();
                    }
                    self.tell(news).await?;
                }
                Some(Err(error)) => {
                    let failure = Failure::from(&error);
                    tracing::debug!("{} is not followed: {failure:?}", self.kind);
                    let wait = self.wait(&failure);
                    let lost = matches!(failure, Failure::Expired | Failure::Unserved | Failure::Garbled(_));
                    self.tell(News::Failed(failure)).await?;
                    if lost {
                        return Ok(wait);
                    }
                    failed = true;
                    sleep(wait).await;
                }
                None => return Ok(self.retry.failed()),
            }
        }
    }

    /// How long to wait after `failure`.
    fn wait(&mut self, failure: &Failure) -> Duration {
        match failure {
            Failure::Denied(_) => spread(self.pace.absent),
            Failure::Expired => spread(self.pace.relist),
            Failure::Unserved | Failure::Garbled(_) | Failure::Away(_) => self.retry.failed(),
        }
    }

    async fn tell(&self, news: News) -> Result<(), Deaf> {
        self.told.send(Told { kind: self.kind, news }).await.map_err(|_| Deaf)
    }
}

fn news(event: Event<Raw>) -> News {
    match event {
        Event::Init => News::Listing,
        Event::InitApply(raw) => News::Listed(raw),
        Event::InitDone => News::Complete,
        Event::Apply(raw) => News::Applied(raw),
        Event::Delete(raw) => News::Deleted(raw),
    }
}
