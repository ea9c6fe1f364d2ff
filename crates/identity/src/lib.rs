//! Certificates: who we are, who the peer is, and mutual TLS between the two. The one user of rustls and the one
//! place where cryptography is chosen. Knows identities and trust domains; nothing of workloads, addresses or HTTP.
//!
//! | module | what it does |
//! |---|---|
//! | [`provider`] | the cipher suites and key exchanges offered |
//! | [`csr`] | a new key and the request to certify it |
//! | [`bundle`] | the roots that peers' certificates are checked against |
//! | [`revocation`] | the certificates that were taken back |
//! | [`trust`] | both of them as they are in force, and who has proved himself by them |
//! | [`authority`] | a certificate authority, and the file that a local one lives in |
//! | [`channel`] | TLS between a CA and those who ask it |
//! | [`origination`] | TLS towards applications |
//! | [`termination`] | TLS that a gateway ends for clients from outside |
//! | [`jose`] | signed tokens of end users, and the keys that they are verified by |
//! | [`client`] | the seam behind which requests are signed |
//! | [`renewal`] | when to ask for the next certificate (pure) |
//! | [`store`] | the certificates in use, in memory only; kept there, if wanted, for the next process of the same pod |
//! | [`tls`] | handshakes, and the reasons why they fail |
#![forbid(unsafe_code)]

pub mod authority;
pub mod bundle;
mod certificate;
pub mod channel;
pub mod client;
pub mod clock;
pub mod csr;
pub mod error;
#[cfg(test)]
mod fixtures;
pub mod jose;
pub mod origination;
pub mod provider;
pub mod renewal;
pub mod revocation;
pub mod store;
pub mod termination;
pub mod tls;
pub mod trust;
mod verifier;

pub use authority::Authority;
pub use bundle::Bundle;
pub use client::{Chain, Issuer, LocalIssuer};
pub use clock::Clock;
pub use csr::Csr;
pub use error::Error;
pub use origination::Originator;
pub use revocation::Revocations;
pub use store::{CertificateFacts, CertificateKind, CertificateStatus, CertificateSummary, Certificates, Kept};
pub use termination::Terminator;
pub use tls::Failure;
pub use trust::{Peer, TrustStore};
