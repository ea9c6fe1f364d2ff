//! Whose tokens are, by either of the two ways to tell: a file, or the Kubernetes API.

use ambit_ca::{Authenticate, Caller, Refusal, Tokens};

use crate::review::Reviewer;

/// Who may ask for certificates.
pub(crate) enum Callers {
    /// Whom a file names.
    Named(Tokens),
    /// Who has a service account token.
    Accounts(Box<Reviewer>),
}

impl Authenticate for Callers {
    async fn authenticate(&self, token: &str) -> Result<Caller, Refusal> {
        match self {
            Self::Named(tokens) => tokens.authenticate(token).await,
            Self::Accounts(reviewer) => reviewer.authenticate(token).await,
        }
    }
}
