//! The CA in force: put into its place at the desk and in the server's own certificate, again when it changes where it is
//! kept (a directory here, Secrets in `secrets`) and before that certificate runs out. What cannot be used changes nothing.

pub(crate) mod secrets;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_ca::Desk;
use ambit_identity::authority::FILES;
use ambit_identity::client::chain_to_pem;
use ambit_identity::{Authority, channel};
use ambit_model::TrustDomain;
use ambit_process::files::Files;
use tokio::sync::watch;
use tracing::{error, info, warn};

use self::secrets::Secrets;
use crate::callers::Callers;

/// Where the CA is, if it is a directory and nobody says which.
const DIRECTORY: &str = "/var/lib/ambit/ca";

/// How the server is certified.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// Its names.
    pub(crate) names: Vec<String>,
    /// For how long its certificate is valid; it is renewed at half of that.
    pub(crate) ttl: Duration,
    /// The trust domain that the CA is for.
    pub(crate) trust_domain: TrustDomain,
}

/// Where the CA is kept.
pub(crate) enum Origin {
    /// In files, as they were before they were read.
    Directory(PathBuf, Files),
    /// In a cluster.
    Secrets(Box<Secrets>),
}

impl Origin {
    /// The directory `path`, or the one where nobody says which. Whatever changes in it from here on is seen.
    pub(crate) fn directory(path: Option<&Path>) -> Self {
        let path = path.unwrap_or(Path::new(DIRECTORY)).to_owned();
        let paths: Vec<PathBuf> = FILES.iter().map(|name| path.join(name)).collect();
        Self::Directory(path, Files::new(paths.iter().map(PathBuf::as_path)))
    }

    /// The CA, made if there is none.
    ///
    /// # Errors
    /// What is wrong with it, or with where it is.
    pub(crate) async fn open(&mut self, trust_domain: &TrustDomain) -> anyhow::Result<Authority> {
        match self {
            Self::Directory(path, _) => Ok(Authority::open_or_create_directory(path, trust_domain, SystemTime::now())?),
            Self::Secrets(secrets) => secrets.open(trust_domain).await,
        }
    }

    /// Waits until it may have changed.
    async fn changed(&mut self) {
        match self {
            Self::Directory(_, files) => files.changed().await,
            Self::Secrets(secrets) => secrets.changed().await,
        }
    }

    /// The CA as it is now; none is made.
    fn read(&self, trust_domain: &TrustDomain) -> anyhow::Result<Authority> {
        match self {
            Self::Directory(path, _) => Ok(Authority::open_directory(path, trust_domain, SystemTime::now())?),
            Self::Secrets(secrets) => secrets.read(trust_domain),
        }
    }
}

/// Who has to know of the CA in force.
pub(crate) struct Place {
    pub(crate) serving: Serving,
    pub(crate) server: channel::Server,
    pub(crate) desk: Arc<Desk<Callers>>,
    /// The roots that all are to trust, in PEM.
    pub(crate) roots: watch::Sender<Arc<str>>,
}

/// The roots of `authority`, in PEM.
pub(crate) fn roots(authority: &Authority) -> Arc<str> {
    chain_to_pem(&authority.roots().roots().cloned().collect()).concat().into()
}

/// Has the server certified by `authority`.
///
/// # Errors
/// What is wrong with the server's names.
pub(crate) fn certify(
    server: &channel::Server,
    serving: &Serving,
    authority: &Authority,
) -> Result<(), ambit_identity::Error> {
    server.certify(authority, &serving.names, serving.ttl, SystemTime::now())?;
    info!(?authority, "CA in force");
    Ok(())
}

/// Keeps the CA in force what it is where it is kept, and the server's certificate valid.
pub(crate) async fn follow(mut origin: Origin, place: Place) {
    loop {
        tokio::select! {
            () = origin.changed() => {}
            () = tokio::time::sleep(place.serving.ttl / 2) => {}
        }
        let opened = match origin.read(&place.serving.trust_domain) {
            Ok(authority) => Some(authority),
            Err(cause) => {
                warn!("the CA stays as it is: {cause:#}");
                None
            }
        };
        // The server's own certificate is renewed by whoever is in force.
        let in_force = opened.map_or_else(|| place.desk.authority(), Arc::new);
        match certify(&place.server, &place.serving, &in_force) {
            Ok(()) => {
                place.roots.send_replace(roots(&in_force));
                place.desk.replace_authority(in_force);
            }
            Err(cause) => error!("the CA stays as it is, the server cannot be certified by the new one: {cause}"),
        }
    }
}
