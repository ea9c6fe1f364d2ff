//! One request from the caller's token to the signed chain: who asks, may he, what is signed. What agents report is taken here
//! as well (`intake`). Knows nothing of gRPC.

mod intake;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambit_identity::client::chain_to_pem;
use ambit_identity::{Authority, Clock, Csr};
use ambit_model::{Identity, Snapshot};
use arc_swap::ArcSwap;
use tracing::{debug, warn};

use crate::authorization::authorize;
use crate::caller::Authenticate;
use crate::error::Refusal;
use crate::wire::CertificateRequest;

pub use self::intake::Intake;

/// Where certificates are signed, and reports are taken.
pub struct Desk<A> {
    authority: ArcSwap<Authority>,
    authenticator: ArcSwap<A>,
    snapshot: Box<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    longest: Duration,
    clock: Clock,
    tally: Mutex<Tally>,
    /// None where agents do not report.
    intake: Option<Intake>,
}

/// How often was answered how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Certificates signed.
    pub signed: u64,
    /// Requests refused, by [`Refusal::code`].
    pub refused: BTreeMap<&'static str, u64>,
    /// Pods of which a report was taken.
    pub reported: u64,
    /// Reports that were refused, by [`Refusal::code`], and pods of which none was taken, by [`crate::Denial::code`].
    pub reports_refused: BTreeMap<&'static str, u64>,
}

impl<A: Authenticate> Desk<A> {
    /// A desk that signs with `authority`, for whom `authenticator` knows, what runs where `snapshot` says, and for no
    /// longer than `longest`.
    pub fn new(
        authority: Authority,
        authenticator: A,
        snapshot: impl Fn() -> Arc<Snapshot> + Send + Sync + 'static,
        longest: Duration,
        clock: Clock,
    ) -> Self {
        let (authority, tally) = (ArcSwap::from_pointee(authority), Mutex::default());
        let authenticator = ArcSwap::from_pointee(authenticator);
        Self { authority, authenticator, snapshot: Box::new(snapshot), longest, clock, tally, intake: None }
    }

    /// Signs with `authority` from now on.
    pub fn replace_authority(&self, authority: Arc<Authority>) {
        self.authority.store(authority);
    }

    /// Asks `authenticator` whose tokens are from now on.
    pub fn replace_authenticator(&self, authenticator: A) {
        self.authenticator.store(Arc::new(authenticator));
    }

    /// How long the authority can still sign; zero once it cannot.
    #[must_use]
    pub fn authority_left(&self) -> Duration {
        self.authority.load().not_after().duration_since(self.clock.now()).unwrap_or_default()
    }

    /// What is signed with now.
    #[must_use]
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.load_full()
    }

    /// How often was answered how, so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The chain for `request` of the bearer of `token`: the leaf, what leads from it to a root, and the roots; in PEM.
    pub(crate) async fn certify(
        &self,
        token: Option<&str>,
        request: &CertificateRequest,
    ) -> Result<Vec<String>, Refusal> {
        let answer = self.answer(token, request).await;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Ok(_) => tally.signed = tally.signed.saturating_add(1),
            Err(refusal) => {
                let count = tally.refused.entry(refusal.code()).or_default();
                *count = count.saturating_add(1);
                if refusal.is_of_a_stranger() {
                    debug!(reason = refusal.code(), "certificate refused: {refusal}");
                } else {
                    warn!(reason = refusal.code(), "certificate refused: {refusal}");
                }
            }
        }
        answer
    }

    async fn answer(&self, token: Option<&str>, request: &CertificateRequest) -> Result<Vec<String>, Refusal> {
        let token = token.ok_or(Refusal::NoToken)?;
        let authenticator = self.authenticator.load_full();
        let caller = authenticator.authenticate(token).await?;
        let requested: Option<Identity> = request.impersonated().map(str::parse).transpose().map_err(|error| {
            let error: ambit_model::identity::IdentityError = error;
            Refusal::BadIdentity(error.to_string())
        })?;
        let identity = authorize(&(self.snapshot)(), &caller, requested)?;
        let csr = Csr::from_pem(&request.csr).map_err(refusal)?;
        // None wished for: the longest there is.
        let wished = u64::try_from(request.validity_duration).ok().filter(|seconds| *seconds > 0);
        let ttl = wished.map_or(self.longest, Duration::from_secs).min(self.longest);
        let authority = self.authority.load();
        let chain = authority.sign(&csr, &identity, ttl, self.clock.now()).map_err(refusal)?;
        debug!(?caller, %identity, seconds = ttl.as_secs(), "certificate signed");
        let roots = authority.roots().roots().cloned().collect();
        Ok([chain_to_pem(&chain), chain_to_pem(&roots)].concat())
    }
}

fn refusal(error: ambit_identity::Error) -> Refusal {
    use ambit_identity::Error as E;
    match error {
        E::BadRequest(_) => Refusal::BadRequest(error.to_string()),
        E::ForeignIdentity { .. } => Refusal::ForeignIdentity(error.to_string()),
        other => Refusal::Internal(other.to_string()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
