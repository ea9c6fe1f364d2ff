//! A request's way to an endpoint, and its answer's back: which endpoint, how long, and whether once more.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::route::{self, Attempt, Draw, Forward, Retries, time_limit};
use ambit_model::{Reason, Snapshot};
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
        ending.story().service = place.service().cloned();
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
            claims: self.asked.claims.as_ref(),
            fields: &fields,
        };
        let trusted = self.proxy.shared.limits.trusted_proxies;
        let told = self.arrival.door().and_then(|_| head::forwarded_from(&self.head.headers, trusted));
        match key_hash(key, &request, Some(told.unwrap_or_else(|| self.arrival.client.ip()))) {
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
        let limit = time_limit(self.forward.timeout, asked.map(HeaderValue::as_bytes));
        let until = Cell::new(None);
        let mut trail = Trail::default();
        let outcome = tokio::select! {
            biased;
            outcome = self.tries(ending, (place, hash), &mut trail) => outcome,
            () = self.overdue(limit, &until) => Err(Answer::timeout()),
        };
        if let Some(picked) = trail.unanswered() {
            place.learn(&picked, Err(true));
        }
        let carried = outcome?;
        // Of what an endpoint says; what is said in its place has time.
        ending.deadline = until.get().map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        Ok(carried)
    }

    /// Resolves when `limit` is over, and says before `until` when that is. The client's own time does not count: what it
    /// takes to send the request.
    async fn overdue(&self, limit: Option<Duration>, until: &Cell<Option<tokio::time::Instant>>) {
        let Some(limit) = limit else { return std::future::pending().await };
        self.upload.ended().await;
        let deadline = tokio::time::Instant::now() + limit;
        until.set(Some(deadline));
        tokio::time::sleep_until(deadline).await;
    }

    async fn tries(
        &self,
        ending: &mut Ending,
        (place, hash): (&Place, Option<u64>),
        trail: &mut Trail,
    ) -> Result<Carried, Answer> {
        let retries = self.forward.retries;
        let request = place.limits().request(Instant::now()).map_err(|_| Answer::overflow())?;
        let mut held = Held::of(request);
        for made in 0_u32.. {
            ending.story().attempts = made.saturating_add(1);
            let outcome = self.once(ending, (place, hash), trail, made).await;
            let wanted = |made| match &outcome {
                Ok((sent, _)) => {
                    let fields = FieldsOf(sent.response.headers());
                    retries.should_retry(&Attempt::Answered(sent.response.status().as_u16(), &fields), made)
                }
                Err(failed) => retries.should_retry(&failed.attempt(), made),
            };
            let slot = (wanted(made) && self.upload.can_repeat()).then(|| place.limits().retry(Instant::now()));
            if let Some(Ok(slot)) = slot {
                // What came of this try is not needed, nor is its connection.
                drop(outcome);
                held.retries(slot);
                tokio::time::sleep(retries.backoff(made.saturating_add(1), self.draw)).await;
                continue;
            }
            if made > 0 && wanted(0) {
                ending.story().flag(ResponseFlag::UpstreamRetryLimitExceeded);
            }
            if outcome.is_err() && self.upload.is_broken() {
                return Err(Answer::abandoned());
            }
            let (Sent { response, upgraded, place }, picked) = outcome.map_err(Failed::answer)?;
            self.upload.settle();
            held.endpoint(picked, place);
            return Ok(Carried { response, held, upgraded, cookie: None });
        }
        Err(Answer::no_endpoint())
    }

    /// One try.
    async fn once(
        &self,
        ending: &mut Ending,
        (place, hash): (&Place, Option<u64>),
        trail: &mut Trail,
        made: u32,
    ) -> Result<(Sent, Picked), Failed> {
        let Retries { ignore_previous_hosts, per_try_timeout, .. } = *self.forward.retries;
        let avoid: &[_] = if ignore_previous_hosts { &trail.tried } else { &[] };
        let ask = Ask {
            now: Instant::now(),
            draw: rand::random(),
            hash,
            dialled: self.arrival.dialled(),
            client: self.arrival.workload.as_deref(),
            avoid,
        };
        let picked = place.pick(&ask).ok_or(Failed::NoEndpoint)?;
        let endpoint = picked.endpoint().clone();
        let begun = trail.turn_to(picked);
        ending.story().upstream(endpoint.address, endpoint.workload.clone());
        let version = place.version(self.head.version, self.is_grpc, self.asked.upgrade.is_some());
        let exchange = Exchange::new(place, &endpoint, self.arrival, self.authority());
        let request = self.request(version, exchange.tls.is_some(), made).map_err(|_| Failed::Malformed)?;
        let exchange = Exchange { begun, ..exchange.by(version) };
        let until = Cell::new(None);
        let outcome = tokio::select! {
            biased;
            sent = self.proxy.endpoints.send(&exchange, request) => sent.map_err(Failed::Unsent),
            () = self.overdue(per_try_timeout, &until) => Err(Failed::TryTimeout),
        };
        let outcome = outcome.and_then(|sent| self.expected(sent));
        let (picked, begun) = trail.current.take().ok_or(Failed::NoEndpoint)?;
        let blamed = |failed: &Failed| failed.is_of_endpoint(begun.get()) && !self.upload.is_broken();
        place.learn(&picked, outcome.as_ref().map(|sent| &sent.response).map_err(blamed));
        outcome.map(|sent| (sent, picked))
    }

    /// An answer that fits what was asked for: nobody speaks another protocol who was not asked to.
    fn expected(&self, sent: Sent) -> Result<Sent, Failed> {
        if sent.upgraded.is_some() && self.asked.upgrade.is_none() { Err(Failed::Unexpected) } else { Ok(sent) }
    }

    /// Whom an endpoint is asked for.
    pub(super) fn authority(&self) -> &str {
        self.forward.authority.unwrap_or(&self.asked.authority)
    }

    fn request(&self, version: Version, tls: bool, made: u32) -> Result<Request<RequestBody>, http::Error> {
        let mut fields = self.fields.clone();
        let target = Target { authority: self.authority(), path: &self.forward.path, version, tls };
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

/// Where a request has been.
#[derive(Default)]
struct Trail {
    /// Whom it was sent to.
    tried: Vec<SocketAddr>,
    /// Whom it is being sent to, and whether there is a connection for it.
    current: Option<(Picked, Rc<Cell<bool>>)>,
}

impl Trail {
    /// It goes to `picked`: what is to be told when it has a connection there.
    fn turn_to(&mut self, picked: Picked) -> Rc<Cell<bool>> {
        let begun = Rc::new(Cell::new(false));
        self.tried.push(picked.endpoint().address);
        self.current = Some((picked, begun.clone()));
        begun
    }

    /// Who was asked and has not answered.
    fn unanswered(self) -> Option<Picked> {
        self.current.filter(|(_, begun)| begun.get()).map(|(picked, _)| picked)
    }
}

/// Why a try brought no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    NoEndpoint,
    Malformed,
    Unexpected,
    TryTimeout,
    Unsent(Unsent),
}

impl Failed {
    /// As retries look at it.
    fn attempt<'a>(&self) -> Attempt<'a, FieldsOf<'a>> {
        match self {
            Self::NoEndpoint | Self::Malformed | Self::Unsent(Unsent::Overflow(_)) => Attempt::Overflow,
            Self::TryTimeout
            | Self::Unexpected
            | Self::Unsent(Unsent::Reset(_) | Unsent::Terminated(_) | Unsent::Protocol(_)) => {
                Attempt::Unanswered { sent: true }
            }
            Self::Unsent(Unsent::Unconnected(_)) => Attempt::Unconnected,
            Self::Unsent(Unsent::RefusedStream) => Attempt::RefusedStream,
        }
    }

    /// True if it says something of the endpoint. Who has waited for a connection in vain has not met it, nor has who was not let
    /// near it since its agent has heard of a waypoint that this gateway has not.
    fn is_of_endpoint(&self, begun: bool) -> bool {
        if matches!(self, Self::Unsent(Unsent::Unconnected(why)) if why.reason == Reason::WaypointRequired) {
            return false;
        }
        let failed = matches!(self.attempt(), Attempt::Unanswered { .. } | Attempt::Unconnected);
        failed && (begun || !matches!(self, Self::TryTimeout))
    }

    fn answer(self) -> Answer {
        match self {
            Self::NoEndpoint => Answer::no_endpoint(),
            Self::Malformed => Answer::malformed("invalid_request_target"),
            Self::TryTimeout => Answer::try_timeout(),
            Self::Unsent(Unsent::Overflow(why)) => Answer::overflow().seen(&why),
            Self::Unsent(Unsent::Unconnected(why)) => {
                let (reason, detail) = why.told();
                Answer::unconnected(reason, detail)
            }
            Self::Unsent(Unsent::RefusedStream) => Answer::reset(),
            Self::Unsent(Unsent::Reset(why)) => Answer::reset().seen(&why),
            Self::Unsent(Unsent::Terminated(why)) => Answer::terminated().seen(&why),
            Self::Unexpected => Answer::protocol_error(),
            Self::Unsent(Unsent::Protocol(why)) => Answer::protocol_error().seen(&why),
        }
    }
}
