//! What a setting is made of: which Secrets and files, and what they come to together. Keeps nothing.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use ambit_discovery::secrets::{Secret, Secrets};
use ambit_identity::termination::{Clients, Proof, Shown, Terminator, Terms};
use ambit_identity::{Clock, Error};
use ambit_model::gateway::{self, Authorities, Certificate, Tls, TlsVersion};

/// What the name of the Secret ends in that has the authorities for another.
const CACERT: &str = "-cacert";

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Where a gateway looks.
pub(super) struct Place {
    /// The Secrets of its namespace.
    pub(super) secrets: Arc<Secrets>,
    pub(super) namespace: Arc<str>,
    pub(super) clock: Clock,
}

/// The names of which clients have to carry one, if `tls` is what the mesh itself speaks (mode `ISTIO_MUTUAL`).
pub(super) fn of_mesh(tls: &Tls) -> Option<&[Arc<str>]> {
    match (&tls.certificates[..], &tls.clients) {
        ([Certificate::Mesh], gateway::Clients::Proven(proof)) if beyond_the_mesh(tls, proof).is_none() => {
            Some(&proof.subject_alt_names)
        }
        _ => None,
    }
}

/// What the mesh's own certificate does not go with, of what `tls` asks.
fn beyond_the_mesh(tls: &Tls, proof: &gateway::Proof) -> Option<&'static str> {
    match proof {
        gateway::Proof { authorities, .. } if *authorities != Authorities::Mesh => Some("caCertificates"),
        gateway::Proof { revoked: Some(_), .. } => Some("caCrl"),
        gateway::Proof { spki, .. } if !spki.is_empty() => Some("verifyCertificateSpki"),
        gateway::Proof { hashes, .. } if !hashes.is_empty() => Some("verifyCertificateHash"),
        _ if tls.max < TlsVersion::V1_3 => Some("a maxProtocolVersion below TLSV1_3"),
        _ => None,
    }
}

/// The Secrets that `tls` names, one after the other, where they are there.
pub(super) fn secrets(tls: &Tls, place: &Place) -> Vec<Option<Arc<Secret>>> {
    let shown = tls.certificates.iter().filter_map(|certificate| match certificate {
        Certificate::Secret(name) => Some((name, "")),
        Certificate::Files { .. } | Certificate::Mesh => None,
    });
    let asked = match proof(&tls.clients).map(|proof| &proof.authorities) {
        Some(Authorities::WithCertificate(name)) => vec![(name, ""), (name, CACERT)],
        Some(Authorities::Secret(name)) => vec![(name, "")],
        Some(Authorities::File(_) | Authorities::Mesh) | None => Vec::new(),
    };
    let named = shown.chain(asked).filter_map(|(name, ending)| Some((local(name, &place.namespace).ok()?, ending)));
    named.map(|(name, ending)| place.secrets.get(&format!("{name}{ending}")).cloned()).collect()
}

/// The files that `tls` names, with the fields that name them.
pub(super) fn files(tls: &Tls) -> Vec<(&'static str, &str)> {
    let mut files = Vec::new();
    for certificate in &tls.certificates {
        if let Certificate::Files { certificate, key } = certificate {
            files.extend([("serverCertificate", &**certificate), ("privateKey", &**key)]);
        }
    }
    if let Some(proof) = proof(&tls.clients) {
        if let Authorities::File(path) = &proof.authorities {
            files.push(("caCertificates", path));
        }
        files.extend(proof.revoked.as_deref().map(|path| ("caCrl", path)));
    }
    files
}

/// What `tls` shows clients, by the Secrets and files that it is in.
pub(super) fn shown(tls: &Tls, namespace: &str) -> String {
    let names: Vec<String> = tls.certificates.iter().map(|certificate| name_of(certificate, namespace)).collect();
    names.join(", ")
}

fn name_of(certificate: &Certificate, namespace: &str) -> String {
    match certificate {
        Certificate::Secret(name) => local(name, namespace)
            .map_or_else(|_| format!("Secret {name}"), |name| format!("Secret {namespace}/{name}")),
        Certificate::Files { certificate, key } => format!("files {certificate} and {key}"),
        Certificate::Mesh => "the mesh's own certificate".to_owned(),
    }
}

/// How TLS is ended by what is there now.
///
/// # Errors
/// What cannot be used, and why.
pub(super) fn read(tls: &Tls, place: &Place) -> Result<Terminator, String> {
    let pairs: Vec<Pair<'_>> = tls.certificates.iter().map(|of| place.pair(of, tls)).collect::<Result<_, _>>()?;
    let vouched = proof(&tls.clients).map(|proof| place.vouched(proof)).transpose()?;
    let shown: Vec<Shown<'_>> = pairs.iter().map(Pair::shown).collect();
    let clients = match (&tls.clients, &vouched) {
        (gateway::Clients::Perhaps(proof), Some(vouched)) => Clients::Perhaps(vouched.proof(proof)),
        (gateway::Clients::Proven(proof), Some(vouched)) => Clients::Proven(vouched.proof(proof)),
        _ => Clients::Anybody,
    };
    let terms = Terms { shown: &shown, clients, min: tls.min, max: tls.max, cipher_suites: &tls.cipher_suites };
    Terminator::new(&terms, &place.clock).map_err(|error| match (&error, &vouched) {
        // The others say of what they are.
        (Error::BadBundle(_) | Error::BadRevocationList { .. }, Some(vouched)) => format!("{}: {error}", vouched.name),
        _ => error.to_string(),
    })
}

const fn proof(clients: &gateway::Clients) -> Option<&gateway::Proof> {
    match clients {
        gateway::Clients::Anybody => None,
        gateway::Clients::Perhaps(proof) | gateway::Clients::Proven(proof) => Some(proof),
    }
}

/// A certificate and its key, and where they are.
struct Pair<'a> {
    name: String,
    certificate: Cow<'a, [u8]>,
    key: Cow<'a, [u8]>,
    staple: Option<&'a [u8]>,
}

impl Pair<'_> {
    fn shown(&self) -> Shown<'_> {
        Shown { name: &self.name, certificate: &self.certificate, key: &self.key, staple: self.staple }
    }
}

/// Who may sign clients' certificates, and where that is said.
struct Vouched<'a> {
    name: String,
    authorities: Cow<'a, [u8]>,
    revoked: Option<Cow<'a, [u8]>>,
}

impl Vouched<'_> {
    /// What clients are held to, by this and what `proof` says besides.
    fn proof<'a>(&'a self, proof: &'a gateway::Proof) -> Proof<'a> {
        Proof {
            authorities: &self.authorities,
            revoked: self.revoked.as_deref(),
            names: &proof.subject_alt_names,
            spki: &proof.spki,
            hashes: &proof.hashes,
        }
    }
}

impl Place {
    fn pair(&self, of: &Certificate, tls: &Tls) -> Result<Pair<'_>, String> {
        let name = name_of(of, &self.namespace);
        match of {
            Certificate::Secret(written) => {
                let secret = self.secret(written)?;
                let found = secret.credential().map_err(|lack| format!("{name}: {lack}"))?;
                let (certificate, key) = (Cow::Borrowed(found.certificate), Cow::Borrowed(found.key));
                Ok(Pair { name, certificate, key, staple: found.staple })
            }
            Certificate::Files { certificate, key } => {
                let certificate = Cow::Owned(content("serverCertificate", certificate)?);
                Ok(Pair { name, certificate, key: Cow::Owned(content("privateKey", key)?), staple: None })
            }
            Certificate::Mesh => {
                let beyond =
                    proof(&tls.clients).map_or(Some("anybody as a client"), |proof| beyond_the_mesh(tls, proof));
                let beyond = beyond.unwrap_or("other certificates, or clients without one");
                Err(format!("the mesh's own certificate (mode ISTIO_MUTUAL) does not go with {beyond}: leave that out"))
            }
        }
    }

    fn vouched(&self, proof: &gateway::Proof) -> Result<Vouched<'_>, String> {
        let mut vouched = match &proof.authorities {
            Authorities::File(path) => {
                let authorities = Cow::Owned(content("caCertificates", path)?);
                Vouched { name: format!("caCertificates {path}"), authorities, revoked: None }
            }
            Authorities::Secret(written) => self.vouched_by(self.secret(written)?, written, "")?,
            Authorities::WithCertificate(written) => match self.found(written, CACERT) {
                Some(apart) => self.vouched_by(apart, written, CACERT)?,
                None => self.vouched_by(self.secret(written)?, written, "").map_err(or_apart)?,
            },
            Authorities::Mesh => {
                let why = "the mesh's own authorities (mode ISTIO_MUTUAL) go with the mesh's own certificate alone";
                return Err(why.to_owned());
            }
        };
        if let Some(path) = &proof.revoked {
            let mut lists = content("caCrl", path)?;
            lists.push(b'\n');
            lists.extend_from_slice(vouched.revoked.as_deref().unwrap_or_default());
            vouched.revoked = Some(Cow::Owned(lists));
        }
        Ok(vouched)
    }

    /// What `secret` says, whose name is `written` with that `ending`.
    fn vouched_by<'a>(&self, secret: &'a Secret, written: &str, ending: &str) -> Result<Vouched<'a>, String> {
        let name = format!("Secret {}/{}{ending}", self.namespace, local(written, &self.namespace)?);
        let found = secret.authorities().map_err(|lack| format!("{name}: {lack}"))?;
        let (authorities, revoked) = (Cow::Borrowed(found.certificates), found.revoked.map(Cow::Borrowed));
        Ok(Vouched { name, authorities, revoked })
    }

    /// The Secret that a Gateway calls `written`.
    fn secret(&self, written: &str) -> Result<&Secret, String> {
        let name = local(written, &self.namespace)?;
        self.found(written, "").ok_or_else(|| match self.secrets.trouble() {
            Some(trouble) => format!("Secret {}/{name} cannot be read: {trouble}", self.namespace),
            None => format!(
                "there is no Secret {}/{name} of type kubernetes.io/tls or Opaque: make it, in the gateway's own namespace",
                self.namespace
            ),
        })
    }

    /// The Secret that is called so with this `ending`, if it is there.
    fn found(&self, written: &str, ending: &str) -> Option<&Secret> {
        let name = local(written, &self.namespace).ok()?;
        self.secrets.get(&format!("{name}{ending}")).map(AsRef::as_ref)
    }
}

/// The name of a Secret of `namespace` that a Gateway calls `written`: that name, or `kubernetes://name`, or either with the
/// namespace before it.
fn local<'a>(written: &'a str, namespace: &str) -> Result<&'a str, String> {
    let name = match written.split_once("://") {
        None => written,
        Some(("kubernetes" | "kubernetes-gateway", name)) => name,
        Some((scheme, _)) => {
            return Err(format!(
                "credentialName {written}: nothing is read from {scheme}://; name a Secret of namespace {namespace}"
            ));
        }
    };
    match name.split_once('/') {
        Some((own, name)) if own == namespace => Ok(name),
        Some((other, _)) => Err(format!(
            "credentialName {written}: it is in namespace {other}, and a gateway reads Secrets of its own alone: copy it to \
             namespace {namespace}"
        )),
        None => Ok(name),
    }
}

/// `why` a Secret says of no authorities, and where else they may be.
fn or_apart(why: String) -> String {
    format!("{why}, or in a Secret of the same name and {CACERT}")
}

fn content(field: &str, path: &str) -> Result<Vec<u8>, String> {
    let unreadable = |why: &dyn std::fmt::Display| format!("{field} {path} cannot be read: {why}");
    // Whoever writes a Gateway names it: it may be anything, and have no end.
    let found = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !found.is_file() || found.len() > LARGEST {
        return Err(unreadable(&"it is no file of at most 1 MiB"));
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    file.take(LARGEST).read_to_end(&mut content).map_err(|error| unreadable(&error))?;
    Ok(content)
}
