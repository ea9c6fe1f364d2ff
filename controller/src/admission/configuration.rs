//! The API server's end of the webhook, a ValidatingWebhookConfiguration that somebody has installed: kept so that the API
//! server believes who answers (`caBundle`), and refuses what it cannot have reviewed once it is proved that reviews arrive
//! (`failurePolicy`). What it is to say is decided without I/O.

use std::sync::Arc;
use std::time::Duration;

use ambit_api::Kind;
use ambit_discovery::resource;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use super::review::ALWAYS_REFUSED;
use crate::cluster::{Cluster, FIELD_MANAGER, Why};
use crate::followed::Followed;
use crate::json::{at, set};
use crate::lease::Lead;

/// How often it is tried whether reviews arrive, until they do; also after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// What an API server does with objects that nobody reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailurePolicy {
    /// It refuses them, once it is proved that reviews arrive.
    #[value(name = "Fail")]
    Fail,
    /// It lets them pass.
    #[value(name = "Ignore")]
    Ignore,
}

/// Which configuration is kept, and how.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Its name.
    pub(crate) name: String,
    /// What is to become of objects that nobody reviews.
    pub(crate) policy: FailurePolicy,
}

/// Keeps it, with the CA's `roots`, whenever this controller is the one that writes.
pub(crate) async fn keep(cluster: Cluster, lead: Lead, roots: watch::Receiver<Arc<str>>, terms: Terms) {
    let (cluster, roots, terms) = (&cluster, &roots, &terms);
    lead.whenever(|| write(cluster, roots.clone(), terms)).await;
}

async fn write(cluster: &Cluster, mut roots: watch::Receiver<Arc<str>>, terms: &Terms) {
    let kind = resource(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    );
    let wake = Arc::new(Notify::new());
    let named = watcher::Config::default().fields(&format!("metadata.name={}", terms.name));
    let followed = Followed::new(cluster.all(&kind), &kind, named, &wake);
    followed.known().await;
    loop {
        let bundle = STANDARD.encode(roots.borrow_and_update().as_bytes());
        let settled = match followed.all().first() {
            Some(configuration) => settle(cluster, &kind, configuration, (&bundle, terms.policy)).await,
            // Whoever installs it is told of.
            None => true,
        };
        tokio::select! {
            () = wake.notified() => {}
            Ok(()) = roots.changed() => info!("the webhook is known by other roots"),
            () = tokio::time::sleep(RETRY), if !settled => {}
        }
    }
}

/// Has `configuration` say what it should. False if that is to be tried again.
async fn settle(
    cluster: &Cluster,
    kind: &ApiResource,
    configuration: &DynamicObject,
    (bundle, policy): (&str, FailurePolicy),
) -> bool {
    let webhooks = at(&configuration.data, &["webhooks"]);
    let is_believed = corrected(webhooks, bundle, None).is_none();
    let strict = match policy {
        FailurePolicy::Ignore => Some(false),
        // Without being believed nobody is asked.
        FailurePolicy::Fail if !is_believed => None,
        FailurePolicy::Fail if corrected(webhooks, bundle, Some(true)).is_none() => return true,
        FailurePolicy::Fail => is_asked(cluster).await.then_some(true),
    };
    let Some(corrected) = corrected(webhooks, bundle, strict) else {
        return policy == FailurePolicy::Ignore;
    };
    let version = configuration.metadata.resource_version.clone();
    let patch = json!({"metadata": {"resourceVersion": version}, "webhooks": corrected});
    let how = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let name = configuration.metadata.name.as_deref().unwrap_or_default();
    match cluster.all(kind).patch(name, &how, &Patch::Merge(&patch)).await {
        Ok(_) if strict == Some(true) => info!(name, "reviews arrive: what nobody reviews is refused from now on"),
        Ok(_) => info!(name, "the API server is told whom to believe as the webhook"),
        // It has changed meanwhile, of which we are told.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => warn!(name, "the webhook's configuration cannot be written: {}", Why(&error)),
    }
    false
}

/// The `webhooks` as they should be, by their CA's `bundle` and, if that is said, whether what nobody reviews is refused; none
/// if they are so.
fn corrected(webhooks: &Value, bundle: &str, strict: Option<bool>) -> Option<Value> {
    let mut corrected = webhooks.clone();
    for webhook in corrected.as_array_mut().into_iter().flatten() {
        set(webhook, &["clientConfig", "caBundle"], json!(bundle));
        if let Some(strict) = strict {
            set(webhook, &["failurePolicy"], json!(if strict { "Fail" } else { "Ignore" }));
        }
    }
    (corrected != *webhooks).then_some(corrected)
}

/// True if the API server has objects reviewed: one that asks to be refused is. Nothing is made of it.
async fn is_asked(cluster: &Cluster) -> bool {
    let Ok(Some(kind)) = ambit_discovery::resource_of(&cluster.client, Kind::PeerAuthentication).await else {
        return false;
    };
    let mut probe = DynamicObject::new("ambit-webhook-probe", &kind).data(json!({"spec": {}}));
    probe.metadata.annotations = Some([(ALWAYS_REFUSED.to_owned(), "true".to_owned())].into());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match cluster.within(&cluster.namespace, &kind).create(&dry, &probe).await {
        Ok(_) => {
            debug!("the API server does not ask the webhook yet");
            false
        }
        Err(kube::Error::Api(status)) if status.message.contains(ALWAYS_REFUSED) => true,
        Err(error) => {
            warn!("it cannot be tried whether the API server asks the webhook: {}", Why(&error));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_believed_and_what_follows_silence_is_corrected() {
        let webhook = |bundle: &str, policy: &str| json!({"name": "a", "clientConfig": {"caBundle": bundle, "url": "https://x"}, "failurePolicy": policy, "rules": []});
        let new = json!([webhook("", "Ignore"), webhook("", "Ignore")]);
        let believed = json!([webhook("B", "Ignore"), webhook("B", "Ignore")]);
        let strict = json!([webhook("B", "Fail"), webhook("B", "Fail")]);
        assert_eq!(corrected(&new, "B", None), Some(believed.clone()));
        assert_eq!(corrected(&believed, "B", None), None);
        assert_eq!(corrected(&believed, "B", Some(true)), Some(strict.clone()));
        assert_eq!(corrected(&strict, "B", Some(true)), None);
        assert_eq!(corrected(&strict, "B", None), None, "what is strict stays so");
        assert_eq!(corrected(&strict, "B", Some(false)), Some(believed));
        assert_eq!(corrected(&strict, "C", Some(true)).unwrap()[1]["clientConfig"]["caBundle"], "C");
    }
}
