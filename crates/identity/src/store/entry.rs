//! One identity's certificate: what handshakes read, and what the schedule needs to know. Asks nobody for anything.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_model::{Identity, TrustDomains};
use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::sync::Mutex;

use crate::certificate::Certificate;
use crate::client::Chain;
use crate::error::Error;
use crate::provider::provider;
use crate::renewal::{self, Action, Failures, Lifetime};
use crate::revocation::Revocations;

/// A key and its certificate.
#[derive(Debug)]
pub(super) struct Leaf {
    certified: Arc<CertifiedKey>,
    /// The leaf, then its intermediates.
    pub(super) certificates: Vec<Certificate>,
    pub(super) lifetime: Lifetime,
}

impl Leaf {
    /// Checks that `chain` is what was asked for: for `identity`, of the public half of `key`, valid `now`.
    pub(super) fn new(
        identity: &Identity,
        key: PrivatePkcs8KeyDer<'static>,
        chain: Chain,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let bad = |cause: String| Error::BadChain { identity: identity.clone(), cause };
        let certificates: Vec<_> =
            chain.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>().map_err(bad)?;
        let leaf = certificates.first().ok_or_else(|| bad("it is empty".to_owned()))?;
        if leaf.identity().as_ref() != Ok(identity) || !leaf.is_valid(now) {
            return Err(bad(leaf.describe()));
        }
        let lifetime = Lifetime { start: now, end: leaf.not_after };
        let certified =
            CertifiedKey::from_der(chain, key.into(), provider()).map_err(|error| bad(error.to_string()))?;
        Ok(Self { certified: Arc::new(certified), certificates, lifetime })
    }

    /// The same, had by a process before since `since`.
    pub(super) const fn had_since(mut self, since: SystemTime) -> Self {
        self.lifetime.start = since;
        self
    }

    /// Whether it, or what leads from it to a root, was revoked.
    pub(super) fn is_revoked(&self, revocations: &Revocations) -> bool {
        revocations.revokes(self.certificates.iter().map(|certificate| &certificate.id))
    }

    pub(super) fn serial(&self) -> &str {
        self.certificates.first().map_or("", |leaf| &leaf.serial)
    }
}

/// What is known of one identity's certificate at one moment.
#[derive(Clone, Debug, Default)]
struct State {
    leaf: Option<Arc<Leaf>>,
    failures: Option<Failures>,
    cause: String,
    /// Drawn anew whenever a certificate arrives or a request fails.
    draw: u64,
}

/// The place that handshakes take their certificate from, whoever puts a newer one there.
#[derive(Debug, Default)]
pub(super) struct Slot(ArcSwap<State>);

impl Slot {
    /// The certificate, if it is valid `now`.
    pub(super) fn leaf(&self, identity: &Identity, now: SystemTime) -> Result<Arc<Leaf>, Error> {
        match &self.0.load().leaf {
            Some(leaf) if now <= leaf.lifetime.end => Ok(leaf.clone()),
            Some(_) => Err(Error::Expired(identity.clone())),
            None => Err(Error::NoCertificate(identity.clone())),
        }
    }

    /// The certificate, valid or not.
    pub(super) fn held(&self) -> Option<Arc<Leaf>> {
        self.0.load().leaf.clone()
    }

    /// True once a request has failed and none has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.0.load().failures.is_some()
    }

    pub(super) fn lifetime(&self) -> Option<Lifetime> {
        self.0.load().leaf.as_ref().map(|leaf| leaf.lifetime)
    }

    pub(super) fn next(&self, now: SystemTime, revocations: &Revocations) -> Action {
        let state = self.0.load();
        let good = state.leaf.as_ref().filter(|leaf| !leaf.is_revoked(revocations));
        renewal::next(now, good.map(|leaf| leaf.lifetime), state.failures, state.draw)
    }

    pub(super) fn obtained(&self, leaf: Leaf) {
        let state = State { leaf: Some(Arc::new(leaf)), draw: rand::random(), ..State::default() };
        self.0.store(Arc::new(state));
    }

    /// Counts a failed request. The certificate, if there is one, stays.
    pub(super) fn failed(&self, now: SystemTime, cause: &Error) -> Failures {
        let state = self.0.load();
        let count = state.failures.map_or(0, |failures| failures.count).saturating_add(1);
        let failures = Failures { count, last: now };
        let state = State {
            leaf: state.leaf.clone(),
            failures: Some(failures),
            cause: cause.to_string(),
            draw: rand::random(),
        };
        self.0.store(Arc::new(state));
        failures
    }

    /// `error`, explained by the request that failed last, if there is one.
    pub(super) fn backing_off(&self, error: Error, wait: Duration) -> Error {
        let state = self.0.load();
        match (error, state.failures) {
            (Error::NoCertificate(identity) | Error::Expired(identity), Some(Failures { count, .. })) => {
                Error::BackingOff { identity, failures: count, wait, cause: state.cause.clone() }
            }
            (error, _) => error,
        }
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load().leaf.as_ref().map(|leaf| leaf.certified.clone())
    }
}

impl ResolvesServerCert for Slot {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Slot {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        self.certified().is_some()
    }
}

/// One identity: its certificate and what is made from it.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) slot: Arc<Slot>,
    /// Held while a request is under way.
    pub(super) requesting: Mutex<()>,
    server: ArcSwapOption<Server>,
}

/// A server configuration and what it was made for.
#[derive(Debug)]
struct Server {
    trust: TrustDomains,
    config: Arc<ServerConfig>,
}

impl Entry {
    /// The server configuration, if it was made for `trust`.
    pub(super) fn server_for(&self, trust: &TrustDomains) -> Option<Arc<ServerConfig>> {
        self.server.load().as_ref().filter(|server| server.trust == *trust).map(|server| server.config.clone())
    }

    pub(super) fn keep_server(&self, trust: &TrustDomains, config: &Arc<ServerConfig>) {
        self.server.store(Some(Arc::new(Server { trust: trust.clone(), config: config.clone() })));
    }
}
