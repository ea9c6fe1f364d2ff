//! What can go wrong on either side of the counter, and what the operator does about it.

use std::path::PathBuf;

use ambit_model::Identity;

/// Why a client or a server of the service cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA's address is none: give it as `https://HOST:PORT`.
    #[error("the CA's address {address:?} cannot be used: {cause}; give it as https://HOST:PORT")]
    BadAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The token file cannot be read: correct the path, its owner or its mode.
    #[error("the token file {path} cannot be read: {source}", path = .path.display())]
    TokenFileIo {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Others than its owner can read the tokens, and so have certificates signed as any node.
    #[error("the token file {path} has mode {mode:04o}: others than its owner can read it; chmod 600 {path}", path = .path.display())]
    TokenFileExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line of the token file is not `TOKEN,system:node:NAME` or `TOKEN,system:serviceaccount:NAMESPACE:NAME`.
    #[error("line {line} of the token file {path} cannot be used: {cause}", path = .path.display())]
    TokenFileDamaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it; never the token.
        cause: String,
    },
}

/// Why a certificate was not signed. The caller is told the text, by the gRPC code of [`code`](Self::code).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No bearer token came with the request: give the agent one (`--ca-token`).
    #[error("the request has no bearer token")]
    NoToken,
    /// The token is nobody's: it has expired, was revoked, is meant for another audience, or was mistyped.
    #[error("the token is not accepted: {0}")]
    Unauthenticated(String),
    /// A node's agent asked for a certificate without saying for whom.
    #[error("a node has no certificate of its own: ImpersonatedIdentity is missing")]
    NoIdentity,
    /// What is asked for is no SPIFFE identity.
    #[error("ImpersonatedIdentity cannot be read: {0}")]
    BadIdentity(String),
    /// No pod of this service account runs on the caller's node, as far as the CA knows. Heals by itself if the pod is
    /// new; else somebody on that node reaches for what is not his.
    #[error("no pod of {identity} runs on node {node}")]
    NotOnNode {
        /// The node that asks.
        node: String,
        /// For whom it asks.
        identity: Identity,
    },
    /// A workload asked for somebody else's certificate.
    #[error("{caller} may have a certificate for itself, not for {identity}")]
    NotItself {
        /// Who asks.
        caller: Identity,
        /// For whom.
        identity: Identity,
    },
    /// The request is not a certificate signing request, or not signed with its own key.
    #[error("{0}")]
    BadRequest(String),
    /// The trust domain is not this CA's.
    #[error("{0}")]
    ForeignIdentity(String),
    /// The CA itself failed; its log says why.
    #[error("the CA failed: {0}")]
    Internal(String),
}

impl Refusal {
    /// The stable code: metric label and log field.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::NoIdentity => "no-identity",
            Self::BadIdentity(_) => "bad-identity",
            Self::NotOnNode { .. } => "not-on-node",
            Self::NotItself { .. } => "not-itself",
            Self::BadRequest(_) => "bad-request",
            Self::ForeignIdentity(_) => "foreign-identity",
            Self::Internal(_) => "internal",
        }
    }

    /// As gRPC says it.
    pub(crate) const fn status(&self) -> tonic::Code {
        match self {
            Self::NoToken | Self::Unauthenticated(_) => tonic::Code::Unauthenticated,
            Self::NoIdentity | Self::BadIdentity(_) | Self::BadRequest(_) => tonic::Code::InvalidArgument,
            Self::NotOnNode { .. } | Self::NotItself { .. } | Self::ForeignIdentity(_) => tonic::Code::PermissionDenied,
            Self::Internal(_) => tonic::Code::Internal,
        }
    }
}
