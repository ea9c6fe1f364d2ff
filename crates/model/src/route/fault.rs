//! Faults that are injected on purpose (Istio `HTTPFaultInjection`): before anything is forwarded, so that neither the
//! route's timeout nor its retries know of them.

use std::time::Duration;

use serde::Serialize;

use super::draw::{Chance, Draw, Percent};

/// The body of an answer that an abort gives, as Envoy's clients know it.
pub const ABORT_BODY: &str = "fault filter abort";

/// What may be injected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// `delay`.
    pub delay: Option<Delay>,
    /// `abort`.
    pub abort: Option<Abort>,
}

/// A delay. Its share is none where nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Delay {
    /// `fixedDelay`.
    pub by: Duration,
    /// Of how many requests.
    pub share: Percent,
}

/// An abort. Its share is none where nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Abort {
    /// With what.
    pub with: Status,
    /// Of how many requests.
    pub share: Percent,
}

/// A status that a client is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Status {
    /// `httpStatus`.
    Http(u16),
    /// `grpcStatus`, by its number.
    Grpc(u8),
}

/// What is injected into one request: first the delay, then the abort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// How long it waits first.
    pub delay: Option<Duration>,
    /// What it is then answered with, instead of being forwarded.
    pub abort: Option<Status>,
}

impl Fault {
    /// What is injected, whether one of them is making no difference to the other.
    #[must_use]
    pub fn drawn(&self, draw: Draw) -> Injected {
        let delay = self.delay.filter(|delay| draw.falls_in(Chance::Delay, delay.share));
        let abort = self.abort.filter(|abort| draw.falls_in(Chance::Abort, abort.share));
        Injected { delay: delay.map(|delay| delay.by), abort: abort.map(|abort| abort.with) }
    }
}

/// The names of gRPC's status codes, each at its number (grpc, "Status codes").
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    /// The gRPC status named `name`, in capitals.
    #[must_use]
    pub fn grpc_named(name: &str) -> Option<Self> {
        let place = GRPC.iter().position(|known| *known == name)?;
        u8::try_from(place).ok().map(Self::Grpc)
    }

    /// The number of the HTTP status and, for a gRPC call, of the status in its trailers: that of HTTP is then 200
    /// (grpc, "HTTP to gRPC Status Code Mapping", and Envoy's way back).
    #[must_use]
    pub fn answer(self, is_grpc: bool) -> (u16, Option<u8>) {
        match self {
            Self::Http(status) if is_grpc => (200, Some(grpc_status(status))),
            Self::Http(status) => (status, None),
            Self::Grpc(status) if is_grpc => (200, Some(status)),
            Self::Grpc(status) => (http_status(status), None),
        }
    }
}

/// The gRPC status that stands for an HTTP one (grpc, "HTTP to gRPC Status Code Mapping").
#[must_use]
pub fn grpc_status(http: u16) -> u8 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The HTTP status that stands for a gRPC one (Envoy, `grpcToHttpStatus`).
#[must_use]
pub fn http_status(grpc: u8) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
