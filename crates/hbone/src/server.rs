//! The end of a tunnel that takes streams. Knows nothing of where they go or whether they may: a callback is asked.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use crate::headers::RefusedBy;
use crate::keepalive::Pulse;
use crate::request::refusal;
use crate::stream::Flow;
use crate::transport::Metered;
use crate::tunnel::{SMALL_FRAME_BUDGET, Shared};
use crate::{BadRequest, Code, Config, ConnectRequest, ConnectResponse, Error, StreamSink, StreamSource};

/// Serves a tunnel on a transport until it is over. `on_request` is handed every request, and must not block: it
/// answers at once or gives the request to a task. When `drain` resolves the peer is told to open no more streams,
/// those that are open go on, and the last one ends the tunnel. Dropped before that, the tunnel is broken off.
///
/// # Errors
/// Why the tunnel ended other than in good order.
pub async fn serve<T>(
    transport: T,
    config: &Config,
    drain: impl Future<Output = ()>,
    mut on_request: impl FnMut(Incoming),
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut serving = Serving::handshake(transport, config).await?;
    let mut drain = pin!(drain);
    poll_fn(|cx| {
        if !serving.draining && drain.as_mut().poll(cx).is_ready() {
            serving.drain();
        }
        serving.poll(cx, &mut on_request)
    })
    .await
}

/// A request that waits for its answer. Dropped without one, it is reset.
pub struct Incoming {
    request: Result<ConnectRequest, BadRequest>,
    respond: SendResponse<Bytes>,
    flow: Rc<Flow>,
}

impl Incoming {
    /// What is asked for.
    ///
    /// # Errors
    /// It is no CONNECT, or none with a proper authority. It has been answered with 400 already, and is only
    /// reported.
    pub fn request(&self) -> Result<&ConnectRequest, &BadRequest> {
        self.request.as_ref()
    }

    /// Ready once the peer has given the request up, or the tunnel is over.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.respond.poll_reset(cx).map(|broken| match broken {
            Ok(reason) => Error::from_reset(Code(reason.into())),
            Err(error) => Error::from_h2(error),
        })
    }

    /// Answers 200.
    ///
    /// # Errors
    /// The peer has given the request up, the tunnel is over, or the request has been answered with 400.
    pub fn accept(mut self, response: &ConnectResponse) -> Result<(StreamSource, StreamSink), Error> {
        self.request?;
        let stream = self.respond.send_response(response.to_http(), false).map_err(Error::from_h2)?;
        Ok(Flow::halves(self.flow, stream))
    }

    /// Answers with a status other than 200 (features.md E-03), and a reason for an Ambit to log.
    pub fn refuse(self, status: u16, reason: Option<&str>) {
        self.refuse_by(status, reason, None);
    }

    /// The same, and the policy that refuses it, for an Ambit to log as well.
    pub fn refuse_by(mut self, status: u16, reason: Option<&str>, policy: Option<&RefusedBy>) {
        self.answer(status, refusal(status, reason, policy));
    }

    fn answer(&mut self, status: u16, refusal: http::Response<()>) {
        if let Err(error) = self.respond.send_response(refusal, true) {
            tracing::debug!(%error, status, "the refusal could not be sent");
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("request", &self.request).finish_non_exhaustive()
    }
}

struct Serving<T> {
    connection: Connection<Metered<T>, Bytes>,
    shared: Rc<Shared>,
    pulse: Pulse,
    config: Config,
    /// The streams for which the tunnel's window is large enough.
    window_for: usize,
    draining: bool,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Serving<T> {
    async fn handshake(transport: T, config: &Config) -> Result<Self, Error> {
        let shared = Rc::new(Shared::default());
        let transport = Metered::new(transport, Rc::clone(&shared.meter));
        let after = config.handshake_timeout;
        let handshake = tokio::time::timeout(after, builder(config).handshake(transport));
        let mut connection = handshake.await.map_err(|_| Error::HandshakeTimeout { after })?.map_err(Error::from_h2)?;
        let pulse = Pulse::new(config, connection.ping_pong(), shared.meter.received());
        let window_for = usize::try_from(config.max_concurrent_streams).unwrap_or(usize::MAX);
        Ok(Self { connection, shared, pulse, config: config.clone(), window_for, draining: false, deadline: None })
    }

    fn drain(&mut self) {
        self.draining = true;
        self.connection.graceful_shutdown();
        self.deadline = self.config.drain_timeout.map(|timeout: Duration| Box::pin(sleep(timeout)));
    }

    fn poll(&mut self, cx: &mut Context<'_>, on_request: &mut impl FnMut(Incoming)) -> Poll<Result<(), Error>> {
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            self.deadline = None;
            self.shared.end(Error::Drained);
            self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
        }
        self.shared.meter.begin_turn();
        let over = loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => on_request(self.incoming(request, respond)),
                Poll::Ready(Some(Err(error))) => break Some(Err(Error::from_h2(error))),
                Poll::Ready(None) => break Some(Ok(())),
                Poll::Pending => break None,
            }
        };
        self.shared.end_turn();
        if let Some(outcome) = over {
            self.shared.end(outcome.clone().err().unwrap_or(Error::TransportClosed));
            return Poll::Ready(outcome);
        }
        self.pulse.poll(cx, || self.shared.meter.received()).map(|gone| {
            self.shared.end(gone.clone());
            Err(gone)
        })
    }

    fn incoming(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) -> Incoming {
        let (head, body) = request.into_parts();
        let request = ConnectRequest::from_http(&http::Request::from_parts(head, ()));
        let flow = Flow::incoming(&self.shared, body);
        self.widen();
        let mut incoming = Incoming { request, respond, flow };
        if incoming.request.is_err() {
            incoming.answer(400, refusal(400, Some("bad-request"), None));
        }
        incoming
    }

    /// Keeps the tunnel's window larger than what all held streams may fill. A stream that both sides have finished
    /// no longer counts against the peer's limit, yet its reader may sleep on.
    fn widen(&mut self) {
        let held = self.shared.held();
        if held > self.window_for {
            self.window_for = held.saturating_mul(2);
            self.connection.set_target_window_size(self.config.connection_window(self.window_for));
        }
    }
}

impl<T> Drop for Serving<T> {
    fn drop(&mut self) {
        // Whatever ended it before has said so.
        self.shared.end(Error::TunnelClosed);
    }
}

fn builder(config: &Config) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(config.stream_window())
        .initial_connection_window_size(config.connection_window(0))
        .max_frame_size(config.frame_size())
        .max_header_list_size(config.max_header_list_size)
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_pending_accept_reset_streams(config.max_pending_resets)
        .max_send_buffer_size(config.send_buffer)
        .data_frame_budget(SMALL_FRAME_BUDGET);
    builder
}
