//! A request's way to an endpoint, and its answer's back: which endpoint, how long, and whether once more.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ambit_model::Snapshot;
use ambit_model::route::{self, Attempt, Draw, Forward, Retries, time_limit};
use ambit_telemetry::ResponseFlag;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, Version, request};
use hyper::body::Incoming;

use super::answer::Answer;
use super::body::{RequestBody, Upload};
use super::ending::Ending;
use super::head::{self, Asked, FieldsOf, Target};
use crate::arrival::Arrival;
use crate::proxy::Proxy;
use crate::upstream::{Ask, Exchange, Held, NoCluster, Picked, Place, Sent, Unsent, Upgraded, given_cookie, key_hash};

/// A request on its way.
pub(crate) struct Journey<'a> {
    pub(crate) proxy: &'a Rc<Proxy>,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) arrival: &'a Rc<Arrival>,
    pub(crate) head: &'a request::Parts,
    pub(crate) asked: &'a Asked,
    pub(crate) forward: &'a Forward<'a>,
    /// The fields that it goes on with.
    pub(crate) fields: &'a HeaderMap,
    pub(crate) upload: &'a Upload,
    pub(crate) is_grpc: bool,
    pub(crate) draw: Draw,
}

/// What came back.
pub(crate) struct Carried {
    pub(crate) response: Response<Incoming>,
    /// What the request holds until its response has ended.
    pub(crate) held: Held,
    pub(crate) upgraded: Option<Upgraded>,
    /// A cookie that the client is given.
    pub(crate) cookie: Option<HeaderValue>,
}

impl From<NoCluster> for Answer {
    fn from(_: NoCluster) -> Self {
        Self::no_cluster()
    }
}

impl Journey<'_> {
    /// Goes there and back, within the time that the route gives.
    pub(crate) async fn run(&self, ending: &mut Ending) -> Result<Carried, Answer> {
        let destination = self.forward.destination;
        let place = self.proxy.clusters.place(&self.proxy.shared, self.snapshot, self.arrival, destination)?;
        ending.story().cluster = Some(place.name().clone());
        let (hash, cookie) = self.hash(&place);
        let outcome = self.within(ending, &place, hash).await;
        outcome.map(|carried| Carried { cookie, ..carried })
    }

    /// What decides where it goes where hashes do, and the cookie that is to bring the same client there again.
    fn hash(&self, place: &Place) -> (Option<u64>, Option<HeaderValue>) {
        let Some(key) = place.hash_key() else { return (None, None) };
        let fields = FieldsOf(&self.head.headers);
        let request = route::Request {
            arrival: self.arrival.routed(),
            method: self.head.method.as_str(),
            scheme: self.asked.scheme,
            authority: &self.asked.authority,
            path: &self.asked.path,
            fields: &fields,
        };
        match key_hash(key, &request, Some(self.arrival.client.ip())) {
            Some(hash) => (Some(hash), None),
            None => {
                let given = given_cookie(key, rand::random());
                let cookie = given.as_ref().and_then(|given| HeaderValue::from_str(&given.set_cookie).ok());
                (given.map(|given| given.hash), cookie)
            }
        }
    }

    async fn within(&self, ending: &mut Ending, place: &Place, hash: Option<u64>) -> Result<Carried, Answer> {
        let asked = self.fields.get("grpc-timeout").filter(|_| self.is_grpc);
        let Some(limit) = time_limit(self.forward.timeout, asked.map(HeaderValue::as_bytes)) else {
            return self.tries(ending, place, hash).await;
        };
        // The client's own time does not count: what it takes to send the request.
        let until = Cell::new(None);
        let over = async {
            self.upload.ended().await;
            let deadline = tokio::time::Instant::now() + limit;
            until.set(Some(deadline));
            tokio::time::sleep_until(deadline).await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.tries(ending, place, hash) => outcome,
            () = over => Err(Answer::timeout()),
        };
        ending.deadline = until.get().map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        outcome
    }

    async fn tries(&self, ending: &mut Ending, place: &Place, hash: Option<u64>) -> Result<Carried, Answer> {
        let retries = self.forward.retries;
        let request = place.limits().request(Instant::now()).map_err(|_| Answer::overflow())?;
        let mut held = Held::of(request);
        let mut tried = Vec::new();
        for made in 0_u32.. {
            ending.story().attempts = made.saturating_add(1);
            let outcome = self.once(ending, (place, hash), &mut tried, made).await;
            let (retry, exhausted) = {
                let attempt = match &outcome {
                    Ok((sent, _)) => &FieldsOf(sent.response.headers()),
                    Err(_) => &FieldsOf(self.fields),
                };
                let attempt = match &outcome {
                    Ok((sent, _)) => Attempt::Answered(sent.response.status().as_u16(), attempt),
                    Err(failed) => failed.attempt(),
                };
                (retries.should_retry(&attempt, made), made > 0 && retries.should_retry(&attempt, 0))
            };
            let slot = (retry && self.upload.can_repeat()).then(|| place.limits().retry(Instant::now()));
            match (outcome, slot) {
                (_, Some(Ok(slot))) => {
                    held.retries(slot);
                    tokio::time::sleep(retries.backoff(made.saturating_add(1), self.draw)).await;
                }
                (Ok((Sent { response, upgraded, place }, picked)), _) => {
                    self.upload.settle();
                    if exhausted {
                        ending.story().flag(ResponseFlag::UpstreamRetryLimitExceeded);
                    }
                    held.endpoint(picked, place);
                    return Ok(Carried { response, held, upgraded, cookie: None });
                }
                (Err(failed), _) => {
                    if exhausted {
                        ending.story().flag(ResponseFlag::UpstreamRetryLimitExceeded);
                    }
                    return Err(failed.answer());
                }
            }
        }
        Err(Answer::no_endpoint())
    }

    /// One try.
    async fn once(
        &self,
        ending: &mut Ending,
        (place, hash): (&Place, Option<u64>),
        tried: &mut Vec<std::net::SocketAddr>,
        made: u32,
    ) -> Result<(Sent, Picked), Failed> {
        let Retries { ignore_previous_hosts, per_try_timeout, .. } = *self.forward.retries;
        let avoid: &[_] = if ignore_previous_hosts { tried } else { &[] };
        let ask = Ask {
            now: Instant::now(),
            draw: rand::random(),
            hash,
            dialled: self.arrival.dialled(),
            client: self.arrival.workload.as_deref(),
            avoid,
        };
        let picked = place.pick(&ask).ok_or(Failed::NoEndpoint)?;
        let endpoint = picked.endpoint();
        tried.push(endpoint.address);
        ending.story().upstream(endpoint.address, endpoint.workload.clone());
        let version = place.version(self.head.version, self.is_grpc, self.asked.upgrade.is_some());
        let request = self.request(version, made).map_err(|_| Failed::Malformed)?;
        let exchange = Exchange {
            cluster: place.number(),
            limits: place.limits(),
            settings: &place.settings().pool,
            address: endpoint.address,
            workload: endpoint.workload.as_deref(),
            arrival: self.arrival,
            version,
        };
        let sending = self.proxy.endpoints.send(&exchange, request);
        let outcome = match per_try_timeout {
            None => sending.await.map_err(Failed::Unsent),
            Some(limit) => tokio::time::timeout(limit, sending)
                .await
                .map_or(Err(Failed::TryTimeout), |outcome| outcome.map_err(Failed::Unsent)),
        };
        place.learn(&picked, outcome.as_ref().map(|sent| &sent.response).map_err(Failed::is_local));
        outcome.map(|sent| (sent, picked))
    }

    fn request(&self, version: Version, made: u32) -> Result<Request<RequestBody>, http::Error> {
        let mut fields = self.fields.clone();
        let authority = self.forward.authority.unwrap_or(&self.asked.authority);
        let target = Target { authority, path: &self.forward.path, version };
        let uri = head::address(&mut fields, &target)?;
        if self.forward.path != self.asked.path
            && let Ok(original) = HeaderValue::from_str(&self.asked.path)
        {
            fields.insert("x-envoy-original-path", original);
        }
        fields.insert("x-envoy-attempt-count", HeaderValue::from(made.saturating_add(1)));
        if let Some(protocol) = &self.asked.upgrade {
            fields.insert(header::UPGRADE, protocol.clone());
            fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        if self.asked.trailers {
            fields.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let mut request = Request::new(self.upload.body());
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = if version == Version::HTTP_2 { version } else { Version::HTTP_11 };
        *request.headers_mut() = fields;
        Ok(request)
    }
}

/// Why a try brought no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    NoEndpoint,
    Malformed,
    TryTimeout,
    Unsent(Unsent),
}

impl Failed {
    /// As retries look at it.
    fn attempt<'a>(&self) -> Attempt<'a, FieldsOf<'a>> {
        match self {
            Self::NoEndpoint | Self::Malformed | Self::Unsent(Unsent::Overflow(_)) => Attempt::Overflow,
            Self::TryTimeout | Self::Unsent(Unsent::Reset(_) | Unsent::Terminated(_) | Unsent::Protocol(_)) => {
                Attempt::Unanswered { sent: true }
            }
            Self::Unsent(Unsent::Unconnected(_)) => Attempt::Unconnected,
            Self::Unsent(Unsent::RefusedStream) => Attempt::RefusedStream,
        }
    }

    /// True if it says something of the endpoint.
    fn is_local(&self) -> bool {
        matches!(self.attempt(), Attempt::Unanswered { .. } | Attempt::Unconnected)
    }

    fn answer(self) -> Answer {
        match self {
            Self::NoEndpoint => Answer::no_endpoint(),
            Self::Malformed => Answer::malformed("invalid_request_target"),
            Self::TryTimeout => Answer::try_timeout(),
            Self::Unsent(Unsent::Overflow(_)) => Answer::overflow(),
            Self::Unsent(Unsent::Unconnected(why)) => {
                let (reason, detail) = why.told();
                Answer::unconnected(reason, detail)
            }
            Self::Unsent(Unsent::RefusedStream | Unsent::Reset(_)) => Answer::reset(),
            Self::Unsent(Unsent::Terminated(_)) => Answer::terminated(),
            Self::Unsent(Unsent::Protocol(_)) => Answer::protocol_error(),
        }
    }
}
