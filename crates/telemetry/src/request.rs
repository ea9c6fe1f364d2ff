//! What is to be told of a request once it has ended. Plain values; knows neither how they are counted nor how they are
//! written.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::Reason;
use ambit_model::policy::PolicyKey;
use ambit_model::reason::Flag;
use tracing::Level;

use crate::ends::Ends;
use crate::flags::{ResponseFlag, ResponseFlags};

/// How much of one word of a request's head is kept, in bytes: what waits for the log must not fill the memory.
const LONGEST: usize = 2048;

/// What a word ends with of which only the beginning is kept.
const CUT: &[u8] = b"...";

/// A request that has ended, answered or not.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Who asked whom, and what protects the connection: what most of the metrics' labels are made of. Requests of one
    /// connection to one endpoint may share it.
    pub ends: Arc<Ends>,
    /// What the request says of itself.
    pub head: KeptHead,
    /// The call, if the request is one of gRPC (`content-type: application/grpc`).
    pub grpc: Option<GrpcCall>,
    /// When the head of the request had been read.
    pub started: Instant,
    /// When the last byte of the answer was sent, or it was given up.
    pub ended: Instant,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// How it was answered.
    pub answer: Answer,
    /// The name of the route (`route`, or `route.match` of a VirtualService).
    pub route: Option<Arc<str>>,
    /// The connection it came by.
    pub downstream: Downstream,
    /// Where it was carried to; the default if nowhere.
    pub upstream: Upstream,
}

/// How a request was answered, and why so.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status; 0 if none was sent.
    pub code: u16,
    /// What happened on the way.
    pub flags: ResponseFlags,
    /// Where the status comes from, in Envoy's words, such as `via_upstream`; empty if there is nothing to say.
    pub details: Cow<'static, str>,
    /// Why the client's connection was ended, in Envoy's words; empty if it was not.
    pub termination: Cow<'static, str>,
    /// Why the proxy itself refused the request or failed at it.
    pub refusal: Option<Refusal>,
}

/// Why the proxy refused a request, or failed at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, as it is counted.
    pub reason: Reason,
    /// The policy that decided so.
    pub policy: Option<PolicyKey>,
}

/// The connection that a request came by.
#[derive(Clone, Debug, Default)]
pub struct Downstream {
    /// The client's address.
    pub remote: Option<SocketAddr>,
    /// The address that the client dialled.
    pub local: Option<SocketAddr>,
    /// The name that its TLS asks for.
    pub server_name: Option<Arc<str>>,
}

/// Where a request was carried to: of several attempts the last one.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// The endpoint.
    pub host: Option<SocketAddr>,
    /// The name of the cluster, as Istio writes it, such as `inbound-vip|9080|http|reviews.shop.svc.cluster.local`.
    pub cluster: Option<Arc<str>>,
    /// The proxy's own address on the connection to it.
    pub local: Option<SocketAddr>,
    /// From the end of the request's head sent to the end of the answer's head read: `x-envoy-upstream-service-time`.
    pub took: Option<Duration>,
    /// Why the connection to it failed; empty if it did not.
    pub failure: Cow<'static, str>,
}

/// A call of gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcCall {
    /// The status, if there was one.
    pub status: Option<GrpcStatus>,
    /// Messages of the client.
    pub requests: u64,
    /// Messages of the server.
    pub responses: u64,
}

/// A status of gRPC (`grpc-status`): 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrpcStatus(u8);

impl GrpcStatus {
    /// `UNKNOWN`, which every code stands for that gRPC does not know.
    pub const UNKNOWN: Self = Self(2);

    /// The status of this value of the header or trailer `grpc-status`.
    #[must_use]
    pub fn from_header(value: &[u8]) -> Self {
        let code = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        code.filter(|code| *code <= 16).map_or(Self::UNKNOWN, Self)
    }

    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

/// What a request says of itself, borrowed from its head; what it does not say is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The path with its query, as the client sent it.
    pub path: &'a [u8],
    /// The version of HTTP by which it came, such as `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// `:authority`, or `host`.
    pub authority: &'a [u8],
    /// `user-agent`.
    pub user_agent: &'a [u8],
    /// `x-request-id`.
    pub request_id: &'a [u8],
    /// `x-forwarded-for`.
    pub forwarded_for: &'a [u8],
}

impl RequestHead<'_> {
    /// Keeps it beyond the head, which goes on to the server: one piece of memory. Of very long words the beginning.
    #[must_use]
    pub fn keep(&self) -> KeptHead {
        let words = [self.method, self.path, self.authority, self.user_agent, self.request_id, self.forwarded_for];
        let mut text = Vec::with_capacity(words.iter().map(|word| word.len().min(LONGEST)).sum());
        let lengths = words.map(|word| {
            let before = text.len();
            match word.split_at_checked(LONGEST.saturating_sub(CUT.len())) {
                Some((beginning, _)) if word.len() > LONGEST => text.extend(beginning.iter().chain(CUT)),
                _ => text.extend_from_slice(word),
            }
            u16::try_from(text.len().saturating_sub(before)).unwrap_or_default()
        });
        KeptHead { protocol: self.protocol, text: text.into(), lengths }
    }
}

/// What a request said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptHead {
    protocol: &'static str,
    text: Box<[u8]>,
    /// Of the words in `text`.
    lengths: [u16; 6],
}

impl KeptHead {
    /// It, word by word.
    #[must_use]
    pub fn head(&self) -> RequestHead<'_> {
        let mut rest = &*self.text;
        let [method, path, authority, user_agent, request_id, forwarded_for] = self.lengths.map(|length| {
            let (word, after) = rest.split_at_checked(length.into()).unwrap_or_default();
            rest = after;
            word
        });
        RequestHead { method, path, protocol: self.protocol, authority, user_agent, request_id, forwarded_for }
    }
}

impl RequestRecord {
    /// The level of its line: error if the mesh refused it or the server failed it, which neither a client that went
    /// away nor an injected fault is.
    pub(crate) fn level(&self) -> Level {
        let Answer { flags, refusal, .. } = &self.answer;
        let harmless =
            [ResponseFlag::DownstreamConnectionTermination, ResponseFlag::DelayInjected, ResponseFlag::FaultInjected];
        let failed = !harmless.into_iter().fold(*flags, ResponseFlags::without).is_none();
        let refused = refusal.as_ref().is_some_and(|refusal| refusal.reason.flag() != Flag::None);
        if failed || refused { Level::ERROR } else { Level::INFO }
    }

    /// From the request's head to the end of the answer.
    pub(crate) fn duration(&self) -> Duration {
        self.ended.saturating_duration_since(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_kept_word_by_word() {
        let head = RequestHead {
            method: b"GET",
            path: b"/a?b",
            protocol: "HTTP/2",
            user_agent: b"\xffcurl",
            forwarded_for: b"::1",
            ..RequestHead::default()
        };
        let kept = head.keep();
        let read = kept.head();
        assert_eq!((read.method, read.path, read.protocol), (head.method, head.path, head.protocol));
        assert_eq!((read.authority, read.user_agent), (&b""[..], head.user_agent));
        assert_eq!((read.request_id, read.forwarded_for), (&b""[..], head.forwarded_for));
        assert_eq!(KeptHead::default(), RequestHead::default().keep());
    }

    #[test]
    fn of_a_very_long_word_the_beginning_is_kept() {
        let (whole, long) = ("x".repeat(LONGEST), "x".repeat(LONGEST + 1));
        let head = RequestHead { path: long.as_bytes(), authority: whole.as_bytes(), ..RequestHead::default() };
        let kept = RequestHead { request_id: b"id", ..head }.keep();
        let cut = format!("{}...", "x".repeat(LONGEST - 3));
        assert_eq!((kept.head().path, kept.head().authority), (cut.as_bytes(), whole.as_bytes()));
        assert_eq!(kept.head().request_id, b"id");
    }

    #[test]
    fn a_status_that_grpc_does_not_know_is_unknown() {
        let codes = |values: &[&str]| -> Vec<u8> {
            values.iter().map(|value| GrpcStatus::from_header(value.as_bytes()).code()).collect()
        };
        assert_eq!(codes(&["0", "7", "16"]), [0, 7, 16]);
        assert_eq!(codes(&["17", "255", "256", "99999999999", "-1", "", "OK", "2"]), [2; 8]);
        assert_eq!(GrpcStatus::from_header(b"\xff"), GrpcStatus::UNKNOWN);
    }
}
