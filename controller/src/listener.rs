//! Takes TLS connections until the process stops: how many at once, and how long a handshake may take. What is served on them
//! is handed in.

use std::convert::Infallible;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_identity::channel::{self, Accepted};
use ambit_process::drain::Drain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Serves whoever comes to `listener`, `clients` at once (more wait in the kernel's queue), by `serve`.
pub(crate) async fn accept<S, F, E>(
    listener: TcpListener,
    tls: channel::Server,
    clients: usize,
    drain: Drain,
    serve: S,
) -> Infallible
where
    S: Fn(Accepted<TcpStream>, Drain) -> F + 'static,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let (places, serve) = (Arc::new(Semaphore::new(clients)), Rc::new(serve));
    loop {
        // The semaphore is never closed.
        let place = places.clone().acquire_owned().await.ok();
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files or memory: the next attempt would fail at once as well.
                warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, serve, drain) = (tls.clone(), serve.clone(), drain.clone());
        tokio::task::spawn_local(async move {
            let (_place, guard) = (place, drain.guard());
            match tls.accept(stream, HANDSHAKE).await {
                Ok(stream) => {
                    if let Err(error) = serve(stream, drain).await {
                        debug!(%peer, "a client went away: {error}");
                    }
                }
                Err(failure) => debug!(%peer, "no handshake: {failure}"),
            }
            drop(guard);
        });
    }
}
