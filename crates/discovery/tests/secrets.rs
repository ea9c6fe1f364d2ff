//! Secrets of a directory as who shows certificates sees them: those of his namespace, soon, and nothing of them elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ambit_discovery::secrets::{self, Secrets};
use ambit_discovery::{Origin, Published, Settings, publish, run};
use ambit_model::Snapshot;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// More than anything takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

struct Follower {
    root: TempDir,
    secrets: Published<Secrets>,
    task: JoinHandle<()>,
}

impl Follower {
    async fn start(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("config")).unwrap();
        let (publisher, mut secrets) = publish(Secrets::default());
        let directory = root.path().join("config");
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        let origin = Origin::Directory(directory);
        let task = tokio::task::spawn_local(secrets::follow(origin, "edge".to_owned(), publisher));
        timeout(PATIENCE, secrets.changed()).await.expect("nothing was published").unwrap();
        Self { root, secrets, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("config").join(name)
    }

    /// Replaces a file as careful programs do.
    fn write(&self, name: &str, text: &str) {
        let staged = self.path(".staged");
        fs::write(&staged, text).unwrap();
        fs::rename(staged, self.path(name)).unwrap();
    }

    /// The certificate of `name` now.
    fn certificate(&self, name: &str) -> Option<String> {
        let secrets = self.secrets.load();
        let found = secrets.get(name)?.credential().ok()?;
        Some(String::from_utf8_lossy(found.certificate).into_owned())
    }

    /// Waits until the certificate of `name` is this.
    async fn until(&mut self, name: &str, certificate: Option<&str>) {
        let reached = async {
            while self.certificate(name).as_deref() != certificate {
                self.secrets.changed().await.unwrap();
            }
        };
        let reached = timeout(PATIENCE, reached).await;
        reached.unwrap_or_else(|_| panic!("{name} is never {certificate:?}, but {:?}", self.certificate(name)));
    }
}

fn secret(name: &str, certificate: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: edge}}\nstringData: {{cert: \
         {certificate}, key: k}}\n"
    )
}

async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn secrets_of_the_namespace_are_followed_wherever_they_are_written() {
    local(async {
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "listed", "namespace": "edge"},
             "type": "kubernetes.io/tls", "data": {"tls.crt": "bGlzdGVk", "tls.key": "aw=="}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "edge"},
             "type": "kubernetes.io/service-account-token", "data": {"tls.crt": "bGlzdGVk", "tls.key": "aw=="}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "elsewhere"},
             "data": {"tls.crt": "bGlzdGVk", "tls.key": "aw=="}}]}"#;
        let web = secret("web", "one") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: edge}\n";
        let mut follower = Follower::start(&[("web.yaml", &web), ("list.json", list)]).await;
        follower.until("web", Some("one")).await;
        follower.until("listed", Some("listed")).await;
        assert!(follower.certificate("token").is_none() && follower.certificate("elsewhere").is_none());
        follower.write("web.yaml", &secret("web", "two"));
        follower.until("web", Some("two")).await;
        follower.write("other.yaml", &secret("other", "three"));
        follower.until("other", Some("three")).await;
        fs::remove_file(follower.path("web.yaml")).unwrap();
        follower.until("web", None).await;
        follower.task.abort();
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_leaves_what_there_was() {
    local(async {
        let mut follower = Follower::start(&[("web.yaml", &secret("web", "one"))]).await;
        let damaged = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: web, namespace: edge}\ndata: {cert: '!'}\n";
        follower.write("web.yaml", &(damaged.to_owned() + &secret("other", "two")));
        follower.until("other", Some("two")).await;
        assert_eq!(follower.certificate("web").as_deref(), Some("one"));
        follower.write("web.yaml", &("kind: Secret\n  broken: [\n".to_owned() + &secret("third", "three")));
        follower.until("third", Some("three")).await;
        assert_eq!(follower.certificate("web").as_deref(), Some("one"));
        assert_eq!(follower.certificate("other").as_deref(), Some("two"));
        let (here, away) = (follower.root.path().join("config"), follower.root.path().join("away"));
        fs::rename(&here, &away).unwrap();
        let mut secrets = follower.secrets.clone();
        let told = async { while secrets.load().trouble().is_none() && secrets.changed().await.is_some() {} };
        timeout(PATIENCE, told).await.expect("the directory is missed");
        assert_eq!(follower.certificate("web").as_deref(), Some("one"));
        fs::rename(&away, &here).unwrap();
        follower.write("web.yaml", &secret("web", "four"));
        follower.until("web", Some("four")).await;
        assert!(follower.secrets.load().trouble().is_none());
        follower.task.abort();
    })
    .await;
}

#[tokio::test]
async fn who_reads_the_rest_of_the_configuration_sees_nothing_of_them() {
    local(async {
        let root = tempfile::tempdir().unwrap();
        let broken =
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: web, namespace: edge}\ndata: {key: hunter2!}\n";
        fs::write(root.path().join("web.yaml"), secret("web", "hunter2") + broken).unwrap();
        let (publisher, mut snapshots) = publish(Snapshot::default());
        let (reporter, mut reports) = publish(Vec::new());
        let settings = Settings::new(root.path().to_path_buf());
        let task = tokio::task::spawn_local(run(settings, publisher, reporter, std::future::pending()));
        timeout(PATIENCE, snapshots.changed()).await.unwrap().unwrap();
        timeout(PATIENCE, reports.changed()).await.unwrap().unwrap();
        let said = format!("{:?}", reports.load());
        assert!(!said.contains("hunter2"), "{said}");
        task.abort();
    })
    .await;
}
