//! When a request is tried again, and after how long (Istio `HTTPRetry`; the words are Envoy's `x-envoy-retry-on` and
//! `x-envoy-retry-grpc-on`). Knows no clock and sends nothing.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::draw::{Chance, Draw};
use super::request::{Fields, field};

/// How a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// How often, after the first time; 0 for never.
    pub attempts: u32,
    /// How long each try may take, the first one included; none for as long as the request may.
    pub per_try_timeout: Option<Duration>,
    /// After what.
    pub retry_on: RetryOn,
    /// How long it waits at least before each.
    pub backoff: Duration,
    /// Endpoints that were tried already are passed over.
    pub ignore_previous_hosts: bool,
    /// Endpoints of other localities are tried, too.
    pub remote_localities: bool,
}

impl Default for Retries {
    /// The mesh's own, for routes that say nothing: `connect-failure,refused-stream,unavailable,cancelled`, twice.
    fn default() -> Self {
        Self {
            attempts: 2,
            per_try_timeout: None,
            retry_on: RetryOn::default(),
            backoff: Duration::from_millis(25),
            ignore_previous_hosts: true,
            remote_localities: false,
        }
    }
}

/// After what a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetryOn {
    /// After what befalls it.
    pub conditions: BTreeSet<Condition>,
    /// After these statuses.
    pub statuses: BTreeSet<u16>,
}

impl Default for RetryOn {
    fn default() -> Self {
        use Condition::{Cancelled, ConnectFailure, RefusedStream, Unavailable};
        let conditions = BTreeSet::from([ConnectFailure, RefusedStream, Unavailable, Cancelled]);
        Self { conditions, statuses: BTreeSet::new() }
    }
}

/// A word of `retryOn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Condition {
    /// `5xx`: an answer of that kind, or none.
    ServerError,
    /// `gateway-error`: 502, 503 or 504, or no answer.
    GatewayError,
    /// `reset`: no answer.
    Reset,
    /// `reset-before-request`: no answer, and the request's head was not sent yet.
    ResetBeforeRequest,
    /// `connect-failure`: no connection.
    ConnectFailure,
    /// `envoy-ratelimited`: an answer that says `x-envoy-ratelimited`.
    RateLimited,
    /// `retriable-4xx`: 409.
    Retriable4xx,
    /// `refused-stream`: reset with that code of HTTP/2's.
    RefusedStream,
    /// `retriable-status-codes`: the statuses that stand beside it.
    RetriableStatusCodes,
    /// `retriable-headers`: fields that nothing in Istio's API names.
    RetriableHeaders,
    /// `http3-post-connect-failure`: of a protocol that is not spoken here.
    Http3PostConnectFailure,
    /// `cancelled`, of gRPC.
    Cancelled,
    /// `deadline-exceeded`, of gRPC.
    DeadlineExceeded,
    /// `internal`, of gRPC.
    Internal,
    /// `resource-exhausted`, of gRPC.
    ResourceExhausted,
    /// `unavailable`, of gRPC.
    Unavailable,
}

/// Every word of `retryOn`.
pub const CONDITIONS: [(&str, Condition); 16] = [
    ("5xx", Condition::ServerError),
    ("gateway-error", Condition::GatewayError),
    ("reset", Condition::Reset),
    ("reset-before-request", Condition::ResetBeforeRequest),
    ("connect-failure", Condition::ConnectFailure),
    ("envoy-ratelimited", Condition::RateLimited),
    ("retriable-4xx", Condition::Retriable4xx),
    ("refused-stream", Condition::RefusedStream),
    ("retriable-status-codes", Condition::RetriableStatusCodes),
    ("retriable-headers", Condition::RetriableHeaders),
    ("http3-post-connect-failure", Condition::Http3PostConnectFailure),
    ("cancelled", Condition::Cancelled),
    ("deadline-exceeded", Condition::DeadlineExceeded),
    ("internal", Condition::Internal),
    ("resource-exhausted", Condition::ResourceExhausted),
    ("unavailable", Condition::Unavailable),
];

/// A word stands in `retryOn` that is none of [`CONDITIONS`] and no HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nothing to retry on: write a status such as 503, or words of {all}", all = CONDITIONS.map(|(word, _)| word).join(", "))]
pub struct RetryOnError(String);

impl FromStr for RetryOn {
    type Err = RetryOnError;

    /// Reads words and statuses with nothing but commas between them (Istio's `ValidateHTTPRetry`); of nothing, the default.
    fn from_str(text: &str) -> Result<Self, RetryOnError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut read = Self { conditions: BTreeSet::new(), statuses: BTreeSet::new() };
        for word in text.split(',') {
            let known = CONDITIONS.iter().find(|(name, _)| *name == word);
            let status = word.parse().ok().filter(|status| is_registered(*status));
            match (known, status) {
                (Some((_, condition)), _) => drop(read.conditions.insert(*condition)),
                (None, Some(status)) => drop(read.statuses.insert(status)),
                (None, None) => return Err(RetryOnError(word.chars().take(80).collect())),
            }
        }
        Ok(read)
    }
}

/// True of a status that has a meaning (RFC 9110 section 16.2.1, and what else is in its registry).
const fn is_registered(status: u16) -> bool {
    matches!(
        status,
        100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508
            | 510 | 511
    )
}

/// How a try ended.
#[derive(Debug)]
pub enum Attempt<'a, F: ?Sized> {
    /// There was no connection: refused, unreachable, or not in time.
    Unconnected,
    /// It was not sent: too many were under way already.
    Overflow,
    /// It was reset with REFUSED_STREAM (RFC 9113 section 8.7).
    RefusedStream,
    /// It was reset, or the connection ended, or its time was over, before there was an answer.
    Unanswered {
        /// The request's head was sent.
        sent: bool,
    },
    /// There was an answer, of this status and these fields.
    Answered(u16, &'a F),
}

impl Retries {
    /// True if the request is to be tried again, a try having ended as `attempt` and `made` retries having been made.
    #[must_use]
    pub fn should_retry<F: Fields + ?Sized>(&self, attempt: &Attempt<'_, F>, made: u32) -> bool {
        made < self.attempts && self.retry_on.covers(attempt)
    }

    /// How long to wait before the retry numbered `retry`, from 1: at least `backoff`, and at most twice as much with
    /// every retry, up to ten times, by chance in between.
    #[must_use]
    pub fn backoff(&self, retry: u32, draw: Draw) -> Duration {
        let most = 1_u32.checked_shl(retry.max(1)).map_or(10, |double| double.min(10));
        let spread = self.backoff.saturating_mul(most.saturating_sub(1)).as_nanos();
        let spread = u64::try_from(spread).unwrap_or(u64::MAX);
        self.backoff.saturating_add(Duration::from_nanos(draw.below(Chance::Backoff(retry), spread)))
    }
}

impl RetryOn {
    fn covers<F: Fields + ?Sized>(&self, attempt: &Attempt<'_, F>) -> bool {
        use Condition::{ConnectFailure, GatewayError, RefusedStream, Reset, ResetBeforeRequest, ServerError};
        let any = |wanted: &[Condition]| wanted.iter().any(|condition| self.conditions.contains(condition));
        // No answer counts as the 503 that the client would be given for it.
        match attempt {
            Attempt::Overflow => false,
            Attempt::Unconnected => any(&[ConnectFailure, Reset, ResetBeforeRequest, ServerError, GatewayError]),
            Attempt::RefusedStream => any(&[RefusedStream, Reset, ServerError, GatewayError]),
            Attempt::Unanswered { sent: true } => any(&[Reset, ServerError, GatewayError]),
            Attempt::Unanswered { sent: false } => any(&[Reset, ResetBeforeRequest, ServerError, GatewayError]),
            Attempt::Answered(status, fields) => self.covers_answer(*status, *fields),
        }
    }

    fn covers_answer<F: Fields + ?Sized>(&self, status: u16, fields: &F) -> bool {
        let says = |name| field(fields, name).is_some();
        // What is overloaded is never asked again, and what limits rates only if that is wanted.
        if says("x-envoy-overloaded") {
            return false;
        }
        if says("x-envoy-ratelimited") {
            return self.conditions.contains(&Condition::RateLimited);
        }
        let grpc = field(fields, "grpc-status");
        let grpc = grpc.as_deref().and_then(|value| std::str::from_utf8(value).ok()?.parse::<u8>().ok());
        let holds = |condition: &Condition| match condition {
            Condition::ServerError => (500..=599).contains(&status),
            Condition::GatewayError => (502..=504).contains(&status),
            Condition::Retriable4xx => status == 409,
            Condition::Cancelled => grpc == Some(1),
            Condition::DeadlineExceeded => grpc == Some(4),
            Condition::ResourceExhausted => grpc == Some(8),
            Condition::Internal => grpc == Some(13),
            Condition::Unavailable => grpc == Some(14),
            _ => false,
        };
        self.statuses.contains(&status) || self.conditions.iter().any(holds)
    }
}

/// How long a request may take in all: what its route says, and of a gRPC call no more than its client says in
/// `grpc-timeout`. None is no limit.
#[must_use]
pub fn time_limit(route: Option<Duration>, grpc_timeout: Option<&[u8]>) -> Option<Duration> {
    let asked = grpc_timeout.and_then(read_grpc_timeout);
    match (route, asked) {
        (Some(route), Some(asked)) => Some(route.min(asked)),
        (route, asked) => route.or(asked),
    }
}

/// gRPC over HTTP/2, "Requests": up to eight digits and a unit.
fn read_grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let legal = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok().filter(|_| legal)?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}
