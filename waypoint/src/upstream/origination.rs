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
pub(crate) struct Originators(Mutex<HashMap<Arc<ClientTls>, Arc<Known>>>);

/// A setting.
#[derive(Default)]
struct Known {
    /// What it came to when its files were last looked at. Locked for a moment only.
    seen: Mutex<Option<Seen>>,
    /// The files. Locked by who looks at them, which others wait for.
    files: Mutex<Option<Files>>,
}

struct Seen {
    at: Instant,
    outcome: Result<Arc<Originator>, Failure>,
}

impl Originators {
    /// The end that dials as `settings` say.
    ///
    /// # Errors
    /// The files cannot be used, and never could.
    pub(crate) async fn of(&self, settings: &Arc<ClientTls>) -> Result<Arc<Originator>, Failure> {
        let known = self.known(settings);
        if let Some(outcome) = known.fresh() {
            return outcome;
        }
        let settings = settings.clone();
        // Reading may take its time, and no other connection is to wait for it.
        let looked = tokio::task::spawn_blocking(move || known.look(&settings)).await;
        looked.unwrap_or_else(|error| Err(Failure::new(Reason::Internal, error.to_string())))
    }

    fn known(&self, settings: &Arc<ClientTls>) -> Arc<Known> {
        let mut all = lock(&self.0);
        if let Some(known) = all.get(settings) {
            return known.clone();
        }
        all.retain(|_, known| lock(&known.seen).as_ref().is_none_or(|seen| seen.at.elapsed() < KEPT));
        all.entry(settings.clone()).or_default().clone()
    }
}

impl Known {
    /// What it came to, if that was a moment ago.
    fn fresh(&self) -> Option<Result<Arc<Originator>, Failure>> {
        lock(&self.seen).as_ref().filter(|seen| seen.at.elapsed() < FRESH).map(|seen| seen.outcome.clone())
    }

    /// Looks at the files, unless somebody else just has.
    fn look(&self, settings: &ClientTls) -> Result<Arc<Originator>, Failure> {
        let mut files = lock(&self.files);
        if let Some(outcome) = self.fresh() {
            return outcome;
        }
        let before = lock(&self.seen).as_ref().map(|seen| seen.outcome.clone());
        let changed = match files.as_mut() {
            Some(files) => files.look(),
            None => {
                *files = Some(Files::new(paths(settings).map(|(_, path)| Path::new(path))));
                true
            }
        };
        let outcome = match before {
            Some(before) if !changed => before,
            before => later(before, read(settings).map(Arc::new)),
        };
        *lock(&self.seen) = Some(Seen { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }
}

/// What holds when what held `before` is to be `now`: what cannot be used changes nothing.
fn later(
    before: Option<Result<Arc<Originator>, Failure>>,
    now: Result<Arc<Originator>, Failure>,
) -> Result<Arc<Originator>, Failure> {
    match (before, now) {
        (Some(Ok(before)), Err(why)) => {
            tracing::warn!("TLS towards applications goes on with what its files said before: {why}");
            Ok(before)
        }
        (_, now) => now,
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
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
