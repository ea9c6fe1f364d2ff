//! What an error of HTTP/2 says of a stream, for those who speak it by another library.

use std::error::Error;

use h2::Reason;

/// True if `error`, or one that it comes from, is that the peer refused to look at a stream (RFC 9113 section 8.7).
#[must_use]
pub fn is_refused_stream(error: &(dyn Error + 'static)) -> bool {
    reset_of(error) == Some(Reason::REFUSED_STREAM)
}

/// True if `error`, or one that it comes from, is that the peer reset a stream.
#[must_use]
pub fn is_reset_stream(error: &(dyn Error + 'static)) -> bool {
    reset_of(error).is_some()
}

fn reset_of(error: &(dyn Error + 'static)) -> Option<Reason> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason().filter(|_| error.is_reset());
        }
        cause = error.source();
    }
    None
}
