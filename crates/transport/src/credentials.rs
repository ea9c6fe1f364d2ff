//! Where certificates come from and what peers are checked against: the local CA or one that is asked, and the files of
//! roots and revocations, which are followed as they change.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ambit_ca::{RemoteIssuer, Reporter, client};
use ambit_identity::authority::Authority;
use ambit_identity::client::{Issuer, LocalIssuer};
use ambit_identity::store::Certificates;
use ambit_identity::{Bundle, Chain, Clock, Csr, Kept, Revocations, TrustStore, channel};
use ambit_model::{Identity, TrustDomain};
use ambit_process::files::Files;
use tracing::{debug, info, warn};

/// Where they come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The local CA: key and certificate in one PEM file, made if it is not there.
    pub ca: PathBuf,
    /// A CA that is asked (`https://HOST:PORT`) in its place; needs `roots`.
    pub ca_address: Option<String>,
    /// The name in that CA's certificate, if not its host.
    pub ca_name: Option<String>,
    /// The file with the bearer token for it.
    pub ca_token: PathBuf,
    /// PEM file of the roots; none for the local CA's own.
    pub roots: Option<PathBuf>,
    /// PEM file of revocation lists.
    pub crl: Option<PathBuf>,
    /// A directory in memory where keys and certificates are kept for the next process; none to keep none.
    pub keep: Option<PathBuf>,
    /// How long certificates are to be valid.
    pub certificate_ttl: Duration,
    /// The mesh's own trust domain.
    pub trust_domain: TrustDomain,
    /// The cluster's name.
    pub cluster: String,
}

/// Why there are no certificates, or what peers are checked against cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CA is to be asked and nothing is given that it could be checked against: give its roots.
    #[error("a CA that is asked needs roots that it is checked against")]
    NoRoots,
    /// A file cannot be read: correct its path or its permissions.
    #[error("{what} {} cannot be read: {source}", path.display())]
    Unreadable {
        /// What is in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should: what the inner error says.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ambit_identity::Error,
    },
    /// The local CA cannot be opened, or nothing be kept: what the inner error says.
    #[error(transparent)]
    Authority(#[from] ambit_identity::Error),
    /// The CA that is to be asked cannot be: what the inner error says.
    #[error(transparent)]
    Remote(#[from] ambit_ca::Error),
}

/// Who signs.
pub enum Signer {
    /// The CA of a local file.
    Local(Box<LocalIssuer>),
    /// A CA that is asked.
    Remote(RemoteIssuer),
}

impl Issuer for Signer {
    async fn sign(&self, csr: &Csr, identity: &Identity) -> Result<Chain, ambit_identity::Error> {
        match self {
            Self::Local(issuer) => issuer.sign(csr, identity).await,
            Self::Remote(issuer) => issuer.sign(csr, identity).await,
        }
    }
}

/// The store of certificates, empty as yet, and the files to be followed as they were before they were read.
///
/// # Errors
/// See [`Error`].
pub fn open(settings: &Settings) -> Result<(Certificates<Signer>, Files), Error> {
    let clock = Clock::system();
    let files = Files::new(settings.roots.iter().chain(&settings.crl).map(PathBuf::as_path));
    let given = settings.roots.as_deref().map(roots).transpose()?;
    let (signer, store) = match (&settings.ca_address, given) {
        (Some(address), Some(given)) => {
            let store = TrustStore::new(given);
            let ask = asked_at(settings, address);
            let issuer = RemoteIssuer::new(&ask, channel::Client::new(store.clone(), clock.clone()))?;
            (Signer::Remote(issuer), store)
        }
        (Some(_), None) => return Err(Error::NoRoots),
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
    let certificates = Certificates::new(signer, store, clock);
    let certificates = match &settings.keep {
        Some(directory) => certificates.keeping(Kept::open(directory)?),
        None => certificates,
    };
    Ok((certificates, files))
}

/// What tells the control plane what becomes of pods, where certificates are asked for; none where a local CA signs. It is
/// believed by `store`.
///
/// # Errors
/// [`Error::Remote`].
pub fn reporter(settings: &Settings, store: TrustStore) -> Result<Option<Reporter>, Error> {
    let Some(address) = &settings.ca_address else { return Ok(None) };
    let tls = channel::Client::new(store, Clock::system());
    Ok(Some(Reporter::new(&asked_at(settings, address), tls)?))
}

/// How the CA at `address` is asked.
fn asked_at(settings: &Settings, address: &str) -> client::Settings {
    client::Settings {
        address: address.to_owned(),
        name: settings.ca_name.clone(),
        token: settings.ca_token.clone(),
        cluster: settings.cluster.clone(),
        ttl: settings.certificate_ttl,
    }
}

/// Puts into force what the files of roots and revocations come to say. What cannot be used changes nothing.
pub async fn follow(settings: Settings, mut files: Files, store: TrustStore) {
    let (roots_file, crl) = (settings.roots.as_deref(), settings.crl.as_deref());
    loop {
        files.changed().await;
        if let Some(path) = roots_file {
            match roots(path) {
                Ok(bundle) => {
                    info!(file = %path.display(), roots = bundle.roots().count(), "roots read anew");
                    store.replace_roots(bundle);
                }
                Err(error) => warn!("the roots stay as they are: {error}"),
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
                Err(error) => warn!("the revocations stay as they are: {error}"),
            }
        }
    }
}

fn roots(path: &Path) -> Result<Bundle, Error> {
    let text = read("the roots", path)?;
    Bundle::from_pem(&text).map_err(|source| Error::Unusable { path: path.to_owned(), source })
}

/// None, if there is no such file.
fn revocations(path: &Path) -> Result<Option<Revocations>, Error> {
    let text = match read("the revocations", path) {
        Err(Error::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let list = Revocations::from_pem(&text).map_err(|source| Error::Unusable { path: path.to_owned(), source })?;
    Ok(Some(list))
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Unreadable { what, path: path.to_owned(), source })
}
