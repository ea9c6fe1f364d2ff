//! Objects of a kind as the API says they are, kept up to date; whoever acts on them is woken when they change. Knows nothing
//! of what they mean.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

/// How long it is said nothing of failures that follow one another.
const QUIET: Duration = Duration::from_secs(60);

/// The objects, until this is dropped.
pub(crate) struct Followed {
    store: Store<DynamicObject>,
    kind: ApiResource,
    task: AbortHandle,
}

impl Followed {
    /// Follows those of `api`, of the kind `resource`, that `which` chooses; `wake` is notified of every change.
    pub(crate) fn new(
        api: Api<DynamicObject>,
        resource: &ApiResource,
        which: watcher::Config,
        wake: &Arc<Notify>,
    ) -> Self {
        Self::trimmed(api, resource, which, wake, |_| {})
    }

    /// The same without what `trim` takes away of each.
    pub(crate) fn trimmed(
        api: Api<DynamicObject>,
        resource: &ApiResource,
        which: watcher::Config,
        wake: &Arc<Notify>,
        trim: fn(&mut DynamicObject),
    ) -> Self {
        let writer = Writer::new(resource.clone());
        let store = writer.as_reader();
        let (kind, wake) = (resource.kind.clone(), wake.clone());
        let mut told = watcher(api, which)
            .default_backoff()
            .modify(move |object| {
                object.metadata.managed_fields = None;
                trim(object);
            })
            .reflect(writer)
            .boxed();
        let task = tokio::task::spawn_local(async move {
            let mut said: Option<tokio::time::Instant> = None;
            while let Some(event) = told.next().await {
                match event {
                    // The objects of a list are seen when it is complete.
                    Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                    Ok(_) => wake.notify_one(),
                    Err(error) if said.is_none_or(|at| at.elapsed() > QUIET) => {
                        said = Some(tokio::time::Instant::now());
                        warn!("{kind} cannot be followed, and is as it was: {error}");
                    }
                    Err(error) => debug!("{kind} cannot be followed: {error}"),
                }
            }
        });
        Self { store, kind: resource.clone(), task: task.abort_handle() }
    }

    /// Waits until all of them are known.
    pub(crate) async fn known(&self) {
        // The writer ends with this alone.
        let _ = self.store.wait_until_ready().await;
    }

    /// The one of this namespace and name.
    pub(crate) fn one(&self, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.store.get(&ObjectRef::new_with(name, self.kind.clone()).within(namespace))
    }

    /// All of them, in no order.
    pub(crate) fn each(&self) -> Vec<Arc<DynamicObject>> {
        self.store.state()
    }

    /// All of them, by namespace and name.
    pub(crate) fn all(&self) -> Vec<Arc<DynamicObject>> {
        let mut all = self.store.state();
        all.sort_by_key(|object| (object.namespace(), object.name_any()));
        all
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
