//! Keys and certificates as they lie in files: PEM, bounded, and a key readable by its owner alone.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use rcgen::KeyPair;
use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::Certificate;
use crate::clock;
use crate::error::Error;

/// A key and a certificate take about 1 KiB; what is longer than this is another file.
const LONGEST: u64 = 64 * 1024;

/// What a PEM text holds.
pub(super) struct Pem {
    pub(super) keys: Vec<KeyPair>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Pem {
    /// Reads private keys and certificates, in any order. Errors name what is missing, never what is there.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let (mut keys, mut certificates) = (Vec::new(), Vec::new());
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let (kind, der) = section.map_err(|error| unreadable(&error))?;
            match kind {
                SectionKind::Certificate => certificates.push(CertificateDer::from(der)),
                SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey => {
                    let key = PrivateKeyDer::from_pem(kind, der);
                    let key = key.and_then(|key| KeyPair::try_from(&key).ok());
                    keys.push(key.ok_or("its private key cannot be read")?);
                }
                _ => {}
            }
        }
        Ok(Self { keys, certificates })
    }
}

/// What is wrong with a PEM text, without the text: it may be part of a key.
fn unreadable(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a PEM section of it does not end".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
}

/// Reads the file that a key lies in. Asks the open file, not its name, for its mode: what is checked is what is read.
pub(super) fn read_private(path: &Path, file: File) -> Result<Vec<u8>, Error> {
    let metadata = file.metadata().map_err(|source| unread(path, source))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(Error::CaFileExposed { path: path.to_owned(), mode });
    }
    read(path, file)
}

/// Reads a file of certificates.
pub(super) fn read(path: &Path, file: File) -> Result<Vec<u8>, Error> {
    let metadata = file.metadata().map_err(|source| unread(path, source))?;
    if !metadata.is_file() {
        return Err(Error::CaFileDamaged { path: path.to_owned(), cause: "it is not a regular file".to_owned() });
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(|source| unread(path, source))?;
    Ok(text)
}

pub(super) fn unread(path: &Path, source: std::io::Error) -> Error {
    Error::CaFileIo { path: path.to_owned(), verb: "read", source }
}

/// Whether `certificate`, of the file `path`, is valid `now`.
pub(super) fn check_validity(path: &Path, certificate: &Certificate, now: SystemTime) -> Result<(), Error> {
    if certificate.is_valid(now) {
        return Ok(());
    }
    let (not_before, not_after) = (clock::rfc3339(certificate.not_before), clock::rfc3339(certificate.not_after));
    Err(Error::CaFileExpired { path: path.to_owned(), not_before, not_after })
}
