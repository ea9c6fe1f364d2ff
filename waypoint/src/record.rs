//! What is told of requests and connections: who asked whom, by which route, where it went and what came of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ambit_model::{Service, Workload};
use ambit_telemetry::{
    Answer, Downstream, Ends, GrpcCall, GrpcStatus, KeptHead, Live, Opened, Outcome, Party, Refusal, Refused, Reporter,
    RequestHead, RequestRecord, ResponseFlag, Security, Upstream,
};
use ambit_transport::Failure;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version, request, response};

use crate::arrival::{Addressed, Arrival};
use crate::http::{Broken, LocalAnswer, Messages, is_grpc};
use crate::proxy::Proxy;

/// What is to be told of one request.
pub(crate) struct Story {
    /// It is a call of gRPC.
    pub(crate) is_grpc: bool,
    /// Bytes of its body.
    pub(crate) received: u64,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// The name of its route.
    pub(crate) route: String,
    /// The name of where it went.
    pub(crate) cluster: Option<Arc<str>>,
    /// The service that it went to, if it was addressed to none.
    pub(crate) service: Option<Arc<Service>>,
    head: KeptHead,
    request_id: Option<HeaderValue>,
    started: Instant,
    tried: Option<Instant>,
    sent: u64,
    messages: Messages,
    /// Messages of the client, if it is a call of gRPC.
    pub(crate) asked: u64,
    answer: Answer,
    grpc_status: Option<GrpcStatus>,
    endpoint: Option<(SocketAddr, Option<Arc<Workload>>)>,
    took: Option<Duration>,
    failure: Cow<'static, str>,
}

impl Story {
    /// Of a request with this head.
    pub(crate) fn begin(head: &request::Parts) -> Self {
        let field = |name: HeaderName| head.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        let host = || field(header::HOST);
        let kept = RequestHead {
            method: head.method.as_str().as_bytes(),
            path: head.uri.path_and_query().map_or(&b"/"[..], |path| path.as_str().as_bytes()),
            protocol: protocol(head.version),
            authority: head.uri.authority().map_or_else(host, |authority| authority.as_str().as_bytes()),
            user_agent: field(header::USER_AGENT),
            request_id: field(HeaderName::from_static("x-request-id")),
            forwarded_for: field(HeaderName::from_static("x-forwarded-for")),
        };
        Self::of(kept, is_grpc(&head.headers))
    }

    /// Has it that `path` was asked for: what came with it is told to nobody.
    pub(crate) fn asked_for(&mut self, path: &str) {
        self.head = RequestHead { path: path.as_bytes(), ..self.head.head() }.keep();
    }

    /// Of a request of HTTP/1 whose head could not be read.
    pub(crate) fn unread() -> Self {
        Self::of(RequestHead { protocol: protocol(Version::HTTP_11), ..RequestHead::default() }, false)
    }

    fn of(kept: RequestHead<'_>, is_grpc: bool) -> Self {
        Self {
            is_grpc,
            received: 0,
            attempts: 0,
            route: String::new(),
            cluster: None,
            service: None,
            head: kept.keep(),
            request_id: None,
            started: Instant::now(),
            tried: None,
            sent: 0,
            messages: Messages::default(),
            asked: 0,
            answer: Answer::default(),
            grpc_status: None,
            endpoint: None,
            took: None,
            failure: Cow::Borrowed(""),
        }
    }

    /// The ID that the request was given, since it had none.
    pub(crate) fn given_id(&mut self, id: HeaderValue) {
        self.request_id = Some(id);
    }

    /// It is sent to this endpoint.
    pub(crate) fn upstream(&mut self, address: SocketAddr, workload: Option<Arc<Workload>>) {
        self.endpoint = Some((address, workload));
        self.tried = Some(Instant::now());
    }

    /// It happened on the way.
    pub(crate) fn flag(&mut self, flag: ResponseFlag) {
        self.answer.flags = self.answer.flags.with(flag);
    }

    /// The proxy answers it itself.
    pub(crate) fn answered(&mut self, answer: &LocalAnswer, status: StatusCode) {
        self.answer.code = status.as_u16();
        self.answer.details = answer.details.clone();
        if let Some(flag) = answer.flag {
            self.flag(flag);
        }
        if self.is_grpc {
            self.grpc_status = Some(GrpcStatus::from_header(answer.grpc_status().to_string().as_bytes()));
        }
        if let Some(why) = &answer.why {
            self.answer.refusal = why.reason.map(|reason| Refusal { reason, policy: why.policy.clone() });
            self.failure = Cow::Owned(why.seen.clone());
        }
    }

    /// An endpoint has answered it.
    pub(crate) fn responded(&mut self, head: &response::Parts) {
        self.took = self.tried.map(|tried| tried.elapsed());
        self.answer.code = head.status.as_u16();
        self.answer.details = Cow::Borrowed("via_upstream");
        self.trailed(&head.headers);
    }

    /// How long the endpoint took for the head of its answer.
    pub(crate) fn service_time(&self) -> Duration {
        self.took.unwrap_or_default()
    }

    /// `data` has gone to the client.
    pub(crate) fn sent(&mut self, data: &Bytes) {
        self.sent = self.sent.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if self.is_grpc {
            self.messages.pass(data);
        }
    }

    /// Trailers have, or a head that may hold what trailers do.
    pub(crate) fn trailed(&mut self, fields: &HeaderMap) {
        if self.is_grpc
            && let Some(status) = fields.get("grpc-status")
        {
            self.grpc_status = Some(GrpcStatus::from_header(status.as_bytes()));
        }
    }

    /// An upgraded connection has carried so much.
    pub(crate) fn relayed(&mut self, to_server: u64, to_client: u64) {
        self.received = self.received.saturating_add(to_server);
        self.sent = self.sent.saturating_add(to_client);
    }

    /// Its response has ended before its end.
    pub(crate) fn broke(&mut self, why: Broken) {
        let (flag, details) = match why {
            Broken::Timeout => (ResponseFlag::UpstreamRequestTimeout, "response_timeout"),
            Broken::Endpoint => {
                (ResponseFlag::UpstreamConnectionTermination, "upstream_reset_after_response_started{}")
            }
        };
        self.flag(flag);
        self.answer.details = Cow::Borrowed(details);
    }

    fn record(&self, proxy: &Proxy, arrival: &Arrival) -> RequestRecord {
        let mut head = self.head.clone();
        if let Some(id) = &self.request_id {
            head = RequestHead { request_id: id.as_bytes(), ..head.head() }.keep();
        }
        let workload = self.endpoint.as_ref().and_then(|(_, workload)| workload.clone());
        let call = GrpcCall { status: self.grpc_status, requests: self.asked, responses: self.messages.count() };
        RequestRecord {
            ends: Arc::new(ends(proxy, arrival, workload, self.service.clone())),
            head,
            grpc: self.is_grpc.then_some(call),
            started: self.started,
            ended: Instant::now(),
            received: self.received,
            sent: self.sent,
            answer: self.answer.clone(),
            route: (!self.route.is_empty()).then(|| Arc::from(self.route.as_str())),
            downstream: Downstream {
                remote: Some(arrival.client),
                local: Some(arrival.dialled()),
                server_name: arrival.door().and_then(|door| door.secured.as_ref()?.name.clone()),
            },
            upstream: Upstream {
                host: self.endpoint.as_ref().map(|(address, _)| *address),
                cluster: self.cluster.clone(),
                local: None,
                took: self.took,
                failure: self.failure.clone(),
            },
        }
    }
}

/// Tells of a request that has ended.
pub(crate) fn tell(proxy: &Proxy, arrival: &Arrival, story: &Story) {
    proxy.meter.request(story.record(proxy, arrival));
}

/// Tells of whom it was not known yet what he wanted.
pub(crate) fn refused(proxy: &Proxy, client: SocketAddr, destination: SocketAddr, why: Failure) {
    let (reason, detail) = why.told();
    let reporter = if proxy.shared.gateway.is_some() { Reporter::Source } else { Reporter::Waypoint };
    proxy.meter.fail_early(Refused { reporter, client, destination, reason, detail });
}

/// Where a connection has got to.
#[derive(Default)]
pub(crate) struct Reached {
    /// The endpoint, and its pod, if it is one.
    pub(crate) endpoint: Option<(SocketAddr, Option<Arc<Workload>>)>,
    /// The service, if it was addressed to none.
    pub(crate) service: Option<Arc<Service>>,
}

/// The life of a connection that carries bytes.
pub(crate) fn stream(proxy: &Proxy, arrival: &Arrival, start: Instant, reached: Reached) -> Live {
    let (address, workload) = reached.endpoint.unwrap_or((arrival.dialled(), None));
    let ends = ends(proxy, arrival, workload, reached.service);
    proxy.meter.open(Opened {
        ends,
        client: arrival.client,
        destination: address,
        hbone: arrival.authority.clone(),
        start,
    })
}

/// How a connection that carried bytes has ended.
pub(crate) fn outcome(ended: Result<(), Failure>) -> Outcome {
    match ended {
        Ok(()) => Outcome::Ok,
        Err(why) => {
            let (reason, detail) = why.told();
            Outcome::Failed { reason, detail }
        }
    }
}

fn ends(proxy: &Proxy, arrival: &Arrival, endpoint: Option<Arc<Workload>>, asked: Option<Arc<Service>>) -> Ends {
    let service: Option<Arc<Service>> = arrival.addressed.service().cloned().or(asked);
    let endpoint = endpoint.or_else(|| match &arrival.addressed {
        Addressed::Workload(workload, ..) => Some(workload.clone()),
        Addressed::Service(..) | Addressed::Gateway(_) => None,
    });
    let destination = endpoint.map_or_else(Party::unknown, Party::Workload);
    match &arrival.identity {
        Some(identity) => Ends {
            reporter: Reporter::Waypoint,
            source: arrival.workload.clone().map_or_else(|| Party::identity(identity.clone()), Party::Workload),
            destination,
            service,
            security: Security::MutualTls { client: identity.clone() },
        },
        // To the mesh a gateway is the client, as its own agent would tell it.
        None => Ends {
            reporter: Reporter::Source,
            source: proxy.shared.own_pod().map_or_else(Party::unknown, Party::Workload),
            destination,
            service,
            security: Security::Unknown,
        },
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mirrored {
    /// It was answered with this status.
    Answered(u16),
    /// It was not.
    Failed,
}

/// Copies, by where they went and what came back (0 for nothing). Locked for each copy, which nobody waits for.
#[derive(Default)]
pub(crate) struct Mirrors(Mutex<BTreeMap<(String, u16), u64>>);

impl Mirrors {
    /// Counts a copy that went to `destination`.
    pub(crate) fn count(&self, destination: String, outcome: Mirrored) {
        let code = match outcome {
            Mirrored::Answered(code) => code,
            Mirrored::Failed => 0,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((destination, code)).or_default();
        *count = count.saturating_add(1);
    }

    /// How many there were.
    pub(crate) fn counts(&self) -> BTreeMap<(String, u16), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
