//! An agent that follows the API: what it publishes and reports, awaited.

use std::fmt::Write as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_discovery::{Cluster, Error, Origin, Pace, Report, Reports, Settings, Snapshots, Standing, publish, run};
use ambit_model::Snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::api::Api;

/// More than anything takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Quick enough for a test to wait for.
pub(crate) const PACE: Pace = Pace {
    first_retry: Duration::from_millis(10),
    longest_retry: Duration::from_millis(50),
    relist: Duration::from_millis(10),
    absent: Duration::from_millis(50),
    forget: Duration::from_millis(500),
    silence: Duration::from_secs(2),
    mended: Duration::from_millis(100),
    patience: Duration::from_secs(3600),
    keep: Duration::from_millis(20),
};

/// An agent.
pub(crate) struct Agent {
    pub(crate) snapshots: Snapshots,
    pub(crate) reports: Reports,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
    _kubeconfig: TempDir,
}

/// A kubeconfig for `cluster` (its `server` and the like) and `user`, in a directory of its own.
pub(crate) fn kubeconfig(cluster: Value, user: Value) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("config");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    std::fs::write(&path, text.to_string()).unwrap();
    (root, path)
}

impl Agent {
    /// An agent that begins to follow `api`.
    pub(crate) fn begin(api: &Api, pace: Pace, cache: Option<&Path>) -> Self {
        Self::with(json!({"server": api.url()}), json!({}), pace, cache)
    }

    /// An agent that begins to follow what the kubeconfig of these says.
    pub(crate) fn with(cluster: Value, user: Value, pace: Pace, cache: Option<&Path>) -> Self {
        let (kubeconfig, path) = kubeconfig(cluster, user);
        let origin = Cluster { kubeconfig: vec![path], cache: cache.map(Path::to_path_buf), pace };
        let (publisher, snapshots) = publish(Snapshot::default());
        let (reporter, reports) = publish(Vec::new());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            drop(stopped.await);
        };
        let task = tokio::spawn(run(Settings::new(Origin::Cluster(origin)), publisher, reporter, shutdown));
        Self { snapshots, reports, stop, task, _kubeconfig: kubeconfig }
    }

    /// An agent that has published what `api` says.
    pub(crate) async fn start(api: &Api) -> Self {
        let mut agent = Self::begin(api, PACE, None);
        agent.next().await;
        agent
    }

    /// What is published next.
    pub(crate) async fn next(&mut self) -> String {
        soon("nothing was published", self.snapshots.changed()).await.unwrap();
        self.now()
    }

    /// What is published now.
    pub(crate) fn now(&self) -> String {
        dump(&self.snapshots.load())
    }

    /// Waits until what is published is as it should be.
    pub(crate) async fn until(&mut self, what: &str, right: impl Fn(&Snapshot) -> bool) {
        let snapshots = &mut self.snapshots;
        let reached = async {
            while !right(&snapshots.load()) {
                snapshots.changed().await.unwrap();
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            panic!("never seen: {what}\n{}", self.now());
        }
    }

    /// Waits until what is reported is as it should be.
    pub(crate) async fn until_reported(&mut self, what: &str, right: impl Fn(&[Report]) -> bool) {
        let reports = &mut self.reports;
        let reached = async {
            while !(reports.is_synced() && right(&reports.load())) {
                reports.changed().await.unwrap();
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            panic!("never reported: {what}\n{:#?}", self.reports.load());
        }
    }

    /// The messages reported now.
    pub(crate) fn reported(&self) -> Vec<String> {
        self.reports.load().iter().map(ToString::to_string).collect()
    }

    /// How what is in force stands to what the API says.
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(self.snapshots.is_synced(), &self.reports.load())
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        soon("it does not stop", self.task).await.unwrap().unwrap();
    }
}

/// What `future` becomes, and that in time.
pub(crate) async fn soon<T>(otherwise: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{otherwise}"))
}

/// Everything that `snapshot` says, in an order of its own.
pub(crate) fn dump(snapshot: &Snapshot) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut all = |shown: Vec<String>| lines.extend(shown);
    all(snapshot.workloads().map(|workload| format!("{workload:?}")).collect());
    all(snapshot.services().map(|service| format!("{service:?}")).collect());
    all(snapshot.waypoints().map(|waypoint| format!("{waypoint:?}")).collect());
    all(snapshot.nodes().map(|node| format!("{node:?}")).collect());
    all(snapshot.policies.peers().map(|policy| format!("{policy:?}")).collect());
    all(snapshot.policies.authorizations().map(|policy| format!("{policy:?}")).collect());
    all(snapshot.routes.virtual_services().map(|service| format!("{service:?}")).collect());
    all(snapshot.destinations.rules().map(|rule| format!("{rule:?}")).collect());
    lines.sort_unstable();
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    text
}
