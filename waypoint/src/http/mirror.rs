//! Copies of requests for somebody whose answer nobody waits for (Istio `HTTPMirrorPolicy`). What becomes of a copy makes
//! no difference to the request.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ambit_model::route::Destination;
use http::header::HeaderMap;
use http::{Method, Request, Version};
use http_body_util::BodyExt;
use tokio::task::spawn_local;

use super::body::RequestBody;
use super::forward::Journey;
use super::head::{self, Target};
use crate::arrival::Arrival;
use crate::proxy::Proxy;
use crate::record::Mirrored;
use crate::upstream::{Exchange, Place};

/// How long a copy and its answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a copy of the request of `journey` to everybody who gets one.
pub(crate) fn send(journey: &Journey<'_>) {
    for destination in &journey.forward.mirrors {
        let copy = Copy {
            proxy: journey.proxy.clone(),
            arrival: journey.arrival.clone(),
            method: journey.head.method.clone(),
            version: journey.head.version,
            is_grpc: journey.is_grpc,
            fields: journey.fields.clone(),
            authority: journey.authority().to_owned(),
            path: journey.forward.path.clone().into_owned(),
        };
        let place = journey.proxy.clusters.place(&journey.proxy.shared, journey.snapshot, journey.arrival, destination);
        let (body, name, guard) = (journey.upload.mirror(), name_of(destination), journey.proxy.guard());
        spawn_local(async move {
            let proxy = copy.proxy.clone();
            let outcome = match place {
                Ok(place) => match tokio::time::timeout(PATIENCE, copy.send(&place, body)).await {
                    Ok(outcome) => outcome,
                    Err(_) => Mirrored::Failed,
                },
                Err(_) => Mirrored::Failed,
            };
            proxy.shared.mirrors.count(name, outcome);
            drop(guard);
        });
    }
}

/// A copy on its way.
struct Copy {
    proxy: Rc<Proxy>,
    arrival: Rc<Arrival>,
    method: Method,
    version: Version,
    is_grpc: bool,
    fields: HeaderMap,
    authority: String,
    path: String,
}

impl Copy {
    async fn send(mut self, place: &Place, body: RequestBody) -> Mirrored {
        let Ok(_slot) = place.limits().request(Instant::now()) else { return Mirrored::Failed };
        let Some(picked) = place.pick_any(&self.arrival) else { return Mirrored::Failed };
        let version = place.version(self.version, self.is_grpc, false);
        let exchange = Exchange::new(place, picked.endpoint(), &self.arrival, &self.authority).by(version);
        let target =
            Target { authority: &shadow(&self.authority), path: &self.path, version, tls: exchange.tls.is_some() };
        let Ok(uri) = head::address(&mut self.fields, &target) else { return Mirrored::Failed };
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.version_mut() = if version == Version::HTTP_2 { version } else { Version::HTTP_11 };
        *request.headers_mut() = self.fields;
        let sent = self.proxy.endpoints.send(&exchange, request).await;
        place.learn(&picked, sent.as_ref().map(|sent| &sent.response).map_err(|_| true));
        let Ok(sent) = sent else { return Mirrored::Failed };
        let status = sent.response.status().as_u16();
        // Read to its end, so that the connection can be used again.
        let mut body = sent.response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        Mirrored::Answered(status)
    }
}

/// The host that a copy is for, so that who gets one can tell: `-shadow` behind its name.
fn shadow(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{host}-shadow:{port}")
        }
        _ => format!("{authority}-shadow"),
    }
}

fn name_of(destination: &Destination) -> String {
    match &destination.subset {
        Some(subset) => format!("{}/{subset}", destination.host.as_str()),
        None => destination.host.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_for_the_shadow_of_its_host() {
        for (authority, expected) in [
            ("reviews", "reviews-shadow"),
            ("reviews:9080", "reviews-shadow:9080"),
            ("[fd00::1]:80", "[fd00::1]-shadow:80"),
            ("a.b:", "a.b:-shadow"),
        ] {
            assert_eq!(shadow(authority), expected);
        }
    }
}
