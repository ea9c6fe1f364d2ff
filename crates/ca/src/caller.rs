//! Who asks for a certificate, and the seam behind which that is found out: a static token file here, TokenReview in a
//! cluster.

use std::future::Future;
use std::sync::Arc;

use ambit_model::Identity;

use crate::error::Refusal;

/// Who asks for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The agent of this node, for the pods on it.
    Node(Arc<str>),
    /// A workload, for itself.
    Workload(Identity),
}

/// Tells whose a token is.
pub trait Authenticate: Send + Sync + 'static {
    /// Whose `token` is.
    ///
    /// # Errors
    /// Why it is nobody's, for the caller and the log, never with the token; or that it cannot be found out.
    fn authenticate(&self, token: &str) -> impl Future<Output = Result<Caller, Refusal>> + Send;
}
