//! The directory as a running agent sees it: what changes there is published, soon and whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use ambit_api::Severity;
use ambit_discovery::{Error, Reports, Settings, Snapshots, publish, run};
use ambit_model::{ServiceKey, Snapshot};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// More than anything takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

struct Agent {
    root: TempDir,
    snapshots: Snapshots,
    reports: Reports,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Agent {
    /// An agent that has read a directory with these files.
    async fn start(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("config");
        fs::create_dir(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        let (publisher, mut snapshots) = publish(Snapshot::default());
        let (reporter, mut reports) = publish(Vec::new());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            drop(stopped.await);
        };
        let task = tokio::task::spawn_local(run(Settings::new(directory), publisher, reporter, shutdown));
        snapshots.changed().await.unwrap();
        reports.changed().await.unwrap();
        Self { root, snapshots, reports, stop, task }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join("config").join(name)
    }

    /// Replaces a file as careful programs do.
    fn write(&self, name: &str, text: &str) {
        let staged = self.path(".staged");
        fs::write(&staged, text).unwrap();
        fs::rename(staged, self.path(name)).unwrap();
    }

    /// The pods' addresses, once something else has been published.
    async fn next(&mut self) -> Vec<String> {
        timeout(PATIENCE, self.snapshots.changed()).await.expect("nothing was published").unwrap();
        self.now()
    }

    fn now(&self) -> Vec<String> {
        let shown = |pod: &std::sync::Arc<ambit_model::Workload>| format!("{} {}", pod.name, pod.addresses[0]);
        self.snapshots.load().workloads().map(shown).collect()
    }

    /// The reports, once they have changed, as file, line and field.
    async fn next_reports(&mut self) -> Vec<(String, u32, String)> {
        let reports = timeout(PATIENCE, self.reports.changed()).await.expect("nothing was reported").unwrap();
        assert!(reports.iter().all(|report| report.severity == Severity::Error), "{reports:?}");
        reports.iter().map(|r| (r.file.display().to_string(), r.line, r.field.clone())).collect()
    }

    /// Puts a version of a ConfigMap in place of the one before, as the kubelet does.
    fn mount(&self, version: &str, files: &[(String, String)]) {
        fs::create_dir(self.path(version)).unwrap();
        for (name, text) in files {
            fs::write(self.path(version).join(name), text).unwrap();
        }
        symlink(version, self.path("..new")).unwrap();
        fs::rename(self.path("..new"), self.path("..data")).unwrap();
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn pod(name: &str, ip: &str) -> String {
    let metadata = format!("metadata:\n  name: {name}\n  labels:\n    app: web\n");
    format!("---\napiVersion: v1\nkind: Pod\n{metadata}status:\n  podIP: {ip}\n")
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, \
                       selector: {app: web}, ports: [{port: 80}]}\n";

async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn changes_are_published_within_a_second() {
    local(async {
        let mut agent = Agent::start(&[("a.yaml", &pod("a", "10.0.0.1"))]).await;
        assert_eq!(agent.now(), ["a 10.0.0.1"]);
        // The best of five, since the machine may be busy: looking without being told would take longer every time.
        let mut best = Duration::MAX;
        for change in 1..=5 {
            let written = Instant::now();
            agent.write("b.yaml", &pod("b", &format!("10.0.0.{}", change + 1)));
            assert_eq!(agent.next().await, ["a 10.0.0.1".to_owned(), format!("b 10.0.0.{}", change + 1)]);
            best = best.min(written.elapsed());
        }
        assert!(best < Duration::from_secs(1), "{best:?}");
        // In place, too, and in a folder that was not there.
        fs::write(agent.path("b.yaml"), pod("b", "10.0.0.7")).unwrap();
        assert_eq!(agent.next().await, ["a 10.0.0.1", "b 10.0.0.7"]);
        fs::create_dir(agent.path("sub")).unwrap();
        fs::write(agent.path("sub/c.yml"), pod("c", "10.0.0.4")).unwrap();
        assert_eq!(agent.next().await, ["a 10.0.0.1", "b 10.0.0.7", "c 10.0.0.4"]);
        fs::remove_dir_all(agent.path("sub")).unwrap();
        fs::remove_file(agent.path("b.yaml")).unwrap();
        assert_eq!(agent.next().await, ["a 10.0.0.1"]);
        agent.stop().await;
    })
    .await;
}

#[tokio::test]
async fn changes_seen_together_are_one_snapshot() {
    local(async {
        let mut agent = Agent::start(&[("service.yaml", SERVICE)]).await;
        let names: Vec<String> = (1..=50).map(|number| format!("p{number}.yaml")).collect();
        let files = |network: &str| -> Vec<(String, String)> {
            let text = |(number, name): (usize, &String)| {
                (name.clone(), pod(&format!("p{number}"), &format!("{network}.{}", number + 1)))
            };
            names.iter().enumerate().map(text).collect()
        };
        for name in &names {
            symlink(format!("..data/{name}"), agent.path(name)).unwrap();
        }
        for (version, network) in [("..1", "10.0.1"), ("..2", "10.0.2"), ("..3", "10.0.3")] {
            agent.mount(version, &files(network));
            // All pods move at once: whoever looks at the service sees all of them here or all of them there.
            agent.next().await;
            let snapshot = agent.snapshots.load();
            let targets = &snapshot.service(&ServiceKey::new("default", "web")).unwrap().ports[0].targets;
            assert_eq!(targets.len(), 50);
            assert!(targets.iter().all(|target| target.address.to_string().starts_with(network)), "{targets:?}");
        }
        agent.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_mistake_is_reported_and_leaves_the_last_good_state() {
    local(async {
        let good = pod("a", "10.0.0.1") + &pod("b", "10.0.0.2");
        let mut agent = Agent::start(&[("f.yaml", &good)]).await;
        agent.write("f.yaml", &(pod("a", "10.0.0.300") + &pod("b", "10.0.0.3")));
        assert_eq!(agent.next().await, ["a 10.0.0.1", "b 10.0.0.3"]);
        assert_eq!(agent.next_reports().await, [("f.yaml".to_owned(), 9, "status.podIP".to_owned())]);
        // Half of it is written.
        agent.write("f.yaml", &(pod("a", "10.0.0.4") + "---\napiVersion: v1\nkind: Pod\nmetadata: {name"));
        assert_eq!(agent.next().await, ["a 10.0.0.4", "b 10.0.0.3"]);
        assert_eq!(agent.next_reports().await.len(), 1);
        agent.write("f.yaml", &pod("a", "10.0.0.4"));
        assert_eq!(agent.next().await, ["a 10.0.0.4"]);
        assert_eq!(agent.next_reports().await, []);
        agent.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_vanishes_stays_in_force_until_another_takes_its_place() {
    local(async {
        let mut agent = Agent::start(&[("a.yaml", &pod("a", "10.0.0.1"))]).await;
        let directory = agent.path("");
        fs::rename(&directory, agent.root.path().join("away")).unwrap();
        assert_eq!(agent.next_reports().await, [(String::new(), 0, String::new())]);
        assert_eq!(agent.now(), ["a 10.0.0.1"]);
        let staged = agent.root.path().join("staged");
        fs::create_dir(&staged).unwrap();
        fs::write(staged.join("b.yaml"), pod("b", "10.0.0.2")).unwrap();
        fs::rename(&staged, &directory).unwrap();
        assert_eq!(agent.next().await, ["b 10.0.0.2"]);
        assert_eq!(agent.next_reports().await, []);
        // The new directory is watched as the old one was.
        agent.write("c.yaml", &pod("c", "10.0.0.3"));
        assert_eq!(agent.next().await, ["b 10.0.0.2", "c 10.0.0.3"]);
        agent.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_at_start_is_an_error() {
    let (publisher, snapshots) = publish(Snapshot::default());
    let (reporter, _) = publish(Vec::new());
    let settings = Settings::new(Path::new("/nonexistent/ambit").to_path_buf());
    let error = run(settings, publisher, reporter, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::Directory { .. }), "{error}");
    assert!(!snapshots.is_synced());
}
