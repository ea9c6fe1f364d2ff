//! What can go wrong with certificates, and what the operator does about it.

use std::path::PathBuf;
use std::time::Duration;

use ambit_model::{Identity, TrustDomain};

/// Why a certificate, a key or a CA could not be had or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others than its owner can read the CA file, and so sign as anyone in the mesh. If nobody has read it, run the
    /// `chmod` of the message; otherwise remove it on every node and restart, which makes a new CA.
    #[error("CA file {path} has mode {mode:04o}: others than its owner can read the CA's key; chmod 600 {path}", path = .path.display())]
    CaFileExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The CA file is not one PEM private key and one PEM CA certificate that belong together. Restore it, or remove
    /// it on every node and restart, which makes a new CA; it is never overwritten.
    #[error("CA file {path} is damaged: {cause}; restore it, or remove it to have a new CA made", path = .path.display())]
    CaFileDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The CA's certificate is outside its validity. Check the clock; else remove the file on every node and restart,
    /// which makes a new CA; it is never overwritten.
    #[error("CA file {path} is valid from {not_before} to {not_after} only; check the clock, or remove it to have a new CA made", path = .path.display())]
    CaFileExpired {
        /// The file.
        path: PathBuf,
        /// Start of its validity, as RFC 3339.
        not_before: String,
        /// End of its validity, as RFC 3339.
        not_after: String,
    },
    /// The CA file cannot be read or created: correct the path, its owner or the file system.
    #[error("CA file {path} cannot be {verb}: {source}", path = .path.display())]
    CaFileIo {
        /// The file.
        path: PathBuf,
        /// `read` or `created`.
        verb: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The directory for keys and certificates cannot be read or made: correct the path or its permissions.
    #[error("the directory {path} for certificates that are kept cannot be used: {source}", path = .path.display())]
    KeptIo {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Keys were to be kept where they could come to lie on a disk: name a directory of a tmpfs, in Kubernetes an `emptyDir`
    /// of medium `Memory`.
    #[error("the directory {path} is not in memory: keys are kept on a tmpfs only; mount one there, or name another", path = .path.display())]
    KeptOnDisk {
        /// The directory.
        path: PathBuf,
    },
    /// A root bundle holds no certificate, or one that cannot be read: correct the bundle.
    #[error("the root bundle cannot be used: {0}")]
    BadBundle(String),
    /// The file of revocation lists holds what is no list, or one that cannot be honoured: correct it; until then what
    /// was revoked before stays so.
    #[error("certificate revocation list {index} cannot be used: {cause}")]
    BadRevocationList {
        /// Which of the text's lists, from 1.
        index: usize,
        /// What is wrong with it.
        cause: String,
    },
    /// A name that a server is to prove is none: correct it to a DNS name, an address or a URI.
    #[error("{0:?} is no DNS name, address or URI that a certificate could carry")]
    BadServerName(String),
    /// The certificate that a server is to be shown, or its key, cannot be read, or they do not belong together: correct the
    /// files.
    #[error("the client certificate cannot be used: {0}")]
    BadClientCertificate(String),
    /// What a gateway is to show its clients holds no certificate, or one that cannot be read: correct the Secret or the file.
    #[error(
        "{name}: its certificate cannot be used: {cause}; put there a certificate in PEM, with what leads to its root"
    )]
    BadServerCertificate {
        /// Where it is.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The key of a certificate that a gateway is to show cannot be read: correct the Secret or the file.
    #[error("{name}: its private key cannot be used: {cause}; put there a key in PEM, of PKCS #8, PKCS #1 or SEC 1")]
    BadPrivateKey {
        /// Where it is.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The key is not that of the certificate that a gateway is to show: replace both, at once.
    #[error("{name}: its private key does not fit its certificate ({certificate}): replace both, together")]
    KeyMismatch {
        /// Where they are.
        name: String,
        /// What the certificate says of itself.
        certificate: String,
    },
    /// The certificate that a gateway is to show is outside its validity: renew it, or correct the clock.
    #[error("{name}: its certificate is valid from {not_before} to {not_after} only: renew it, or check the clock")]
    OutsideValidity {
        /// Where it is.
        name: String,
        /// Start of its validity, as RFC 3339.
        not_before: String,
        /// End of its validity, as RFC 3339.
        not_after: String,
    },
    /// Someone asked the CA to certify what is not a certificate signing request with a valid signature.
    #[error("the certificate signing request cannot be used: {0}")]
    BadRequest(String),
    /// The CA was asked to vouch for an identity of another trust domain: the trust domain of the workload's mesh
    /// and of the CA must be the same setting.
    #[error("this CA vouches for trust domain {trust_domain}, not for {identity}")]
    ForeignIdentity {
        /// The identity that was to be certified.
        identity: Identity,
        /// The CA's own trust domain.
        trust_domain: TrustDomain,
    },
    /// The CA could not be reached or refused to sign; retried with backoff. Its log says why.
    #[error("the CA did not certify {identity}: {cause}")]
    Refused {
        /// The identity that was to be certified.
        identity: Identity,
        /// What the CA, or the way to it, answered.
        cause: String,
    },
    /// The CA did not answer in time; retried with backoff. Check that it runs and can be reached.
    #[error("the CA did not answer the request for {identity} within {} s", .limit.as_secs())]
    TimedOut {
        /// The identity that was to be certified.
        identity: Identity,
        /// How long was waited.
        limit: Duration,
    },
    /// The CA answered with a certificate that cannot be used: it names another identity or key, or is not valid now.
    /// Check the CA's configuration and both clocks.
    #[error("the certificate obtained for {identity} cannot be used: {cause}")]
    BadChain {
        /// The identity that was to be certified.
        identity: Identity,
        /// What is wrong with it.
        cause: String,
    },
    /// The last request failed and the next is not due yet; heals by itself once the CA answers.
    #[error("no certificate for {identity} after {failures} failed requests, next in {} s: {cause}", .wait.as_secs())]
    BackingOff {
        /// The identity.
        identity: Identity,
        /// Requests that failed in a row.
        failures: u32,
        /// Until the next request.
        wait: Duration,
        /// Why the last one failed.
        cause: String,
    },
    /// No certificate was asked for, or none has arrived yet; heals by itself once the CA answers.
    #[error("there is no certificate for {0}")]
    NoCertificate(Identity),
    /// The certificate ran out before the CA gave another; heals by itself once the CA answers.
    #[error("the certificate of {0} has expired and could not be renewed")]
    Expired(Identity),
    /// The cryptographic library refused a key or setting: a defect, please report it.
    #[error("cryptography: {0}")]
    Crypto(String),
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}
