//! Whose a service account token is, as the Kubernetes API says (TokenReview), and which node its pod runs on. What a token
//! may have is not known here.
//!
//! Read `token` for what is made of an answer, `seen` for how long it is believed.

mod seen;
mod token;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ambit_ca::{Authenticate, Caller, Refusal};
use ambit_discovery::Snapshots;
use ambit_model::{Identity, TrustDomain};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tracing::{info, warn};

use self::seen::{Pod, Seen};
pub(crate) use self::token::Account;
use self::token::{Bearer, Bound};
use crate::json::at;

/// How long the API may take to say whose a token is: those who ask for certificates wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of a token.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The audience that it has to be for.
    pub(crate) audience: String,
    /// The service accounts of the nodes' agents, which may ask for the identities of the pods on their own node (Istio's
    /// `CA_TRUSTED_NODE_ACCOUNTS`).
    pub(crate) trusted: BTreeSet<Account>,
    /// The trust domain that service accounts are of.
    pub(crate) trust_domain: TrustDomain,
}

/// Asks the Kubernetes API whose tokens are.
pub(crate) struct Reviewer {
    client: Client,
    terms: Terms,
    snapshots: Snapshots,
    seen: Mutex<Seen>,
    /// True from a failure of the API until it answers again: each is told once.
    failing: AtomicBool,
}

impl Reviewer {
    /// Asks by `client`, and believes an answer only while the pod is in the newest of `snapshots`.
    pub(crate) fn new(client: Client, terms: Terms, snapshots: Snapshots) -> Self {
        Self { client, terms, snapshots, seen: Mutex::default(), failing: AtomicBool::new(false) }
    }

    fn recall(&self, token: &str) -> Option<Caller> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.recall(token, &self.snapshots.load(), Instant::now())
    }

    /// Who bears `token`, and as which pod.
    async fn ask(&self, token: &str) -> Result<(Caller, Option<Pod>), Refusal> {
        let bearer = self.review(token).await?;
        let pod = match &bearer.pod {
            Some(bound) => Some(self.pod(&bearer.account, bound).await?),
            None => None,
        };
        let Account { namespace, name } = &bearer.account;
        let caller = match &pod {
            _ if !self.terms.trusted.contains(&bearer.account) => {
                Caller::Workload(Identity::new(self.terms.trust_domain.clone(), namespace, name))
            }
            Some(pod) => Caller::Node(pod.node.clone()),
            None => return Err(Refusal::NotBound { account: bearer.account.to_string() }),
        };
        Ok((caller, pod))
    }

    async fn review(&self, token: &str) -> Result<Bearer, Refusal> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.terms.audience]},
        });
        let request = Request::post("/apis/authentication.k8s.io/v1/tokenreviews");
        let request = request.header("content-type", "application/json").body(review.to_string().into_bytes());
        let request = request.map_err(|error| Refusal::Internal(error.to_string()))?;
        let review: Value = self.client.request(request).await.map_err(|error| away(&error, "review tokens"))?;
        token::read(at(&review, &["status"]), token, &self.terms.audience, SystemTime::now())
    }

    /// The pod that a token is bound to, if it still is the same one.
    async fn pod(&self, account: &Account, bound: &Bound) -> Result<Pod, Refusal> {
        let gone = || Refusal::PodGone { pod: format!("{}/{}", account.namespace, bound.name) };
        let path = format!("/api/v1/namespaces/{}/pods/{}", account.namespace, bound.name);
        let request = Request::get(path).body(Vec::new()).map_err(|error| Refusal::Internal(error.to_string()))?;
        let pod: Value = match self.client.request(request).await {
            Ok(pod) => pod,
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(gone()),
            Err(error) => return Err(away(&error, "read pods")),
        };
        if at(&pod, &["metadata", "uid"]).as_str() != Some(&bound.uid) {
            return Err(gone());
        }
        let node = at(&pod, &["spec", "nodeName"]).as_str().unwrap_or_default().into();
        let uid = bound.uid.parse().map_err(|_| gone())?;
        Ok(Pod { account: account.clone(), name: bound.name.clone(), uid, node })
    }

    fn note(&self, refusal: Option<&Refusal>) {
        match refusal {
            Some(Refusal::Unavailable(cause)) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    warn!("nobody can be told by his token: {cause}");
                }
            }
            _ => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    info!("tokens are reviewed again");
                }
            }
        }
    }
}

impl Authenticate for Reviewer {
    async fn authenticate(&self, token: &str) -> Result<Caller, Refusal> {
        if let Some(caller) = self.recall(token) {
            return Ok(caller);
        }
        // From before it was asked: what is believed is believed no longer than that.
        let now = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, self.ask(token)).await.unwrap_or_else(|_| {
            Err(Refusal::Unavailable(format!("the Kubernetes API did not answer within {} s", PATIENCE.as_secs())))
        });
        self.note(asked.as_ref().err());
        let (caller, pod) = asked?;
        if let Some(pod) = pod {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.note(token, caller.clone(), pod, now);
        }
        Ok(caller)
    }
}

/// What a failure of the API means for who waits; `right` is what the controller needs for what it asked.
fn away(error: &kube::Error, right: &str) -> Refusal {
    Refusal::Unavailable(match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("the controller has no right to {right}, grant it: {}", status.message)
        }
        kube::Error::Api(status) => format!("the Kubernetes API says {} {}", status.code, status.message),
        error => format!("the Kubernetes API does not answer: {error}"),
    })
}
