//! Keys and certificates for the next process of the same pod, so that one that starts while the CA is away has them: a file
//! each in a directory of a file system in memory, of which no disk ever sees a byte. What is found there is believed no more
//! than what a CA answers; what cannot be used is removed, and the CA is asked.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ambit_model::{Identity, TrustDomain};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tracing::warn;

use crate::client::{Chain, chain_to_pem};
use crate::csr::to_pem;
use crate::error::Error;

/// A key and its chain take about 2 KiB; what is longer than this is another file.
const LONGEST: u64 = 64 * 1024;
const SUFFIX: &str = ".pem";
/// What the name of a file begins with that is being written.
const UNFINISHED: &str = ".new-";

/// A key and its chain, as they were kept.
pub(super) struct Found {
    pub(super) key: PrivatePkcs8KeyDer<'static>,
    pub(super) chain: Chain,
    /// When they were obtained.
    pub(super) since: SystemTime,
}

/// The directory, and whose certificates are in it.
#[derive(Debug)]
pub struct Kept {
    directory: PathBuf,
    identities: Mutex<BTreeSet<Identity>>,
}

impl Kept {
    /// What is kept in `directory`, which is made if it is not there: for its owner only.
    ///
    /// # Errors
    /// [`Error::KeptIo`] if it can be neither read nor made, [`Error::KeptOnDisk`] if it is not on a tmpfs.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::KeptIo { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let place = statfs(directory).map_err(|errno| failed(errno.into()))?;
        if place.filesystem_type() != TMPFS_MAGIC {
            return Err(Error::KeptOnDisk { path: directory.to_owned() });
        }
        let mut identities = BTreeSet::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(UNFINISHED) {
                // Whoever wrote it was killed.
                fs::remove_file(entry.path()).map_err(failed)?;
            }
            identities.extend(name.to_str().and_then(identity_of));
        }
        Ok(Self { directory: directory.to_owned(), identities: Mutex::new(identities) })
    }

    /// Whose certificates are kept.
    pub(super) fn identities(&self) -> BTreeSet<Identity> {
        self.known().clone()
    }

    /// The key and the chain of `identity`, if they are kept; an error says why they cannot be read.
    pub(super) fn find(&self, identity: &Identity) -> Option<Result<Found, String>> {
        let is_kept = self.known().contains(identity);
        is_kept.then(|| read(&self.path(identity)))
    }

    /// Keeps what was just obtained in the place of what was kept of `identity`, whole or not at all. A failure is logged:
    /// without it the next process asks the CA.
    pub(super) fn put(&self, identity: &Identity, obtained: &Found) {
        if identity_of(&file_of(identity)).as_ref() != Some(identity) {
            warn!(%identity, "its certificate is not kept for the next process: there is no file name for it");
            return;
        }
        match self.write(identity, obtained) {
            Ok(()) => {
                self.known().insert(identity.clone());
            }
            Err(error) => warn!(%identity, "its certificate cannot be kept for the next process: {error}"),
        }
    }

    /// Removes what cannot be used, saying why.
    pub(super) fn discard(&self, identity: &Identity, cause: &str) {
        warn!(%identity, "the certificate that was kept cannot be used, and the CA is asked: {cause}");
        self.remove(identity);
    }

    /// Removes what is kept of `identity`.
    pub(super) fn remove(&self, identity: &Identity) {
        if !self.known().remove(identity) {
            return;
        }
        match fs::remove_file(self.path(identity)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%identity, "its key cannot be removed from {}: {error}", self.directory.display());
            }
            _ => {}
        }
    }

    /// Beside its place first, so that nobody ever finds half of it. Temporary files are their owner's only. When it was obtained
    /// is when the file was modified.
    fn write(&self, identity: &Identity, Found { key, chain, since }: &Found) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.directory)?;
        file.write_all(to_pem("PRIVATE KEY", key.secret_pkcs8_der()).as_bytes())?;
        chain_to_pem(chain).iter().try_for_each(|certificate| file.write_all(certificate.as_bytes()))?;
        file.as_file().set_modified(*since)?;
        file.persist(self.path(identity)).map_err(|error| error.error)?;
        Ok(())
    }

    fn path(&self, identity: &Identity) -> PathBuf {
        self.directory.join(file_of(identity))
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<Identity>> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_of(identity: &Identity) -> String {
    let Identity { trust_domain, namespace, service_account } = identity;
    format!("{trust_domain}_{namespace}_{service_account}{SUFFIX}")
}

/// Whose file this is. Neither namespaces nor service accounts have an underscore in their names (RFC 1123).
fn identity_of(file: &str) -> Option<Identity> {
    let mut parts = file.strip_suffix(SUFFIX).filter(|name| !name.contains('/'))?.rsplitn(3, '_');
    let (service_account, namespace, trust_domain) = (parts.next()?, parts.next()?, parts.next()?);
    let trust_domain: TrustDomain = trust_domain.parse().ok()?;
    Some(Identity::new(trust_domain, namespace, service_account))
}

/// The key and the certificates of a file; an error says what is wrong with it, and never what is in it.
fn read(path: &Path) -> Result<Found, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_file() || mode & 0o077 != 0 {
        return Err(format!("its file has mode {mode:04o}: others than its owner could read the key"));
    }
    let since = metadata.modified().map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| "its file holds no private key".to_owned())?;
    let chain: Result<Chain, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|_| "its file holds what is no certificate".to_owned())?;
    Ok(Found { key, chain, since })
}
