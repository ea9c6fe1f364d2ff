//! Where a request or connection goes by what VirtualServices say, and what is done to it on the way (Istio
//! `networking.istio.io` VirtualService), and what routes say that are attached to services (Gateway API HTTPRoute and
//! GRPCRoute). Pure: it is handed a request's head and a number to draw from, and knows no
//! bytes, no clock and no endpoints.
//!
//! [`Routes::http`] and [`Routes::stream`] are the questions; `table` is how an answer is found quickly, `outcome` what
//! it is.

mod attached;
pub mod cors;
mod delegate;
mod draw;
pub mod fault;
mod headers;
mod host;
mod normalize;
mod outcome;
mod re2;
mod redirect;
mod regex;
mod request;
pub mod retry;
mod rewrite;
mod routes;
mod table;
mod text;
mod virtual_service;
mod visibility;

pub use crate::policy::PolicyKey as RuleKey;
pub use attached::{Parent, Precedence, RouteId, RouteKind, ServiceRoute, ServiceRule};
pub use cors::Cors;
pub use draw::{Chance, Draw, Percent};
pub use fault::{ABORT_BODY, Abort, Delay, Fault, Injected, Status, grpc_status, http_status};
pub use headers::{HeaderOperations, Headers, Operation};
pub use host::Host;
pub(crate) use host::around;
pub use normalize::{Normalization, NormalizationError, PathRejected, normalize};
pub use outcome::{Action, Forward, Matched, Outcome};
pub use redirect::{Redirect, RedirectPath, RedirectPort, Scheme};
pub use regex::{Regex, RegexError};
pub use request::{Arrival, Client, Fields, Request, field};
pub use retry::{Attempt, Condition, Retries, RetryOn, RetryOnError, time_limit};
pub use rewrite::{Rewrite, RewritePath, Substitution, SubstitutionError};
pub use routes::{Addressed, Routes, StreamOutcome};
pub use text::Text;
pub use virtual_service::{
    Destination, DirectResponse, Flow, Gateway, HttpAction, HttpMatch, HttpRoute, Mirror, Partly, Source, StreamMatch,
    StreamRoute, VirtualService, Weighted,
};
pub use visibility::Visibility;

#[cfg(test)]
mod tests;
