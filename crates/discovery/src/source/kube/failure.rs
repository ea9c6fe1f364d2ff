//! What a failure of the API means for a watch: pure.

use std::error::Error as _;

use kube::core::Status;
use kube::runtime::watcher;

/// How much of what the API says is quoted.
const QUOTED: usize = 300;

/// Why a kind is not followed just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The process has no right to read the kind; what the API says of it.
    Denied(String),
    /// The kind is not served where it was.
    Unserved,
    /// The API no longer knows what changed since: everything has to be listed anew.
    Expired,
    /// What was received is not understood: it is asked anew. What is wrong.
    Garbled(String),
    /// Something else that will pass; what is known of it.
    Away(String),
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from(&**status),
            kube::Error::SerdeError(cause) => Self::Garbled(quoted(&cause.to_string())),
            other => Self::Away(quoted(&causes(other))),
        }
    }
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => Self::from(cause),
            watcher::Error::WatchError(status) => Self::from(&**status),
            watcher::Error::NoResourceVersion => {
                Self::Garbled("an object or a list without a resourceVersion".to_owned())
            }
        }
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        match status.code {
            403 => Self::Denied(quoted(&status.message)),
            404 => Self::Unserved,
            410 => Self::Expired,
            code => Self::Away(quoted(&format!("{code} {}", status.message))),
        }
    }
}

/// The error with what caused it, as far as that is not said twice.
fn causes(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status { code, message: message.to_owned(), ..Status::default() }
    }

    #[test]
    fn a_status_says_what_to_do() {
        for (code, expected) in [
            (403, Failure::Denied("no".to_owned())),
            (404, Failure::Unserved),
            (410, Failure::Expired),
            (401, Failure::Away("401 no".to_owned())),
            (429, Failure::Away("429 no".to_owned())),
            (500, Failure::Away("500 no".to_owned())),
        ] {
            let api = kube::Error::Api(Box::new(status(code, "no")));
            assert_eq!(Failure::from(&api), expected, "{code}");
            // In the midst of a watch, or as the answer to it: both mean the same.
            let started = watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status(code, "no"))));
            let midst = watcher::Error::WatchError(Box::new(status(code, "no")));
            assert_eq!((Failure::from(&started), Failure::from(&midst)), (expected.clone(), expected));
        }
    }

    #[test]
    fn what_is_quoted_is_one_line_and_bounded() {
        let Failure::Away(cause) = Failure::from(&status(500, &"a\nb".repeat(1000))) else { panic!() };
        assert!(cause.len() <= QUOTED && !cause.contains('\n'), "{cause}");
    }

    #[test]
    fn what_is_no_object_is_asked_anew() {
        let cause = serde_json::from_str::<u8>("x").unwrap_err();
        let failure = Failure::from(&watcher::Error::WatchFailed(kube::Error::SerdeError(cause)));
        assert!(matches!(failure, Failure::Garbled(_)), "{failure:?}");
    }
}
