//! The file that a local CA lives in: one PEM text with its key and its certificate, made once and then only read.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

use ambit_model::TrustDomain;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use super::pem::{self, Pem};
use super::{Authority, new_root};
use crate::certificate::Certificate;
use crate::error::Error;

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

fn open(path: &Path, file: File, trust_domain: &TrustDomain, now: SystemTime) -> Result<Authority, Error> {
    let damaged = |cause: String| Error::CaFileDamaged { path: path.to_owned(), cause };
    let text = pem::read_private(path, file)?;
    let (key, certificate) = parse(&text).map_err(damaged)?;
    let root = Certificate::parse(&certificate).map_err(damaged)?;
    let authority = Authority::of_root(trust_domain, key, certificate).map_err(damaged)?;
    pem::check_validity(path, &root, now)?;
    Ok(authority)
}

/// Exactly one private key and one certificate, in any order.
fn parse(text: &[u8]) -> Result<(KeyPair, CertificateDer<'static>), String> {
    let Pem { keys, certificates } = Pem::read(text)?;
    match (<[_; 1]>::try_from(keys), <[_; 1]>::try_from(certificates)) {
        (Ok([key]), Ok([certificate])) => Ok((key, certificate)),
        _ => Err("it must hold exactly one private key and one certificate".to_owned()),
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
