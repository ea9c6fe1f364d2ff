//! What a gateway shows its TLS clients, and holds them to: what Gateways say of it (`tls`) as handshakes need it. Secrets and
//! files that they name are looked at again when they have changed; what cannot be used then changes nothing, and is told.

mod material;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ambit_discovery::Published;
use ambit_discovery::secrets::{Secret, Secrets};
use ambit_identity::{Clock, Error, Terminator};
use ambit_model::gateway::Tls;
use ambit_process::files::Files;
use tokio::time::sleep;
use tracing::{info, warn};

use material::Place;

/// For how long files count as unchanged, and what could not be used as being so still.
const FRESH: Duration = Duration::from_secs(1);

/// How TLS is ended by the gateway's own certificate of the mesh, for clients of these names, or all if there are none.
type Mesh = Box<dyn Fn(&[Arc<str>]) -> Result<Terminator, Error> + Send + Sync>;

/// What every setting came to. One for all workers.
pub(crate) struct Credentials {
    secrets: Published<Secrets>,
    namespace: Arc<str>,
    mesh: Mesh,
    clock: Clock,
    known: Mutex<HashMap<Arc<Tls>, Arc<Known>>>,
}

/// What a setting came to: a way to end TLS, or why there is none.
type Outcome = Result<Arc<Terminator>, Arc<str>>;

/// A setting.
#[derive(Default)]
struct Known {
    /// What it came to when what it is made of was last looked at. Locked for a moment only.
    seen: Mutex<Option<Seen>>,
    /// The files. Locked by who looks at them, which others wait for.
    files: Mutex<Option<Files>>,
}

#[derive(Clone)]
struct Seen {
    at: Instant,
    /// The Secrets that it is made of, where they are there.
    secrets: Vec<Option<Arc<Secret>>>,
    /// It is made of files as well, of which nobody says that they have changed.
    has_files: bool,
    in_force: Option<Arc<Terminator>>,
    /// Why what there is now cannot be used.
    fault: Option<Arc<str>>,
}

impl Credentials {
    /// Those of a gateway in `namespace`, whose Secrets are `secrets`; `mesh` says how TLS is ended by its own certificate.
    pub(crate) fn new(
        secrets: Published<Secrets>,
        namespace: &str,
        mesh: impl Fn(&[Arc<str>]) -> Result<Terminator, Error> + Send + Sync + 'static,
        clock: Clock,
    ) -> Self {
        Self { secrets, namespace: Arc::from(namespace), mesh: Box::new(mesh), clock, known: Mutex::default() }
    }

    /// How TLS is ended as `tls` says.
    ///
    /// # Errors
    /// What it is made of cannot be used, and never could; why.
    pub(crate) async fn terminator(&self, tls: &Arc<Tls>) -> Outcome {
        if let Some(names) = material::of_mesh(tls) {
            return (self.mesh)(names).map(Arc::new).map_err(|error| Arc::from(error.to_string()));
        }
        let (known, secrets) = (self.known(tls), self.secrets.load());
        let place = Place { secrets, namespace: self.namespace.clone(), clock: self.clock.clone() };
        if let Some(outcome) = known.fresh(tls, &place) {
            return outcome;
        }
        if !self.secrets.is_synced() && !material::secrets(tls, &place).is_empty() {
            return Err(Arc::from(format!("the Secrets of namespace {} are not known yet", self.namespace)));
        }
        let tls = tls.clone();
        // Reading may take its time, and no other connection is to wait for it.
        let looked = tokio::task::spawn_blocking(move || known.look(&tls, &place)).await;
        looked.unwrap_or_else(|error| Err(Arc::from(error.to_string())))
    }

    /// Resolves when the Secrets are known, or it is known that they cannot be.
    pub(crate) async fn known_once(&self) {
        // None only where nobody will ever tell.
        let _ = self.secrets.clone().changed().await;
    }

    /// What cannot be used, and why, ascending: the Secrets or files of a certificate, and the fault that they have now.
    pub(crate) fn faults(&self) -> Vec<(String, Arc<str>)> {
        let known = lock(&self.known);
        let fault = |known: &Known| lock(&known.seen).as_ref()?.fault.clone();
        let faults =
            known.iter().filter_map(|(tls, known)| Some((material::shown(tls, &self.namespace), fault(known)?)));
        faults.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Looks at everything that is `served` now and then, and soon after a Secret has changed, so that what is wrong is known
    /// before a client comes; and forgets what is served no more. Never ends.
    pub(crate) async fn follow(&self, served: impl Fn() -> Vec<Arc<Tls>>) {
        let mut secrets = self.secrets.clone();
        let mut is_followed = true;
        loop {
            let served = served();
            lock(&self.known).retain(|known, _| served.contains(known));
            for tls in &served {
                // Whoever needs it is told, and so is the log.
                let _ = self.terminator(tls).await;
            }
            tokio::select! {
                changed = secrets.changed(), if is_followed => is_followed = changed.is_some(),
                () = sleep(FRESH) => {}
            }
        }
    }

    fn known(&self, tls: &Arc<Tls>) -> Arc<Known> {
        lock(&self.known).entry(tls.clone()).or_default().clone()
    }
}

impl Known {
    /// What it came to, if that cannot be anything else by now.
    fn fresh(&self, tls: &Tls, place: &Place) -> Option<Outcome> {
        let seen = lock(&self.seen);
        let fresh = |seen: &&Seen| seen.at.elapsed() < FRESH || (!seen.has_files && seen.is_sound(&place.clock));
        let seen = seen.as_ref().filter(|seen| fresh(seen) && seen.is_made_of(&material::secrets(tls, place)));
        seen.map(Seen::outcome)
    }

    /// Looks at what it is made of, unless somebody else just has.
    fn look(&self, tls: &Tls, place: &Place) -> Outcome {
        let mut files = lock(&self.files);
        if let Some(outcome) = self.fresh(tls, place) {
            return outcome;
        }
        let changed = match files.as_mut() {
            Some(files) => files.look(),
            None => {
                *files = Some(Files::new(material::files(tls).into_iter().map(|(_, path)| Path::new(path))));
                true
            }
        };
        let (secrets, has_files) = (material::secrets(tls, place), !material::files(tls).is_empty());
        let before = lock(&self.seen).clone();
        let at = Instant::now();
        let seen = match before {
            Some(before) if !changed && before.is_made_of(&secrets) && before.is_sound(&place.clock) => {
                Seen { at, ..before }
            }
            before => {
                let (in_force, fault) = before.map_or((None, None), |before| (before.in_force, before.fault));
                let (in_force, fault) = later((in_force, fault), material::read(tls, place));
                Seen { at, secrets, has_files, in_force, fault }
            }
        };
        let outcome = seen.outcome();
        *lock(&self.seen) = Some(seen);
        outcome
    }
}

impl Seen {
    fn outcome(&self) -> Outcome {
        self.in_force.clone().ok_or_else(|| self.fault.clone().unwrap_or_else(|| Arc::from("it is not known yet")))
    }

    fn is_made_of(&self, secrets: &[Option<Arc<Secret>>]) -> bool {
        let same = |(one, other): (&Option<Arc<Secret>>, &Option<Arc<Secret>>)| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.secrets.len() == secrets.len() && self.secrets.iter().zip(secrets).all(same)
    }

    /// Nothing is wrong with it, nor has it run out since.
    fn is_sound(&self, clock: &Clock) -> bool {
        let until = self.in_force.as_ref().and_then(|terminator| terminator.valid_until());
        self.fault.is_none() && until.is_none_or(|until| clock.now() <= until)
    }
}

/// What is in force, and what is wrong, when that was `before` and what there is comes to `now`: what cannot be used changes
/// nothing.
fn later(
    before: (Option<Arc<Terminator>>, Option<Arc<str>>),
    now: Result<Terminator, String>,
) -> (Option<Arc<Terminator>>, Option<Arc<str>>) {
    let (in_force, fault) = before;
    match now {
        Ok(terminator) => {
            if let Some(fault) = fault {
                info!("resolved: {fault}");
            }
            (Some(Arc::new(terminator)), None)
        }
        Err(why) if fault.as_deref() == Some(why.as_str()) => (in_force, fault),
        Err(why) => {
            let until_then = match in_force {
                Some(_) => "TLS clients are shown what was there before",
                None => "TLS clients are refused",
            };
            warn!("{why}; until then {until_then}");
            (in_force, Some(Arc::from(why)))
        }
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
