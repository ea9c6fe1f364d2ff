//! The exchange before a connection: reads what a client wants, within bounds of time and bytes, and parts with clients
//! that do not get it.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use ambit_model::Authority;
use ambit_net::stream::{ByteSink, ByteSource};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Error;
use super::message::{self, Read, Reply};

/// For a client to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a client that is refused to read that.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes that are still taken from it meanwhile.
const UNREAD: usize = 64 << 10;

/// Asks the client at the other end of `stream` for what it wants. What it says after that is left unread.
///
/// # Errors
/// The error, with the last words to the client.
pub(crate) async fn negotiate<S>(stream: &mut S) -> Result<Authority, (Error, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(PATIENCE, exchange(stream)).await.unwrap_or_else(|_| Err((Error::Silent, Vec::new())))
}

async fn exchange<S>(stream: &mut S) -> Result<Authority, (Error, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    read(stream, message::methods).await.map_err(|error| match error {
        Error::Methods => (error, message::UNACCEPTABLE.to_vec()),
        other => (other, Vec::new()),
    })?;
    stream.write_all(&message::ACCEPTABLE).await.map_err(|error| (error.into(), Vec::new()))?;
    read(stream, message::request).await.map_err(|error| {
        let last = Reply::from(&error).message().to_vec();
        (error, last)
    })
}

/// Reads one message and not a byte more.
async fn read<T>(
    stream: &mut (impl AsyncRead + Unpin),
    parse: fn(&[u8]) -> Result<Read<T>, Error>,
) -> Result<T, Error> {
    let mut bytes = Vec::new();
    loop {
        let lacking = match parse(&bytes)? {
            Read::Whole(value) => return Ok(value),
            Read::Lacks(lacking) => lacking,
        };
        let wanted = u64::try_from(lacking).unwrap_or(u64::MAX);
        if (&mut *stream).take(wanted).read_to_end(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Says `last` to a client and ends its connection in order. With bytes of it unread the end would be a reset, which
/// can overtake what was said, so that it is heard out for a while.
pub(crate) async fn dismiss<R: ByteSource, W: ByteSink>((mut source, mut sink): (R, W), last: &[u8]) {
    let mut last = Bytes::copy_from_slice(last);
    let farewell = async {
        poll_fn(|cx| sink.poll_send(cx, &mut last)).await?;
        poll_fn(|cx| sink.poll_finish(cx)).await?;
        let mut unread = 0;
        while let Some(chunk) = poll_fn(|cx| source.poll_receive(cx)).await? {
            unread += chunk.len();
            if unread > UNREAD {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Whoever is gone already needs no farewell.
    let _ = timeout(FAREWELL, farewell).await;
}

#[cfg(test)]
mod tests;
