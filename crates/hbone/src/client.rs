//! The end of a tunnel that opens streams. Knows nothing of other tunnels, or of which one a stream belongs on.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::keepalive::Pulse;
use crate::stream::Flow;
use crate::transport::Metered;
use crate::tunnel::{SMALL_FRAME_BUDGET, Shared};
use crate::{Config, ConnectRequest, Error, StreamSink, StreamSource};

/// Starts a tunnel on a transport. It can be used at once; nothing moves unless the driver is polled, as by
/// [`tokio::task::spawn_local`].
///
/// # Errors
/// The transport failed, or took longer than [`Config::handshake_timeout`] to take the first bytes.
pub async fn handshake<T>(transport: T, config: &Config) -> Result<(Tunnel, Driver<T>), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let shared = Rc::new(Shared::default());
    let transport = Metered::new(transport, Rc::clone(&shared.meter));
    let after = config.handshake_timeout;
    let handshake = tokio::time::timeout(after, builder(config).handshake(transport));
    let (sender, mut connection) =
        handshake.await.map_err(|_| Error::HandshakeTimeout { after })?.map_err(Error::from_h2)?;
    let pulse = Pulse::new(config, connection.ping_pong(), 0);
    let sender = Rc::new(RefCell::new(Some(sender)));
    let driver = Driver {
        connection: Some(connection),
        shared: Rc::clone(&shared),
        sender: Rc::downgrade(&sender),
        pulse,
        outcome: Ok(()),
    };
    let max_streams = usize::try_from(config.max_concurrent_streams).unwrap_or(usize::MAX);
    Ok((Tunnel { shared, sender, max_streams }, driver))
}

fn builder(config: &Config) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(config.stream_window())
        .initial_connection_window_size(config.connection_window(0))
        .max_frame_size(config.frame_size())
        .max_header_list_size(config.max_header_list_size)
        .max_send_buffer_size(config.send_buffer)
        .data_frame_budget(SMALL_FRAME_BUDGET)
        .initial_max_send_streams(usize::try_from(config.max_concurrent_streams).unwrap_or(usize::MAX));
    builder
}

/// A handle to a tunnel, to open streams on it. The tunnel ends once all its handles and streams are gone.
#[derive(Clone)]
pub struct Tunnel {
    shared: Rc<Shared>,
    sender: Rc<RefCell<Option<SendRequest<Bytes>>>>,
    max_streams: usize,
}

impl Tunnel {
    /// Opens a stream. Bytes may be sent on it at once: they travel with the CONNECT, ahead of its answer.
    ///
    /// # Errors
    /// [`Error::TunnelFull`], [`Error::TunnelClosed`] or [`Error::NotProcessed`] if another tunnel is needed,
    /// [`Error::InvalidRequest`], or why the tunnel is over.
    pub fn open(&self, request: &ConnectRequest) -> Result<(StreamSource, StreamSink), Error> {
        self.open_with(request, None)
    }

    /// Like [`Tunnel::open`]; `on_end` is called when both halves of the stream are gone.
    pub(crate) fn open_with(
        &self,
        request: &ConnectRequest,
        on_end: Option<Rc<dyn Fn()>>,
    ) -> Result<(StreamSource, StreamSink), Error> {
        let request = request.to_http()?;
        // A handle of its own for each stream: one that has been used may insist on waiting for that stream.
        let Some(mut sender) = self.sender.borrow().clone() else {
            return Err(self.shared.ended().unwrap_or(Error::TunnelClosed));
        };
        if self.shared.held() >= self.limit() {
            return Err(Error::TunnelFull);
        }
        let (response, stream) = sender.send_request(request, false).map_err(|error| {
            let error = Error::from_h2(error);
            self.shared.ended().unwrap_or(error)
        })?;
        Ok(Flow::opened(&self.shared, response, stream, on_end))
    }

    /// How many streams the tunnel may carry at once, by both sides' settings as far as they are known yet.
    #[must_use]
    pub fn limit(&self) -> usize {
        let granted = self.sender.borrow().as_ref().map_or(0, SendRequest::current_max_send_streams);
        self.max_streams.min(granted)
    }

    /// Whether new streams can be opened, but for the limit: neither side has closed the tunnel or begun to.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let mut sender = self.sender.borrow_mut();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        sender.as_mut().is_some_and(|sender| matches!(sender.poll_ready(cx), Poll::Ready(Ok(()))))
    }

    /// Takes no more streams; the tunnel ends in good order when its last stream has.
    pub fn close_when_idle(&self) {
        drop(self.sender.borrow_mut().take());
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("streams", &self.shared.held()).finish_non_exhaustive()
    }
}

/// Moves the bytes of a tunnel. Resolves when the tunnel is over, with why if that was not in good order; dropped
/// before that, it breaks the tunnel off.
pub struct Driver<T> {
    connection: Option<Connection<Metered<T>, Bytes>>,
    shared: Rc<Shared>,
    sender: Weak<RefCell<Option<SendRequest<Bytes>>>>,
    pulse: Pulse,
    outcome: Result<(), Error>,
}

impl<T> Driver<T> {
    /// Ends the tunnel: its streams break, with the reason why.
    fn end(&mut self, outcome: Result<(), Error>) {
        self.shared.end(outcome.clone().err().unwrap_or(Error::TransportClosed));
        if let Some(sender) = self.sender.upgrade() {
            sender.borrow_mut().take();
        }
        self.outcome = outcome;
        self.connection = None;
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(connection) = &mut this.connection else { return Poll::Ready(this.outcome.clone()) };
        this.shared.meter.begin_turn();
        let over = match Pin::new(connection).poll(cx) {
            Poll::Ready(outcome) => Some(outcome.map_err(Error::from_h2)),
            Poll::Pending => match this.pulse.poll(cx, || this.shared.meter.received()) {
                Poll::Ready(gone) => Some(Err(gone)),
                Poll::Pending => None,
            },
        };
        this.shared.end_turn();
        match over {
            None => Poll::Pending,
            Some(outcome) => {
                this.end(outcome);
                Poll::Ready(this.outcome.clone())
            }
        }
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.end(Err(Error::TunnelClosed));
        }
    }
}

impl<T> fmt::Debug for Driver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("streams", &self.shared.held()).finish_non_exhaustive()
    }
}
