//! What a CA lives in, a directory or a Secret, laid out as Istio's secret `cacerts`: `ca-cert.pem` and `ca-key.pem` sign,
//! `cert-chain.pem` leads from there to a root (it may be absent if that is one), `root-cert.pem` is what everybody
//! trusts. Made once if there is nothing, and then only read: whoever puts other files there replaces the CA.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ambit_model::{Identity, TrustDomain};
use rustls_pki_types::UnixTime;
use webpki::{EndEntityCert, KeyUsage};

use super::pem::{self, Pem};
use super::{Authority, CLOCK_SKEW, Parts, new_root};
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::client::Chain;
use crate::csr;
use crate::error::Error;
use crate::provider::provider;

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOTS: &str = "root-cert.pem";

/// The files of a CA's directory, to be watched for changes; the entries of its Secret.
pub const FILES: [&str; 4] = [CERTIFICATE, KEY, CHAIN, ROOTS];

impl Authority {
    /// Opens the CA of the directory `path`; where there is neither its key nor its certificate, makes a root of its own.
    /// Of several that make it at once, one does and all open the same CA.
    ///
    /// # Errors
    /// Those of [`open_directory`](Self::open_directory), and [`Error::CaFileIo`] if it cannot be made.
    pub fn open_or_create_directory(path: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Error> {
        create(path, trust_domain, now)?;
        Self::open_directory(path, trust_domain, now)
    }

    /// Opens the CA of the directory `path`. What it will sign has to lead to one of its roots: a certificate is signed
    /// and verified to see.
    ///
    /// # Errors
    /// [`Error::CaFileExposed`] if group or others can access the key, [`Error::CaFileDamaged`] if a file is missing
    /// something or does not fit the others, [`Error::CaFileExpired`] if the CA is not valid at `now`,
    /// [`Error::CaFileIo`] if a file cannot be read.
    pub fn open_directory(path: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = path.join(name);
            let file = File::open(&path).map_err(|source| pem::unread(&path, source))?;
            if name == KEY { pem::read_private(&path, file) } else { pem::read(&path, file) }
        };
        Self::open(path, read, trust_domain, now)
    }

    /// Opens the CA of the Secret `name`, whose `entries` are named as the files of a directory. The same is asked of it;
    /// errors call an entry by the Secret's name and its own.
    ///
    /// # Errors
    /// Those of [`open_directory`](Self::open_directory).
    pub fn open_secret(
        name: &str,
        entries: &BTreeMap<String, Vec<u8>>,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let place = Path::new(name);
        let read = |name: &str| {
            // Istio's own secret has entries that are empty.
            let entry = entries.get(name).filter(|entry| !entry.is_empty());
            entry.cloned().ok_or_else(|| pem::unread(&place.join(name), ErrorKind::NotFound.into()))
        };
        Self::open(place, read, trust_domain, now)
    }

    /// The entries of a Secret with a new root, which signs itself.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn new_secret(trust_domain: &TrustDomain, now: SystemTime) -> Result<BTreeMap<String, String>, Error> {
        let (key, certificate) = new_root(trust_domain, now)?;
        let entries = [(CERTIFICATE, certificate.pem()), (KEY, key.serialize_pem()), (ROOTS, certificate.pem())];
        Ok(entries.map(|(name, text)| (name.to_owned(), text)).into())
    }

    /// Opens the CA of which `read` reads what lies at each name below `path`.
    fn open(
        path: &Path,
        read: impl Fn(&str) -> Result<Vec<u8>, Error>,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let certificates = |name: &str| -> Result<Chain, Error> {
            let path = path.join(name);
            let read = Pem::read(&read(name)?).map_err(|cause| damaged(&path, cause))?;
            if read.keys.is_empty() { Ok(read.certificates) } else { Err(damaged(&path, "it holds a private key")) }
        };
        let key = path.join(KEY);
        let keys = Pem::read(&read(KEY)?).map_err(|cause| damaged(&key, cause))?.keys;
        let [signing] = <[_; 1]>::try_from(keys).map_err(|_| damaged(&key, "it must hold exactly one private key"))?;

        let (own, roots) = (path.join(CERTIFICATE), path.join(ROOTS));
        let mut signs = certificates(CERTIFICATE)?.into_iter();
        let certificate = signs.next().ok_or_else(|| damaged(&own, "it holds no certificate"))?;
        let mut between: Chain = signs.collect();
        between.extend(match certificates(CHAIN) {
            Err(Error::CaFileIo { source, .. }) if source.kind() == ErrorKind::NotFound => Chain::new(),
            chain => chain?,
        });
        let described = Certificate::parse(&certificate).map_err(|cause| damaged(&own, cause))?;
        pem::check_validity(&own, &described, now)?;
        let trusted = Bundle::from_der(certificates(ROOTS)?).map_err(|error| damaged(&roots, error.to_string()))?;
        let parts = Parts { key: signing, certificate, between, roots: trusted };
        let authority = Self::from_parts(trust_domain, parts).map_err(|cause| damaged(&own, cause))?;
        authority.try_out(now).map_err(|cause| damaged(&roots, cause))?;
        Ok(authority)
    }

    /// Signs a certificate and verifies it as a peer would.
    fn try_out(&self, now: SystemTime) -> Result<(), String> {
        let identity = Identity::new(self.trust_domain.clone(), "ambit", "trial");
        let signed = csr::request(&identity).and_then(|(_, csr)| self.sign(&csr, &identity, CLOCK_SKEW, now));
        let signed = signed.map_err(|error| error.to_string())?;
        let (leaf, between) = signed.split_first().ok_or("nothing was signed")?;
        let algorithms = provider().signature_verification_algorithms.all;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (time, usage) = (UnixTime::since_unix_epoch(since), KeyUsage::server_auth());
        let verified = EndEntityCert::try_from(leaf).and_then(|leaf| {
            leaf.verify_for_usage(algorithms, self.roots.anchors(), between, time, usage, None, None).map(drop)
        });
        verified.map_err(|error| {
            format!(
                "what {CERTIFICATE} signs does not lead to a root in it by way of {CERTIFICATE} and {CHAIN}: {error}"
            )
        })
    }
}

fn damaged(path: &Path, cause: impl Into<String>) -> Error {
    Error::CaFileDamaged { path: path.to_owned(), cause: cause.into() }
}

/// Makes a CA in `path` unless one is there, alone among all who try.
fn create(path: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<(), Error> {
    let uncreated = |path: PathBuf| move |source| Error::CaFileIo { path, verb: "created", source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(uncreated(path.to_owned()))?;
    let directory = File::open(path).map_err(|source| pem::unread(path, source))?;
    // A directory that cannot be written to (a mounted secret) can still be locked.
    directory.lock().map_err(|source| pem::unread(path, source))?;
    if [KEY, CERTIFICATE].iter().any(|name| path.join(name).symlink_metadata().is_ok()) {
        return Ok(());
    }
    let (key, certificate) = new_root(trust_domain, now)?;
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    for (name, text, mode) in [(ROOTS, &certificate, 0o644), (KEY, &key, 0o600), (CERTIFICATE, &certificate, 0o644)] {
        write(path, name, text, mode).map_err(uncreated(path.join(name)))?;
    }
    directory.sync_all().map_err(uncreated(path.to_owned()))
}

/// Writes beside the name first, so that nobody ever reads half a file, and replaces nothing that was put there.
fn write(directory: &Path, name: &str, text: &str, mode: u32) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".ambit-ca-").tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(directory.join(name)).map(drop).map_err(|error| error.error)
}
