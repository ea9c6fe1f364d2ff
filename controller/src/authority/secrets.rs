//! The CA in a cluster: the Secret that somebody has plugged in (Istio's `cacerts`) or, where there is none, one of our own,
//! which the first of several controllers makes and all of them read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::Authority;
use ambit_model::TrustDomain;
use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{DynamicObject, PostParams};
use kube::runtime::watcher;
use serde_json::json;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::cluster::{Cluster, Why, resource};
use crate::followed::Followed;
use crate::json::at;

/// The Secret of a CA that somebody has plugged in, as Istio has it.
const PLUGGED_IN: &str = "cacerts";
/// The Secret of a root that was made here.
const OWN: &str = "ambit-ca";

/// For how long a start waits for the API, and how often it is asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(2);

/// The Secrets of the controller's namespace that a CA may be in.
pub(crate) struct Secrets {
    cluster: Cluster,
    wake: Arc<Notify>,
    _followed: [Followed; 2],
}

/// What there is of a CA.
#[derive(Debug, PartialEq)]
enum Found {
    /// This Secret has it.
    In(&'static str, BTreeMap<String, Vec<u8>>),
    /// It is to be made.
    Nowhere,
}

impl Secrets {
    /// Follows them.
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let wake = Arc::new(Notify::new());
        let secrets = resource("v1", "Secret", "secrets");
        let followed = [PLUGGED_IN, OWN].map(|name| {
            let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
            Followed::new(cluster.within(&cluster.namespace, &secrets), &secrets, one, &wake)
        });
        Self { cluster: cluster.clone(), wake, _followed: followed }
    }

    /// The CA, made if there is none; waits some time for an API that is away.
    pub(super) async fn open(&self, trust_domain: &TrustDomain) -> anyhow::Result<Authority> {
        let begun = tokio::time::Instant::now();
        loop {
            let found = match self.find().await {
                Ok(Found::Nowhere) => self.make(trust_domain).await,
                found => found,
            };
            match found {
                Ok(found) => return self.parse(found, trust_domain),
                Err(error) if begun.elapsed() < PATIENCE => warn!("the CA cannot be read yet: {error:#}"),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(super) async fn read(&self, trust_domain: &TrustDomain) -> anyhow::Result<Authority> {
        let found = self.find().await?;
        self.parse(found, trust_domain)
    }

    fn parse(&self, found: Found, trust_domain: &TrustDomain) -> anyhow::Result<Authority> {
        let Found::In(name, entries) = found else {
            return Err(anyhow!("neither the Secret {PLUGGED_IN} nor {OWN} is there any more: restore it"));
        };
        let place = format!("secret {}/{name}", self.cluster.namespace);
        Ok(Authority::open_secret(&place, &entries, trust_domain, SystemTime::now())?)
    }

    async fn find(&self) -> anyhow::Result<Found> {
        let secrets = self.cluster.within(&self.cluster.namespace, &resource("v1", "Secret", "secrets"));
        for name in [PLUGGED_IN, OWN] {
            let secret = secrets.get_opt(name).await;
            let secret = secret.map_err(|error| anyhow!("the Secret {name} cannot be read: {}", Why(&error)))?;
            if let Some(secret) = secret {
                return Ok(Found::In(name, entries(&secret)?));
            }
        }
        Ok(Found::Nowhere)
    }

    /// Makes the Secret, unless another controller just has, and finds what there is then.
    async fn make(&self, trust_domain: &TrustDomain) -> anyhow::Result<Found> {
        let kind = resource("v1", "Secret", "secrets");
        let texts = Authority::new_secret(trust_domain, SystemTime::now())?;
        let secret = DynamicObject::new(OWN, &kind).data(json!({"type": "istio.io/ca-root", "stringData": texts}));
        let secrets = self.cluster.within(&self.cluster.namespace, &kind);
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => info!(secret = OWN, "a root was made"),
            Err(kube::Error::Api(status)) if status.code == 409 => info!(secret = OWN, "another has made a root"),
            Err(error) => return Err(anyhow!("the Secret {OWN} cannot be made: {}", Why(&error))),
        }
        self.find().await
    }
}

/// What a Secret holds.
fn entries(secret: &DynamicObject) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let entries = at(&secret.data, &["data"]).as_object().into_iter().flatten();
    let decoded = entries.map(|(name, text)| {
        let bytes = STANDARD.decode(text.as_str().unwrap_or_default());
        Ok((name.clone(), bytes.with_context(|| format!("the entry {name} is no base64"))?))
    });
    decoded.collect()
}
