//! What another mesh puts into a pod to carry its connections, and how one gets rid of it.

use std::fmt;

use serde::Serialize;

/// A proxy of another mesh in a pod: it carries the pod's connections, which this one then leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Sidecar {
    /// Istio's: the container `istio-proxy`.
    Istio,
    /// Linkerd's: the container `linkerd-proxy`.
    Linkerd,
    /// One that the annotation `sidecar.istio.io/status` tells of.
    Annotated,
}

impl Sidecar {
    /// The one whose container has this name.
    #[must_use]
    pub fn of_container(name: &str) -> Option<Self> {
        match name {
            "istio-proxy" => Some(Self::Istio),
            "linkerd-proxy" => Some(Self::Linkerd),
            _ => None,
        }
    }

    /// What is to be taken away so that the pod comes without it.
    #[must_use]
    pub const fn asked_for_by(self) -> &'static str {
        match self {
            Self::Istio => "the label istio-injection, istio.io/rev or sidecar.istio.io/inject that asks for it",
            Self::Linkerd => "the annotation linkerd.io/inject that asks for it",
            Self::Annotated => "what asks for it",
        }
    }
}

impl fmt::Display for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Istio => "the container istio-proxy of Istio",
            Self::Linkerd => "the container linkerd-proxy of Linkerd",
            Self::Annotated => "a sidecar of another mesh (annotation sidecar.istio.io/status)",
        })
    }
}
