//! Follows the Secrets of one namespace, by kube's watcher, for ever: lists them, watches them, and after a failure waits and
//! goes on from where it was. What the API is asked for leaves out the types that never hold certificates and are large.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::time::sleep;

use super::failure::Failure;
use super::raw::Raw;
use super::retry::{Retry, spread};
use super::{access, resource, served};
use crate::error::Error;
use crate::origin::{Cluster, Pace};
use crate::secrets::{Secret, Shelf, Trouble};
use crate::yaml::json;

/// Types of which there may be many, each of up to 1 MiB.
const LEFT_OUT: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
                        type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/dockercfg";

/// Follows the Secrets of the shelf's namespace in `cluster`.
///
/// # Errors
/// Where it is not said, or not well, how it is reached.
pub(crate) async fn follow(cluster: &Cluster, shelf: &mut Shelf) -> Result<(), Error> {
    let client = access::client(cluster).await?;
    let (secrets, pace) = (resource("v1", "Secret", "secrets"), cluster.pace);
    let mut follower = Follower { client, secrets, pace, retry: Retry::new(pace), failures: 0, shelf };
    loop {
        let wait = follower.watch().await;
        sleep(wait).await;
    }
}

struct Follower<'a> {
    client: Client,
    secrets: ApiResource,
    pace: Pace,
    retry: Retry,
    /// Since it last went well.
    failures: u32,
    shelf: &'a mut Shelf,
}

impl Follower<'_> {
    /// Follows them until their place is lost, and returns how long to wait before it is begun anew.
    async fn watch(&mut self) -> Duration {
        let api: Api<Raw> = Api::namespaced_with(self.client.clone(), &self.shelf.namespace, &self.secrets);
        let mut events = pin!(watcher(api, watcher::Config::default().fields(LEFT_OUT)));
        let mut listed = BTreeMap::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                // A watch that begins again says nothing until something changes.
                () = sleep(self.pace.mended), if self.failures > 0 => {
                    if served::answers(&self.client, &self.secrets).await {
                        self.succeeded();
                        self.shelf.mends();
                    }
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => self.take(event, &mut listed),
                Some(Err(error)) => {
                    let failure = Failure::from(&error);
                    tracing::debug!("Secrets are not followed: {failure:?}");
                    let wait = self.failed(&failure);
                    if matches!(failure, Failure::Expired | Failure::Unserved | Failure::Garbled(_)) {
                        return wait;
                    }
                    sleep(wait).await;
                }
                None => return self.retry.failed(),
            }
        }
    }

    fn take(&mut self, event: Event<Raw>, listed: &mut BTreeMap<Arc<str>, Arc<Secret>>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(raw) => {
                let name = Arc::from(raw.name().1);
                listed.extend(read(&raw).map(|secret| (name, Arc::new(secret))));
            }
            Event::InitDone => {
                self.succeeded();
                self.shelf.hold_all(std::mem::take(listed));
            }
            Event::Apply(raw) => {
                self.succeeded();
                self.shelf.hold(raw.name().1, read(&raw));
            }
            Event::Delete(raw) => {
                self.succeeded();
                self.shelf.hold(raw.name().1, None);
            }
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.retry.succeeded();
    }

    /// Tells of `failure`, and returns how long to wait after it.
    fn failed(&mut self, failure: &Failure) -> Duration {
        let namespace = &self.shelf.namespace;
        self.failures = self.failures.saturating_add(1);
        let why: &str = match failure {
            Failure::Denied(why) => {
                let denied = format!(
                    "no right to list and watch Secrets of namespace {namespace}: {why}; what was known of them stays in \
                     force. Let the gateway's service account get, list and watch them there, by a Role and its binding"
                );
                self.shelf.fails(&Trouble::Lasting(denied));
                return spread(self.pace.absent);
            }
            Failure::Expired => return spread(self.pace.relist),
            Failure::Unserved => "404, they are not served where they should be",
            Failure::Garbled(_) => "what it says is not understood",
            Failure::Away(why) => why,
        };
        // A watch that is cut and at once taken up again is nothing to speak of.
        if self.failures > 1 {
            let away = format!(
                "the Kubernetes API does not answer as it should for Secrets of namespace {namespace}: {why}; what it said \
                 last stays in force"
            );
            self.shelf.fails(&Trouble::Passing(away));
        }
        self.retry.failed()
    }
}

/// What is kept of a Secret. The API holds none that cannot be read.
fn read(raw: &Raw) -> Option<Secret> {
    Secret::read(&json(raw.text()).ok()?).ok()?
}
