//! A Kubernetes API of our own, as far as watching needs one: lists by pages, watches with bookmarks, compaction, and
//! whatever goes wrong with such an API, as a test scripts it.

mod answer;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use answer::Fault;
pub(crate) use state::State;

/// An API that runs, or that can again.
pub(crate) struct Api {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Option<JoinSet<()>>,
}

/// What serving shares with scripting.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Changes with every version.
    versions: watch::Sender<u64>,
    /// Changes with every request.
    asked: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn asked(&self) -> watch::Receiver<()> {
        self.asked.subscribe()
    }

    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }
}

impl Api {
    /// An API without an object, that serves every kind in its current version.
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new()),
            versions: watch::channel(0).0,
            asked: watch::channel(()).0,
        });
        let mut api = Self { shared, address: SocketAddr::from(([127, 0, 0, 1], 0)), serving: None };
        api.resume().await;
        api
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers nobody any more, and cuts every connection.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            serving.shutdown().await;
        }
    }

    /// Answers again, where it did before.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let shared = self.shared.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(connection(TokioIo::new(stream), shared.clone()));
            }
        });
        self.serving = Some(serving);
    }

    /// Reads or changes what it has.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.shared.state());
        self.shared.versions.send_modify(|version| *version += 1);
        changed
    }

    /// Creates or replaces an object of `resource`, such as `v1/pods`.
    pub(crate) fn put(&self, resource: &str, object: Value) {
        self.with(|state| state.put(resource, object));
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, resource: &str, namespace: &str, name: &str) {
        self.with(|state| state.delete(resource, namespace, name));
    }

    /// What was asked for so far, as path and query.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// Every request from now on may go wrong as `fault` says.
    pub(crate) fn fail(&self, fault: impl FnMut(&str) -> Option<Fault> + Send + 'static) {
        self.with(|state| state.fault = Box::new(fault));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.fail(|_| None);
    }

    /// Cuts every watch, as a restart does.
    pub(crate) fn cut_watches(&self) {
        self.with(|state| state.cuts += 1);
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}

/// Serves one connection until it ends.
pub(crate) async fn connection<S>(stream: S, shared: Arc<Shared>)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer::answer(request, shared.clone()));
    // Cutting a connection in the midst is what some tests are about.
    drop(http1::Builder::new().serve_connection(stream, service).await);
}
