//! The CA in a cluster: the Secret that somebody has plugged in (Istio's `cacerts`) or, where there is none, one of our own,
//! which the first of several controllers makes and all of them read. Both are followed, and what was told of them last is
//! what is read: nothing that has been told can be missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_discovery::resource;
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

use crate::cluster::{Cluster, Why};
use crate::followed::Followed;
use crate::json::at;

/// The Secret of a CA that somebody has plugged in, as Istio has it.
const PLUGGED_IN: &str = "cacerts";
/// The Secret of a root that was made here.
const OWN: &str = "ambit-ca";

/// Where a CA is looked for, one after the other.
const NAMES: [&str; 2] = [PLUGGED_IN, OWN];

/// For how long a start waits for the API.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long until it is asked again to make the Secret, if it refuses.
const RETRY: Duration = Duration::from_secs(2);

/// The Secrets of the controller's namespace that a CA may be in.
pub(crate) struct Secrets {
    cluster: Cluster,
    wake: Arc<Notify>,
    /// Those of the names in [`NAMES`].
    followed: [Followed; 2],
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
        let followed = NAMES.map(|name| {
            let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
            Followed::new(cluster.within(&cluster.namespace, &secrets), &secrets, one, &wake)
        });
        Self { cluster: cluster.clone(), wake, followed }
    }

    /// The CA, made if there is none; waits some time for an API that is away.
    pub(super) async fn open(&self, trust_domain: &TrustDomain) -> anyhow::Result<Authority> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let known = async {
            for one in &self.followed {
                one.known().await;
            }
        };
        tokio::time::timeout_at(deadline, known).await.map_err(|_| {
            let [plugged_in, own] = NAMES;
            anyhow!(
                "the Secrets {plugged_in} and {own} cannot be read: the Kubernetes API does not let them be followed"
            )
        })?;
        let (mut is_made, mut refused) = (false, None);
        loop {
            if let Found::In(..) = self.find()? {
                return self.read(trust_domain);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(refused.unwrap_or_else(|| anyhow!("the Secret {OWN} was made, and is not told of")));
            }
            let mut wait = deadline;
            if !is_made {
                match self.make(trust_domain).await {
                    Ok(()) => is_made = true,
                    Err(error) => {
                        warn!("there is no CA yet: {error:#}");
                        refused = Some(error);
                        wait = deadline.min(tokio::time::Instant::now() + RETRY);
                    }
                }
            }
            // Whoever made it, it is told of.
            let _ = tokio::time::timeout_at(wait, self.changed()).await;
        }
    }

    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// The CA as it was told of last.
    pub(super) fn read(&self, trust_domain: &TrustDomain) -> anyhow::Result<Authority> {
        let Found::In(name, entries) = self.find()? else {
            return Err(anyhow!("neither the Secret {PLUGGED_IN} nor {OWN} is there any more: restore it"));
        };
        let place = format!("secret {}/{name}", self.cluster.namespace);
        Ok(Authority::open_secret(&place, &entries, trust_domain, SystemTime::now())?)
    }

    fn find(&self) -> anyhow::Result<Found> {
        for (name, followed) in NAMES.into_iter().zip(&self.followed) {
            if let Some(secret) = followed.one(&self.cluster.namespace, name) {
                let entries = entries(&secret).with_context(|| format!("the Secret {name} cannot be used"))?;
                return Ok(Found::In(name, entries));
            }
        }
        Ok(Found::Nowhere)
    }

    /// Makes the Secret, unless another controller just has.
    async fn make(&self, trust_domain: &TrustDomain) -> anyhow::Result<()> {
        let kind = resource("v1", "Secret", "secrets");
        let texts = Authority::new_secret(trust_domain, SystemTime::now())?;
        let secret = DynamicObject::new(OWN, &kind).data(json!({"type": "istio.io/ca-root", "stringData": texts}));
        let secrets = self.cluster.within(&self.cluster.namespace, &kind);
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => info!(secret = OWN, "a root was made"),
            Err(kube::Error::Api(status)) if status.code == 409 => info!(secret = OWN, "another has made a root"),
            Err(error) => return Err(anyhow!("the Secret {OWN} cannot be made: {}", Why(&error))),
        }
        Ok(())
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
