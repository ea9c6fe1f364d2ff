//! The validating webhook: whatever an API server is asked to keep of the mesh's kinds is looked at by the validation that the
//! mesh itself has, and refused with the field's path if the mesh could not use it.
//!
//! | module | what it does |
//! |---|---|
//! | `review` | what is answered to an AdmissionReview (pure) |
//! | `tally` | how often |
//! | `configuration` | keeps the API server's end of it right: whom to ask, and what if nobody answers |

pub(crate) mod configuration;
mod review;
mod tally;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_identity::channel;
use ambit_model::Mesh;
use ambit_process::drain::Drain;
use ambit_process::http_server::{Limits, serve_stream};
use ambit_process::routes::{Routes, text, typed};
use anyhow::Context;
use http::{HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tracing::debug;

use crate::listener;

pub(crate) use self::tally::Tally;

/// API servers, and whoever else asks.
const CLIENTS: usize = 32;
/// What one of them may cost. An object has 1.5 MiB at the most, and comes as it was and as it is to be; API servers keep idle
/// connections for 90 seconds, and it is theirs to end them.
const LIMITS: Limits = Limits {
    connections: CLIENTS,
    patience: Duration::from_secs(120),
    body: 4 << 20,
    life: Duration::from_secs(24 * 3600),
};

/// Answers AdmissionReviews at `address` for `mesh`, as who goes by the certificate of `tls`, counting them in `tally`.
///
/// # Errors
/// Where the address cannot be had.
pub(crate) async fn serve(
    address: SocketAddr,
    tls: &channel::Server,
    mesh: Mesh,
    tally: Arc<Tally>,
    drain: Drain,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("the webhook cannot be had at {address}"))?;
    // API servers ask by HTTP/1.1 alone, so that several of those who answer have their share each.
    let tls = tls.speaking(&["http/1.1"]);
    let mesh = Rc::new(mesh);
    let routes = Routes::new("admission").post("/validate", "reviews an object (AdmissionReview v1)", move |request| {
        let answer = match review::answer(request.body(), &mesh) {
            Ok(answer) => {
                debug!(verdict = ?answer.verdict, "reviewed");
                tally.note(answer.verdict);
                let json = HeaderValue::from_static("application/json");
                typed(StatusCode::OK, json, answer.response.to_string())
            }
            Err(cause) => text(StatusCode::BAD_REQUEST, format!("{cause}\n")),
        };
        std::future::ready(answer)
    });
    let routes = Rc::new(routes);
    let serving = listener::accept(listener, tls, CLIENTS, drain, move |stream, drain: Drain| {
        let routes = routes.clone();
        async move {
            serve_stream(stream, routes, LIMITS, async move { drain.graceful().await }).await;
            Ok::<_, Infallible>(())
        }
    });
    tokio::task::spawn_local(serving);
    Ok(())
}
