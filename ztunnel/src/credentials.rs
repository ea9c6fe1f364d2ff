//! Where certificates come from and what peers are checked against: the local CA or one that is asked, and the files of
//! roots and revocations, which are followed as they change.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ambit_ca::{RemoteIssuer, client};
use ambit_identity::authority::Authority;
use ambit_identity::client::{Issuer, LocalIssuer};
use ambit_identity::store::Certificates;
use ambit_identity::{Bundle, Chain, Clock, Csr, Error, Revocations, TrustStore, channel};
use ambit_model::Identity;
use ambit_process::files::Files;
use anyhow::Context;
use tracing::{debug, info, warn};

use crate::settings::Settings;

/// Who signs.
pub(crate) enum Signer {
    /// The CA of a local file.
    Local(Box<LocalIssuer>),
    /// A CA that is asked.
    Remote(RemoteIssuer),
}

impl Issuer for Signer {
    async fn sign(&self, csr: &Csr, identity: &Identity) -> Result<Chain, Error> {
        match self {
            Self::Local(issuer) => issuer.sign(csr, identity).await,
            Self::Remote(issuer) => issuer.sign(csr, identity).await,
        }
    }
}

/// The store of this node's certificates, empty as yet, and the files to be followed as they were before they were read.
pub(crate) fn certificates(settings: &Settings) -> anyhow::Result<(Certificates<Signer>, Files)> {
    let clock = Clock::system();
    let files = Files::new(settings.roots.iter().chain(&settings.crl).map(PathBuf::as_path));
    let given = settings.roots.as_deref().map(roots).transpose()?;
    let (signer, store) = match (&settings.ca_address, given) {
        (Some(address), Some(given)) => {
            let store = TrustStore::new(given);
            let ask = client::Settings {
                address: address.clone(),
                name: settings.ca_name.clone(),
                token: settings.ca_token.clone(),
                cluster: settings.cluster.clone(),
                ttl: settings.certificate_ttl,
            };
            let issuer = RemoteIssuer::new(&ask, channel::Client::new(store.clone(), clock.clone()))?;
            (Signer::Remote(issuer), store)
        }
        (Some(_), None) => anyhow::bail!("--ca-address needs --roots: what the CA is checked against"),
        (None, given) => {
            let authority = Authority::open_or_create(&settings.ca, &settings.trust_domain, SystemTime::now())?;
            let store = TrustStore::new(given.unwrap_or_else(|| authority.roots()));
            let issuer = LocalIssuer::new(authority, settings.certificate_ttl, clock.clone());
            (Signer::Local(Box::new(issuer)), store)
        }
    };
    if let Some(path) = &settings.crl {
        // Nothing may have been revoked yet.
        if let Some(list) = revocations(path)? {
            store.replace_revocations(list);
        }
    }
    Ok((Certificates::new(signer, store, clock), files))
}

/// Puts into force what the files of roots and revocations come to say. What cannot be used changes nothing.
pub(crate) async fn follow(settings: Settings, mut files: Files, store: TrustStore) {
    let (roots_file, crl) = (settings.roots.as_deref(), settings.crl.as_deref());
    loop {
        files.changed().await;
        if let Some(path) = roots_file {
            match roots(path) {
                Ok(bundle) => {
                    info!(file = %path.display(), roots = bundle.roots().count(), "roots read anew");
                    store.replace_roots(bundle);
                }
                Err(error) => warn!("the roots stay as they are: {error:#}"),
            }
        }
        if let Some(path) = crl {
            match revocations(path) {
                Ok(Some(list)) => {
                    info!(file = %path.display(), revoked = list.len(), "revocations read anew");
                    store.replace_revocations(list);
                }
                // Nobody is readmitted by that.
                Ok(None) => debug!(file = %path.display(), "the revocations stay as they are: there is no file"),
                Err(error) => warn!("the revocations stay as they are: {error:#}"),
            }
        }
    }
}

fn roots(path: &Path) -> anyhow::Result<Bundle> {
    let text = std::fs::read(path).with_context(|| format!("the roots {} cannot be read", path.display()))?;
    Bundle::from_pem(&text).with_context(|| path.display().to_string())
}

/// None, if there is no such file.
fn revocations(path: &Path) -> anyhow::Result<Option<Revocations>> {
    match std::fs::read(path) {
        Ok(text) => Revocations::from_pem(&text).map(Some).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the revocations {} cannot be read", path.display())),
    }
}
