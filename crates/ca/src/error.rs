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

/// Why a call was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Who was asked does not serve this: another CA than the mesh's own controller has no use for reports.
    #[error("{0}")]
    NotServed(String),
    /// It was refused, or nobody answers: what it says.
    #[error("{0}")]
    Failed(String),
}

/// Why a certificate was not signed, or a report not taken. The caller is told the text, by the gRPC code of [`code`](Self::code).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No bearer token came with the request: give the agent one (`--ca-token`).
    #[error("the request has no bearer token")]
    NoToken,
    /// The token is nobody's: it has expired, was revoked, is meant for another audience, or was mistyped.
    #[error("the token is not accepted: {0}")]
    Unauthenticated(String),
    /// The token is for another audience: project one for this one (`serviceAccountToken.audience`).
    #[error(
        "the token is for the audience {}, not for {expected}: give the pod a projected service account token with audience: {expected}",
        .found.join(", ")
    )]
    WrongAudience {
        /// The audience that the CA asks for.
        expected: String,
        /// Those that the token says it is for.
        found: Vec<String>,
    },
    /// The token has run out: it has to be read anew from a file that the kubelet replaces in time.
    #[error("the token has expired: use a projected service account token, which the kubelet replaces in time")]
    TokenExpired,
    /// The token was bound to a pod that is no longer there.
    #[error(
        "the pod {pod} that the token was bound to is gone: a token dies with its pod, take that of the pod that runs now"
    )]
    PodGone {
        /// The pod, as `namespace/name`.
        pod: String,
    },
    /// The token of a node's agent does not say of which pod, so that nobody knows which node that is.
    #[error(
        "the token of the agent {account} is bound to no pod, so that its node is not known: give its pod a projected service account token"
    )]
    NotBound {
        /// The service account, as `namespace/name`.
        account: String,
    },
    /// It cannot be found out now whose the token is; heals by itself once the Kubernetes API answers. If it says that
    /// something is forbidden, grant that to the controller.
    #[error("it cannot be found out whose the token is: {0}")]
    Unavailable(String),
    /// A node's agent asked for a certificate without saying for whom.
    #[error("a node has no certificate of its own: ImpersonatedIdentity is missing")]
    NoIdentity,
    /// What is asked for is no SPIFFE identity.
    #[error("ImpersonatedIdentity cannot be read: {0}")]
    BadIdentity(String),
    /// No pod of this service account runs on the caller's node, as far as the CA knows. Heals by itself if the pod is
    /// new; else somebody on that node reaches for what is not his.
    #[error("no pod of {identity} runs on node {node}, and a node has certificates of its own pods alone")]
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
    /// A workload reports of pods; nodes' agents alone do.
    #[error(
        "{caller} is no node's agent, and agents alone report of pods: name its service account in --trusted-node-accounts if it is one"
    )]
    NotAnAgent {
        /// Who reports.
        caller: Identity,
    },
    /// The request is not a certificate signing request, or not signed with its own key; or it holds no reports.
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
            Self::WrongAudience { .. } => "wrong-audience",
            Self::TokenExpired => "token-expired",
            Self::PodGone { .. } => "pod-gone",
            Self::NotBound { .. } => "not-bound",
            Self::Unavailable(_) => "unavailable",
            Self::NoIdentity => "no-identity",
            Self::BadIdentity(_) => "bad-identity",
            Self::NotOnNode { .. } => "not-on-node",
            Self::NotItself { .. } => "not-itself",
            Self::NotAnAgent { .. } => "not-an-agent",
            Self::BadRequest(_) => "bad-request",
            Self::ForeignIdentity(_) => "foreign-identity",
            Self::Internal(_) => "internal",
        }
    }

    /// True if it is not known who asked: anybody can knock, only who is known can be meant.
    pub(crate) const fn is_of_a_stranger(&self) -> bool {
        matches!(self.status(), tonic::Code::Unauthenticated | tonic::Code::Unavailable)
    }

    /// As gRPC says it.
    pub(crate) const fn status(&self) -> tonic::Code {
        match self {
            Self::NoToken
            | Self::Unauthenticated(_)
            | Self::WrongAudience { .. }
            | Self::TokenExpired
            | Self::PodGone { .. }
            | Self::NotBound { .. } => tonic::Code::Unauthenticated,
            Self::Unavailable(_) => tonic::Code::Unavailable,
            Self::NoIdentity | Self::BadIdentity(_) | Self::BadRequest(_) => tonic::Code::InvalidArgument,
            Self::NotOnNode { .. } | Self::NotItself { .. } | Self::NotAnAgent { .. } | Self::ForeignIdentity(_) => {
                tonic::Code::PermissionDenied
            }
            Self::Internal(_) => tonic::Code::Internal,
        }
    }
}
