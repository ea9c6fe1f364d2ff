//! The file that a local CA lives in: one PEM text with its key and its certificate, made once and then only read.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use ambit_model::TrustDomain;
use rcgen::KeyPair;
use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Authority, new_root};
use crate::certificate::Certificate;
use crate::clock;
use crate::error::Error;

/// A key and a certificate take about 1 KiB; what is longer than this is another file.
const LONGEST: u64 = 64 * 1024;

impl Authority {
    /// Opens the CA of the file `path`, or makes it: complete or not at all, for its owner only. Of several that make
    /// it at once, one does and all open the same CA. A file that is there is never written to.
    ///
    /// # Errors
    /// [`Error::CaFileExposed`] if group or others can access it, [`Error::CaFileDamaged`] if it is no CA,
    /// [`Error::CaFileExpired`] if it is not valid at `now`, [`Error::CaFileIo`] if it can be neither read nor made.
    pub fn open_or_create(path: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Error> {
        match File::open(path) {
            Ok(file) => return open(path, file, trust_domain, now),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(Error::CaFileIo { path: path.to_owned(), verb: "read", source }),
        }
        let (key, certificate) = new_root(trust_domain, now)?;
        create(path, &key, &certificate).map_err(|source| Error::CaFileIo {
            path: path.to_owned(),
            verb: "created",
            source,
        })?;
        let file = File::open(path);
        let file = file.map_err(|source| Error::CaFileIo { path: path.to_owned(), verb: "read", source })?;
        open(path, file, trust_domain, now)
    }
}

/// Asks the open file, not its name, for its mode: what is checked is what is read.
fn open(path: &Path, file: File, trust_domain: &TrustDomain, now: SystemTime) -> Result<Authority, Error> {
    let unreadable = |source| Error::CaFileIo { path: path.to_owned(), verb: "read", source };
    let damaged = |cause: String| Error::CaFileDamaged { path: path.to_owned(), cause };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(damaged("it is not a regular file".to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::CaFileExposed { path: path.to_owned(), mode });
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(unreadable)?;
    let (key, certificate) = parse(&text).map_err(damaged)?;
    let root = Certificate::parse(&certificate).map_err(damaged)?;
    let authority = Authority::from_parts(trust_domain, key, certificate).map_err(damaged)?;
    if !root.is_valid(now) {
        let (not_before, not_after) = (clock::rfc3339(root.not_before), clock::rfc3339(root.not_after));
        return Err(Error::CaFileExpired { path: path.to_owned(), not_before, not_after });
    }
    Ok(authority)
}

/// Exactly one private key and one certificate, in any order. Errors name what is missing, never what is there.
fn parse(text: &[u8]) -> Result<(KeyPair, CertificateDer<'static>), String> {
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|error| unreadable(&error))?;
        match kind {
            SectionKind::Certificate => certificates.push(CertificateDer::from(der)),
            SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey => {
                keys.extend(PrivateKeyDer::from_pem(kind, der));
            }
            _ => {}
        }
    }
    let (Some(key), Some(certificate), true) =
        (keys.pop(), certificates.pop(), keys.is_empty() && certificates.is_empty())
    else {
        return Err("it must hold exactly one private key and one certificate".to_owned());
    };
    let key = KeyPair::try_from(&key).map_err(|_| "its private key cannot be read".to_owned())?;
    Ok((key, certificate))
}

/// What is wrong with a PEM text, without the text: it may be part of a key.
fn unreadable(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a PEM section of it does not end".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
}

/// Writes beside `path` first and then links, so that nobody ever reads half a file and nobody's file is replaced.
/// Losing the race to another is success: that other's file is there.
fn create(path: &Path, key: &KeyPair, certificate: &rcgen::Certificate) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = tempfile::Builder::new().prefix(".ambit-ca-").tempfile_in(directory)?;
    file.write_all(key.serialize_pem().as_bytes())?;
    file.write_all(certificate.pem().as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(directory)?.sync_all(),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}
