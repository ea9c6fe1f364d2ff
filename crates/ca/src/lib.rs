//! What agents and waypoints ask of the control plane and tell it: certificates, by
//! `istio.v1.auth.IstioCertificateService/CreateCertificate`, and what has become of pods, by `ambit.v1.Nodes/Report`; both
//! ends of each. Any CA that speaks Istio's service can answer the one, and Istio's ztunnel can ask the other. Who may have
//! which certificate is decided here; keys, certificates and TLS are `ambit-identity`'s.
//!
//! | module | what it does |
//! |---|---|
//! | [`client`] | asks a CA, as an issuer of `ambit-identity` |
//! | [`desk`] | one request from the caller's token to the signed chain, or why not |
//! | [`server`] | the desk over HTTP/2 |
//! | [`report`] | what an agent says of its node's pods, and whether it may (pure) |
//! | [`reporter`] | says it |
//! | [`caller`] | who asks, and the seam behind which tokens are looked at |
//! | [`tokens`] | the static token file, for a mesh without a cluster |
//! | [`authorization`] | whether the one who asks may have it (pure) |
#![forbid(unsafe_code)]

pub mod authorization;
pub mod caller;
pub mod client;
pub mod desk;
mod error;
mod line;
pub mod report;
pub mod reporter;
pub mod server;
pub mod tokens;
mod wire;

pub use caller::{Authenticate, Caller};
pub use client::RemoteIssuer;
pub use desk::{Desk, Intake, Tally};
pub use error::{Error, Refusal, Unanswered};
pub use report::{Denial, Denied, PodReport, State};
pub use reporter::Reporter;
pub use tokens::Tokens;
