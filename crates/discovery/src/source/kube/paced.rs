//! Keeps the watches of a kind apart: kube's watcher begins the next one at once when one ends in order, so that an API, or a
//! proxy before it, that ends every watch as it begins would be asked without a pause.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use tokio::time::{Instant, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// Lets a watch of a kind begin no sooner than so long after the one before.
#[derive(Clone, Debug)]
pub(super) struct Pacing {
    least: Duration,
    /// When the last watch began, or will, by path.
    begun: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Pacing {
    pub(super) fn new(least: Duration) -> Self {
        Self { least, begun: Arc::default() }
    }

    /// When a request for `target` may be made, asked `now`.
    fn earliest(&self, path: &str, query: Option<&str>, now: Instant) -> Instant {
        let watches = query.is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        if !watches {
            return now;
        }
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = begun.get(path).map_or(now, |last| now.max(*last + self.least));
        begun.insert(path.to_owned(), earliest);
        earliest
    }
}

impl<S> Layer<S> for Pacing {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { pacing: self.clone(), inner }
    }
}

/// A client that keeps watches apart.
#[derive(Debug)]
pub(super) struct Paced<S> {
    pacing: Pacing,
    inner: S,
}

impl<S, B> Service<Request<B>> for Paced<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (path, query) = (request.uri().path(), request.uri().query());
        let earliest = self.pacing.earliest(path, query, Instant::now());
        // Nothing is sent before the answer is waited for.
        let answer = self.inner.call(request);
        Box::pin(async move {
            sleep_until(earliest).await;
            answer.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_of_one_path_are_kept_apart_and_nothing_else_waits() {
        let (pacing, now) = (Pacing::new(Duration::from_secs(1)), Instant::now());
        let watch = Some("&watch=true&resourceVersion=7");
        let waits = |path, query, now| pacing.earliest(path, query, now).saturating_duration_since(now).as_millis();
        assert_eq!(waits("/api/v1/pods", watch, now), 0);
        assert_eq!(waits("/api/v1/pods", watch, now), 1000);
        assert_eq!(waits("/api/v1/pods", watch, now), 2000);
        assert_eq!(waits("/api/v1/nodes", watch, now), 0);
        assert_eq!(waits("/api/v1/pods", Some("limit=500"), now), 0);
        assert_eq!(waits("/api/v1/pods", None, now), 0);
        assert_eq!(waits("/api/v1/pods", watch, now + Duration::from_millis(2500)), 500);
        assert_eq!(waits("/api/v1/pods", watch, now + Duration::from_secs(60)), 0);
    }
}
