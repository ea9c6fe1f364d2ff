//! TLS towards applications: what DestinationRules say of it as handshakes need it. Files that they name are read when a
//! handshake first needs them, and again when they have changed; what cannot be used then changes nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ambit_identity::Clock;
use ambit_identity::origination::{Originator, Terms};
use ambit_model::Reason;
use ambit_model::destination::{ClientTls, Credentials};
use ambit_process::files::Files;
use ambit_transport::Failure;

/// For how long files count as unchanged.
const FRESH: Duration = Duration::from_secs(1);

/// For how long settings are remembered that no handshake asks for.
const KEPT: Duration = Duration::from_secs(600);

/// TLS that is begun towards an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origination {
    /// How.
    pub(crate) settings: Arc<ClientTls>,
    /// The name that the server is asked for.
    pub(crate) name: Arc<str>,
}

impl Origination {
    /// As `settings` say, of the server that goes by `authority` (with a port or without) unless they name it.
    pub(crate) fn new(settings: &Arc<ClientTls>, authority: &str) -> Self {
        let name = settings.sni.clone().unwrap_or_else(|| Arc::from(host_of(authority)));
        Self { settings: settings.clone(), name }
    }
}

/// An authority without its port, and an address without its brackets.
fn host_of(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// What every setting came to. One for all workers.
#[derive(Default)]
pub(crate) struct Originators(Mutex<HashMap<Arc<ClientTls>, Known>>);

/// What a setting came to when its files were last looked at.
struct Known {
    files: Files,
    looked: Instant,
    outcome: Result<Originator, Failure>,
}

impl Originators {
    /// The end that dials as `settings` say.
    ///
    /// # Errors
    /// The files cannot be used, and never could.
    pub(crate) async fn of(self: &Arc<Self>, settings: &Arc<ClientTls>) -> Result<Originator, Failure> {
        if let Some(known) = self.lock().get(settings).filter(|known| known.looked.elapsed() < FRESH) {
            return known.outcome.clone();
        }
        let (originators, settings) = (self.clone(), settings.clone());
        // Reading may take its time, and no other connection is to wait for it.
        let looked = tokio::task::spawn_blocking(move || originators.look(&settings)).await;
        looked.unwrap_or_else(|error| Err(Failure::new(Reason::Internal, error.to_string())))
    }

    fn look(&self, settings: &Arc<ClientTls>) -> Result<Originator, Failure> {
        let before = self.lock().remove(settings);
        let known = match before {
            Some(mut known) => {
                if known.files.look() {
                    known.take_up(read(settings));
                }
                Known { looked: Instant::now(), ..known }
            }
            None => {
                let files = Files::new(paths(settings).map(|(_, path)| Path::new(path)));
                Known { files, looked: Instant::now(), outcome: read(settings) }
            }
        };
        let outcome = known.outcome.clone();
        let mut all = self.lock();
        all.retain(|_, known| known.looked.elapsed() < KEPT);
        all.insert(settings.clone(), known);
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<ClientTls>, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Files have come to say this.
    fn take_up(&mut self, outcome: Result<Originator, Failure>) {
        match outcome {
            Err(why) if self.outcome.is_ok() => {
                tracing::warn!("TLS towards applications goes on with what its files said before: {why}");
            }
            outcome => self.outcome = outcome,
        }
    }
}

/// The fields of a DestinationRule that name files.
fn paths(settings: &ClientTls) -> impl Iterator<Item = (&'static str, &str)> {
    let files = match &settings.credentials {
        Credentials::Files { client, authorities, revoked } => {
            let (certificate, key) = client.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
            [
                ("clientCertificate", certificate),
                ("privateKey", key),
                ("caCertificates", authorities.as_ref()),
                ("caCrl", revoked.as_ref()),
            ]
        }
        Credentials::System | Credentials::Secret(_) => [("", None); 4],
    };
    files.into_iter().filter_map(|(field, path)| path.map(|path| (field, &**path)))
}

fn read(settings: &ClientTls) -> Result<Originator, Failure> {
    if let Credentials::Secret(name) = &settings.credentials {
        let detail = format!("credentialName {name}: this version reads no Secrets; name files");
        return Err(Failure::new(Reason::TlsFailure, detail));
    }
    let mut contents = HashMap::new();
    for (field, path) in paths(settings) {
        let content = std::fs::read(path)
            .map_err(|error| Failure::new(Reason::TlsFailure, format!("{field} {path} cannot be read: {error}")))?;
        contents.insert(field, content);
    }
    let content = |field| contents.get(field).map(Vec::as_slice);
    let terms = Terms {
        authorities: content("caCertificates"),
        revoked: content("caCrl"),
        client: content("clientCertificate").zip(content("privateKey")),
        names: &settings.subject_alt_names,
        skip_verify: settings.skip_verify,
    };
    Originator::new(&terms, &Clock::system()).map_err(|error| Failure::new(Reason::TlsFailure, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_for_by_its_name_without_a_port_or_by_the_name_that_is_given() {
        let plain = Arc::new(ClientTls::default());
        let hosts = [
            ("ratings:9080", "ratings"),
            ("ratings", "ratings"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[fd00::1]:80", "fd00::1"),
            ("[fd00::1]", "fd00::1"),
        ];
        for (authority, expected) in hosts {
            assert_eq!(&*Origination::new(&plain, authority).name, expected, "{authority}");
        }
        let given = Arc::new(ClientTls { sni: Some(Arc::from("given.example")), ..ClientTls::default() });
        assert_eq!(&*Origination::new(&given, "ratings:9080").name, "given.example");
    }
}
