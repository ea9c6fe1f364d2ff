//! A cluster's certificates: one authority, and what it signs for components and users.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";

/// The authority of a cluster, and the directory that its certificates are in.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    directory: PathBuf,
}

/// Whom a certificate is for, as Kubernetes reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The user: the common name.
    pub(crate) user: &'a str,
    /// The user's group: the organization.
    pub(crate) group: Option<&'a str>,
    /// The names that it may serve under.
    pub(crate) names: &'a [&'a str],
    /// The addresses that it may serve at.
    pub(crate) addresses: &'a [IpAddr],
}

/// A certificate and its key, in memory and in files.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    /// The certificate, PEM.
    pub(crate) certificate: String,
    /// Its key, PEM.
    pub(crate) key: String,
    /// The file of the certificate.
    pub(crate) certificate_file: PathBuf,
    /// The file of the key.
    pub(crate) key_file: PathBuf,
}

impl<'a> Subject<'a> {
    /// A user of this name, who serves nothing.
    pub(crate) const fn user(user: &'a str) -> Self {
        Self { user, group: None, names: &[], addresses: &[] }
    }

    /// The same as a member of `group`.
    pub(crate) const fn of(self, group: &'a str) -> Self {
        Self { group: Some(group), ..self }
    }

    /// The same, who serves under `names` and at `addresses`.
    pub(crate) const fn serving(self, names: &'a [&'a str], addresses: &'a [IpAddr]) -> Self {
        Self { names, addresses, ..self }
    }
}

impl Authority {
    /// The authority whose certificates are in `directory`: the one that is there already, or a new one.
    pub(crate) fn of(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
        if !key.exists() {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "ambit tests");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
            write(&certificate, &issuer.pem())?;
            write(&key, &issuer.key().serialize_pem())?;
        }
        let (certificate, key) = (read(&certificate)?, KeyPair::from_pem(&read(&key)?)?);
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Self { issuer, certificate, directory: directory.to_owned() })
    }

    /// Its own certificate, PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The file `name` of its directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Signs a certificate for `subject` and writes it to `<name>.crt` and `<name>.key`.
    pub(crate) fn issue(&self, name: &str, subject: Subject<'_>) -> anyhow::Result<Credential> {
        let names: Vec<_> = subject.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.subject_alt_names.extend(subject.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject.user);
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        Ok(Credential {
            certificate_file: self.write(&format!("{name}.crt"), &certificate)?,
            key_file: self.write(&format!("{name}.key"), &key)?,
            certificate,
            key,
        })
    }

    /// A key pair that nothing is certified of, the one that is there already or a new one: `<name>.key` and `<name>.pub`.
    pub(crate) fn key_pair(&self, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
        let (private, public) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.pub")));
        if !private.exists() {
            let key = KeyPair::generate()?;
            write(&private, &key.serialize_pem())?;
            write(&public, &key.public_key_pem())?;
        }
        Ok((private, public))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.file(name);
        write(&path, text)?;
        Ok(path)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.with_context(|| format!("{}", path.display()))
}
