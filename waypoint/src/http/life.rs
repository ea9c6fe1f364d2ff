//! The life of one request, from top to bottom: who asks and what for, may it, where does it go, what is done to it on the
//! way, and what is told of it in the end. Each step is a function that knows none of the others.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::rc::Rc;
use std::sync::Arc;

use ambit_model::Snapshot;
use ambit_model::gateway::{self, Bound};
use ambit_model::route::cors::{Cross, Given};
use ambit_model::route::{self, Action, Draw, Forward, Matched, Outcome};
use ambit_telemetry::ResponseFlag;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, request};
use hyper::body::Incoming;

use super::answer::Answer;
use super::body::{ResponseBody, Upload};
use super::ending::Ending;
use super::forward::{Carried, Journey};
use super::head::{self, Asked, FieldsOf};
use super::upgrade::Channel;
use crate::arrival::{Arrival, Door};
use crate::authorize;
use crate::proxy::Proxy;
use crate::record::Story;
use crate::tokens;

/// Carries `request`, which came by `arrival` on `channel`, and answers it.
pub(crate) async fn live(
    proxy: Rc<Proxy>,
    arrival: Rc<Arrival>,
    channel: Rc<Channel>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let mut snapshot = proxy.shared.snapshots.load();
    let (mut head, body) = request.into_parts();
    let story = Story::begin(&head);
    let is_grpc = story.is_grpc;
    let mut ending = Ending::new(&proxy, &arrival, story);
    let mut response = match admit(&proxy, &mut snapshot, &arrival, (&mut head, ending.story())).await {
        Ok(asked) => {
            let draw = Draw(rand::random());
            let door = arrival.door().zip(proxy.shared.gateway.as_ref());
            let life = Life {
                door: door.map(|(door, gateway)| door.as_in(&gateway.listening.load()).ok_or(door)),
                proxy: &proxy,
                snapshot: &snapshot,
                arrival: &arrival,
                head: &head,
                asked: &asked,
                is_grpc,
                draw,
            };
            life.run(ending, body, &channel).await
        }
        Err(answer) => ending.answer(&answer),
    };
    if let Some(server) = &proxy.shared.server {
        response.headers_mut().insert(http::header::SERVER, server.clone());
    }
    response
}

/// What is asked for, if it is well-formed and the client may.
async fn admit(
    proxy: &Proxy,
    snapshot: &mut Arc<Snapshot>,
    arrival: &Arrival,
    (head, story): (&mut request::Parts, &mut Story),
) -> Result<Asked, Answer> {
    let mut asked = head::receive(head)?;
    if arrival.door().is_some() {
        asked.scheme = head::come_from_outside(head, arrival.scheme(), proxy.shared.limits.trusted_proxies);
        asked.upgrade = asked.upgrade.filter(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"));
    }
    // Whoever looks at the path from here on looks at the same one.
    match route::normalize(&asked.path, proxy.shared.limits.normalization) {
        Ok(Cow::Borrowed(_)) => {}
        Ok(Cow::Owned(path)) => asked.path = path,
        Err(_) => return Err(Answer::malformed("path_normalization_failed")),
    }
    let verified = tokens::verify(proxy, snapshot, arrival, (head, &mut asked)).await;
    if asked.had_token {
        story.asked_for(&asked.path);
    }
    verified?;
    // What is asked next may have changed while keys were waited for.
    *snapshot = proxy.shared.snapshots.load();
    authorize::request(proxy, snapshot, arrival, (head, &asked)).await?;
    Ok(asked)
}

/// A request that is well-formed and whose client may ask, before what routes say of it.
struct Life<'a> {
    /// The door through which it came to a gateway, as that is now; or as it was, if it has been shut since.
    door: Option<Result<Door, &'a Door>>,
    proxy: &'a Rc<Proxy>,
    snapshot: &'a Arc<Snapshot>,
    arrival: &'a Rc<Arrival>,
    head: &'a request::Parts,
    asked: &'a Asked,
    is_grpc: bool,
    draw: Draw,
}

impl<'a> Life<'a> {
    async fn run(&self, mut ending: Ending, body: Incoming, channel: &Rc<Channel>) -> Response<ResponseBody> {
        let fields = FieldsOf(&self.head.headers);
        let request = self.routed(&fields);
        let matched = match self.route(&request) {
            Ok(matched) => matched,
            Err(answer) => return ending.answer(&answer),
        };
        ending.story().route = matched.name.clone().into_owned();
        let given = match matched.cors.map_or(Cross::Untouched, |cors| cors.judge(&request)) {
            Cross::Untouched => Vec::new(),
            Cross::Marked(given) => given,
            Cross::Answered(given) => return ending.answer(&Answer::preflight(fields_of(given).collect())),
        };
        let outcome = match &matched.action {
            Action::Redirect { code, location } => Err(elsewhere(*code, location)),
            Action::Respond(direct) => Err(Answer::direct(direct.status, Bytes::copy_from_slice(&direct.body))),
            Action::Forward(forward) => match inject(&mut ending, forward).await {
                // What is injected is not the route's answer.
                Err(answer) => return ending.answer(&answer),
                Ok(()) => self.forward(&mut ending, forward, body).await,
            },
        };
        let mut response = match outcome {
            Ok(carried) => ending.carry(carried, channel),
            Err(answer) => ending.answer(&answer),
        };
        head::apply(response.headers_mut(), &matched.response_headers);
        // Whatever the application says of pages from elsewhere, the route has the last word.
        for (name, value) in fields_of(given) {
            response.headers_mut().insert(name, value);
        }
        response
    }

    fn routed<'r>(&'r self, fields: &'r FieldsOf<'r>) -> route::Request<'r, FieldsOf<'r>> {
        route::Request {
            arrival: self.arrival.routed(),
            method: self.head.method.as_str(),
            scheme: self.asked.scheme,
            authority: &self.asked.authority,
            path: &self.asked.path,
            claims: self.asked.claims.as_ref(),
            fields,
        }
    }

    /// Where does it go, and what is done to it?
    fn route<'r>(&'r self, request: &route::Request<'r, FieldsOf<'r>>) -> Result<Box<Matched<'r>>, Answer> {
        match &self.door {
            Some(Ok(door)) => return self.route_at(door, request),
            Some(Err(door)) if door.secured.is_some() => return Err(Answer::misdirected()),
            Some(Err(_)) => return Err(Answer::no_route()),
            None => {}
        }
        let addressed = self.arrival.addressed.service().map(|service| route::Addressed {
            host: &service.hostname,
            viewer: &self.proxy.shared.key.namespace,
            owner: Some(&service.key.namespace),
            from: None,
        });
        let outcome =
            addressed.map_or(Outcome::Unrouted, |addressed| self.snapshot.routes.http(addressed, request, self.draw));
        match (outcome, &self.arrival.destination) {
            (Outcome::Matched(matched), _) => Ok(matched),
            (Outcome::Unrouted, Some(destination)) => Ok(Box::new(Matched {
                name: Cow::Borrowed("default"),
                action: Action::Forward(Forward::unrouted(destination, &self.asked.path)),
                cors: None,
                response_headers: Vec::new(),
            })),
            (Outcome::NoRoute | Outcome::Unrouted, _) => Err(Answer::no_route()),
        }
    }

    /// The same at a gateway: as the VirtualServices say that are bound to it for the host that is asked for.
    fn route_at<'r>(
        &'r self,
        door: &'r Door,
        request: &route::Request<'r, FieldsOf<'r>>,
    ) -> Result<Box<Matched<'r>>, Answer> {
        let Asked { authority, path, .. } = self.asked;
        let (routes, viewer, host) = (&self.snapshot.routes, &*self.proxy.shared.key.namespace, host_of(authority));
        // What another server asks of its clients was not asked of this one.
        if door.is_elsewhere(&host) {
            return Err(Answer::misdirected());
        }
        let bound = match gateway::bound(door.servers(), routes, viewer, &host) {
            Bound::Routed(bound) => bound,
            Bound::Redirected if self.asked.scheme == "https" => {
                // It was, as a proxy in front says that is believed.
                door.servers().iter().map(|served| (served, None)).collect()
            }
            Bound::Redirected if authority.is_empty() => return Err(Answer::malformed("missing_host_header")),
            Bound::Redirected => {
                let authority = authority.strip_suffix(":80").unwrap_or(authority);
                return Err(elsewhere(301, &format!("https://{authority}{path}")));
            }
            Bound::Unbound => Vec::new(),
        };
        let matched = bound.into_iter().find_map(|(served, from)| {
            let addressed = route::Addressed { host: &host, viewer, owner: None, from };
            let request = route::Request { arrival: self.arrival.routed_to(served), ..*request };
            match routes.http(addressed, &request, self.draw) {
                Outcome::Matched(matched) => Some(matched),
                Outcome::NoRoute | Outcome::Unrouted => None,
            }
        });
        matched.ok_or_else(Answer::no_route)
    }

    /// There and back.
    async fn forward(&self, ending: &mut Ending, forward: &Forward<'_>, body: Incoming) -> Result<Carried, Answer> {
        let keeps = forward.retries.attempts > 0;
        let upload = Upload::new(body, keeps, self.is_grpc);
        ending.upload = Some(upload.clone());
        let fields = self.fields(ending, forward);
        let journey = Journey {
            proxy: self.proxy,
            snapshot: self.snapshot,
            arrival: self.arrival,
            head: self.head,
            asked: self.asked,
            forward,
            fields: &fields,
            upload: &upload,
            is_grpc: self.is_grpc,
            draw: self.draw,
        };
        if !forward.mirrors.is_empty() {
            super::mirror::send(&journey);
        }
        journey.run(ending).await
    }

    /// The fields that the request goes on with.
    fn fields(&self, ending: &mut Ending, forward: &Forward<'_>) -> HeaderMap {
        let mut fields = self.head.headers.clone();
        if !fields.contains_key("x-request-id")
            && let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(request_id()))
        {
            fields.insert("x-request-id", id.clone());
            ending.story().given_id(id);
        }
        if let Some(client) = self.arrival.door().and_then(|door| door.secured.as_ref()?.client.as_deref())
            && let Ok(told) = HeaderValue::from_maybe_shared(Bytes::from(head::certified(client)))
        {
            fields.insert("x-forwarded-client-cert", told);
        }
        let limits = &self.proxy.shared.limits;
        // Whoever comes from outside is not believed, unless it is a proxy of ours.
        let is_outside = self.door.is_some() && limits.trusted_proxies == 0;
        if is_outside || !fields.contains_key("x-forwarded-proto") {
            fields.insert("x-forwarded-proto", HeaderValue::from_static(self.asked.scheme));
        }
        head::forwarded_for(&mut fields, limits.forwarded_for, self.arrival.client.ip());
        // An expression can have characters that no field has.
        let operation = Bytes::from(forward.operation(self.arrival.addressed.port()));
        if let Ok(operation) = HeaderValue::from_maybe_shared(operation) {
            fields.insert("x-envoy-decorator-operation", operation);
        }
        head::apply(&mut fields, &forward.request_headers);
        fields
    }
}

/// The host of an authority, in lower case, without a port and without the brackets of an address.
fn host_of(authority: &str) -> String {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address
            .parse::<Ipv6Addr>()
            .map_or_else(|_| address.to_ascii_lowercase(), |address| address.to_string());
    }
    authority.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

/// What a route injects: first the delay, then the abort, each drawn for itself.
async fn inject(ending: &mut Ending, forward: &Forward<'_>) -> Result<(), Answer> {
    if let Some(delay) = forward.fault.delay {
        ending.story().flag(ResponseFlag::DelayInjected);
        tokio::time::sleep(delay).await;
    }
    forward.fault.abort.map_or(Ok(()), |status| Err(Answer::aborted(status)))
}

fn elsewhere(code: u16, location: &str) -> Answer {
    // What a client sent cannot have come this far with what a field cannot have.
    HeaderValue::try_from(location)
        .map_or_else(|_| Answer::malformed("invalid_location"), |to| Answer::elsewhere(code, to))
}

fn fields_of(given: Vec<Given>) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    given.into_iter().filter_map(|(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::from_maybe_shared(Bytes::from(value)).ok()?))
    })
}

/// A random UUID (RFC 9562 section 5.4).
fn request_id() -> String {
    let bits: u128 = rand::random();
    let bits = (bits & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}
