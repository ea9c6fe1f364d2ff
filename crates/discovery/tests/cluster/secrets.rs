//! Secrets of a cluster as who shows certificates sees them: those of one namespace, whatever goes wrong.

use std::sync::Arc;

use ambit_discovery::secrets::{self, Secret, Secrets};
use ambit_discovery::{Cluster, Origin, Published, publish};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::agent::{PACE, kubeconfig, soon};
use crate::api::{Api, Fault, State};

/// Where the Secrets of the namespace are.
const SECRETS: &str = "v1/namespaces/edge/secrets";

struct Follower {
    secrets: Published<Secrets>,
    task: JoinHandle<()>,
    _kubeconfig: TempDir,
}

impl Follower {
    fn begin(api: &Api) -> Self {
        let (root, path) = kubeconfig(json!({"server": api.url()}), json!({}));
        let origin = Origin::Cluster(Cluster { kubeconfig: vec![path], cache: None, pace: PACE });
        let (publisher, secrets) = publish(Secrets::default());
        let task = tokio::spawn(secrets::follow(origin, "edge".to_owned(), publisher));
        Self { secrets, task, _kubeconfig: root }
    }

    /// Waits until they are as they should be.
    async fn until(&mut self, what: &str, right: impl Fn(&Secrets) -> bool) {
        let secrets = &mut self.secrets;
        let reached = async {
            while !(secrets.is_synced() && right(&secrets.load())) {
                secrets.changed().await.unwrap();
            }
        };
        soon(what, reached).await;
    }

    fn one(&self, name: &str) -> Option<Arc<Secret>> {
        self.secrets.load().get(name).cloned()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn secret(name: &str, kind: Option<&str>, certificate: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "edge"}, "type": kind,
        "data": {"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode("k"), "other": "bw=="}})
}

fn shows(secrets: &Secrets, name: &str, certificate: &str) -> bool {
    secrets.get(name).is_some_and(|secret| secret.credential().unwrap().certificate == certificate.as_bytes())
}

async fn api() -> Api {
    let api = Api::start().await;
    api.with(|state| state.serve(SECRETS, Some("Secret")));
    api
}

#[tokio::test]
async fn secrets_of_a_namespace_are_followed_and_those_that_did_not_change_stay_the_same() {
    let api = api().await;
    api.put(SECRETS, secret("web", Some("kubernetes.io/tls"), "one"));
    api.put(SECRETS, secret("plain", None, "two"));
    api.put(SECRETS, secret("token", Some("kubernetes.io/service-account-token"), "three"));
    let mut follower = Follower::begin(&api);
    follower.until("all", |secrets| shows(secrets, "web", "one") && shows(secrets, "plain", "two")).await;
    assert!(follower.one("token").is_none());
    let plain = follower.one("plain").unwrap();
    api.put(SECRETS, secret("web", Some("kubernetes.io/tls"), "four"));
    follower.until("the change", |secrets| shows(secrets, "web", "four")).await;
    api.with(State::compact);
    api.cut_watches();
    api.put(SECRETS, secret("later", None, "five"));
    follower.until("what came while nobody watched", |secrets| shows(secrets, "later", "five")).await;
    assert!(Arc::ptr_eq(&plain, &follower.one("plain").unwrap()));
    api.delete(SECRETS, "edge", "plain");
    follower.until("that it is gone", |secrets| secrets.get("plain").is_none()).await;
    let asked = api.requests();
    let lists: Vec<_> = asked.iter().filter(|path| path.contains("secrets")).collect();
    assert!(lists.iter().all(|path| path.contains("fieldSelector=type%21%3Dhelm.sh")), "{lists:?}");
}

#[tokio::test]
async fn a_missing_right_is_told_and_what_there_was_goes_on() {
    let api = api().await;
    api.put(SECRETS, secret("web", None, "one"));
    api.with(|state| state.denied.extend([SECRETS.to_owned()]));
    let mut follower = Follower::begin(&api);
    let denied = |secrets: &Secrets| {
        secrets.trouble().is_some_and(|why| why.contains("namespace edge") && why.contains("is forbidden"))
    };
    follower.until("the missing right", denied).await;
    assert!(follower.one("web").is_none());
    api.with(|state| state.denied.clear());
    follower.until("the Secret", |secrets| shows(secrets, "web", "one") && secrets.trouble().is_none()).await;
    api.with(|state| state.denied.extend([SECRETS.to_owned()]));
    api.cut_watches();
    follower.until("the right that was taken away", denied).await;
    assert!(follower.one("web").is_some());
    api.with(|state| state.denied.clear());
    follower.until("that it is back", |secrets| secrets.trouble().is_none()).await;
}

#[tokio::test]
async fn an_api_that_is_away_is_told_and_no_answer_is_quoted() {
    let mut api = api().await;
    api.put(SECRETS, secret("web", None, "one"));
    let mut follower = Follower::begin(&api);
    follower.until("the Secret", |secrets| shows(secrets, "web", "one")).await;
    api.stop().await;
    follower.until("that it is away", |secrets| secrets.trouble().is_some()).await;
    assert!(follower.one("web").is_some());
    api.resume().await;
    follower.until("that it is back", |secrets| secrets.trouble().is_none()).await;
    api.fail(|path| path.contains("secrets").then_some(Fault::Html));
    api.cut_watches();
    follower.until("that it talks nonsense", |secrets| secrets.trouble().is_some()).await;
    let said = follower.secrets.load().trouble().unwrap_or_default().to_owned();
    assert!(!said.contains("html"), "{said}");
    api.heal();
    api.put(SECRETS, secret("web", None, "two"));
    follower.until("the change", |secrets| shows(secrets, "web", "two") && secrets.trouble().is_none()).await;
}
